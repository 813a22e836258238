"""What the gateway takes and refuses, what it hands on, and how it is set up."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr
from starlette.requests import Request
from structlog.testing import capture_logs

from processor.gateway.certificates import CertificateError, Certificates, fetch_certificate
from processor.gateway.handshakes import (
    EVENT_GRID_PROVIDERS,
    QUERY_PROVIDERS,
    allowed_methods,
    is_test,
)
from processor.gateway.hooks import Hook, configured_hooks
from processor.gateway.tokens import TokenMemory
from processor.gateway.webhooks import CALLBACK_QUERY_HEADER, PASSED_HEADERS, Webhooks
from processor.kafka.topics import feed_topic
from processor.settings import GatewaySettings, SettingsError, load
from schemas.providers import adapters
from tests import signing
from tests.gateway_kafka import Kafka
from tests.paths import PAYLOADS
from tests.signing import SECRETS, SHARED, TOPIC, certificate, sign, sns

LIMIT = 10_000
SUBSCRIBE = "https://sns.eu-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336"


def hook(provider, secret=None, **more):
    options = {
        "tenant": "acme", "provider": provider, "verified": True,
        "topic": feed_topic(adapters()[provider].CHANNEL, provider),
        "secret": SecretStr(SECRETS.get(provider, SHARED) if secret is None else secret),
        "tolerance": timedelta(minutes=5),
    }  # fmt: skip
    return Hook(**{**options, **more})


class Door:
    """The gateway without a server, in front of a made-up Kafka."""

    def __init__(self, *hooks, fetch=None):
        self.kafka = Kafka()
        self.webhooks = Webhooks(
            hooks={(each.tenant, each.provider): each for each in hooks},
            producer=self.kafka, certificates=Certificates(fetch),
            public_url="https://hooks.example.com/", max_bytes=LIMIT,
        )  # fmt: skip

    def send(self, provider, webhook, *, tenant="acme", chunks=None, address="192.0.2.1"):
        """Send a webhook and return status, headers and problem."""
        scope = {
            "type": "http", "method": webhook.method, "scheme": "http",
            "raw_path": f"/hooks/{tenant}/{provider}".encode(), "path": "/",
            "path_params": {"tenant": tenant, "provider": provider},
            "query_string": webhook.query.encode(), "client": (address, 1),
            "headers": [(n.lower().encode(), v.encode()) for n, v in webhook.headers.items()],
        }  # fmt: skip
        self.unread = list(chunks or [webhook.body])

        async def receive():
            body = self.unread.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self.unread)}

        response = asyncio.run(self.webhooks.take(Request(scope, receive)))
        self.answer = response.body
        is_problem = response.headers.get("content-type", "").endswith("json")
        body = json.loads(response.body) if is_problem else {}
        return response.status_code, response.headers, body

    def signed(self, provider, method="POST", query="", **fields):
        url = f"https://hooks.example.com/hooks/acme/{provider}{'?' if query else ''}{query}"
        webhook = sign(provider, signing.Hook(method=method, url=url, headers={}, **fields))
        return self.send(provider, webhook)


def counted(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


# --------------------------------------------------------------------- taking


@pytest.mark.parametrize("provider", adapters())
def test_a_signed_webhook_goes_to_its_topic_with_its_tenant(provider):
    door = Door(hook(provider))
    before = counted("sendlog_hooks_accepted_total", provider=provider)
    status, _, _ = door.signed(provider, body=b"a=1&b=2")
    assert status == 200
    [(topic, value, headers)] = door.kafka.records
    assert topic == feed_topic(adapters()[provider].CHANNEL, provider)
    assert value == b"a=1&b=2" or provider == "mailgun"  # whose signature is in the body
    assert headers["sendlog-tenant"] == b"acme"
    assert counted("sendlog_hooks_accepted_total", provider=provider) == before + 1


def test_credentials_and_headers_that_nobody_reads_stay_here():
    door = Door(hook("postal"))
    webhook = sign("postal", signing.Hook(headers={
        "Content-Type": "application/json", "cookie": "a", "x-callback-query": "tenant_id=evil",
        "sendlog-tenant": "evil",
    }, body=b"{}"))  # fmt: skip
    assert "authorization" in webhook.headers
    door.send("postal", webhook)
    [(_, _, headers)] = door.kafka.records
    assert headers == {"content-type": b"application/json", "sendlog-tenant": b"acme"}


def test_of_an_account_that_several_share_the_tenant_is_only_the_default():
    door = Door(hook("postal", several_tenants=True))
    webhook = sign("postal", signing.Hook(headers={
        "sendlog-tenant": "evil", "sendlog-default-tenant": "evil",
    }, body=b"{}"))  # fmt: skip
    assert door.send("postal", webhook)[0] == 200
    assert door.kafka.records[0][2] == {"sendlog-default-tenant": b"acme"}


def test_the_query_of_a_callback_goes_along_unchanged():
    door = Door(hook("twilio"))
    assert door.signed("twilio", query="message_id=a%20b&x=", body=b"To=1")[0] == 200
    assert door.kafka.records[0][2][CALLBACK_QUERY_HEADER] == b"message_id=a%20b&x="


def test_the_query_of_a_get_is_the_value():
    for provider in QUERY_PROVIDERS:
        door = Door(hook(provider))
        assert door.signed(provider, "GET", query="id=1&status=a%20b")[0] == 200
        [(_, value, headers)] = door.kafka.records
        assert value.startswith(b"id=1&status=a%20b")
        assert CALLBACK_QUERY_HEADER not in headers


def test_every_header_that_an_example_has_is_passed_on():
    cases = [json.loads(path.read_text("utf-8")) for path in PAYLOADS.glob("*/*.json")]
    assert {name for case in cases for name in case["headers"]} <= {
        *PASSED_HEADERS,
        CALLBACK_QUERY_HEADER,
    }


@pytest.mark.parametrize(
    ("method", "value", "answer"),
    [
        ("POST", b"id=1&level=2&message_status=DELIVRD&donedate=2507251201", b"ACK/Jasmin"),
        ("GET", b"message_status=&id=1", b"ACK/Jasmin"),
        ("POST", b"id=1&origin-connector=c&content=hi&binary=6869", b"ACK/Jasmin"),
        ("POST", b"dlr=1&id=k-1", b""),
        ("GET", b"dlr=1&id=k-1", b""),
        ("POST", b"id:1 stat:DELIVRD err:000 text:message_status=DELIVRD", b""),
        ("POST", b'{"message_status": "DELIVRD", "id": "1"}', b""),
    ],
)
def test_jasmin_is_answered_as_it_wants_and_no_other_gateway(method, value, answer):
    door = Door(hook("smpp"))
    query = value.decode() if method == "GET" else ""
    status, headers, _ = door.signed("smpp", method, query, body=b"" if query else value)
    assert (status, door.answer) == (200, answer)
    assert ("content-type" in headers) == bool(answer)
    assert len(door.kafka.records) == 1


def test_jasmin_is_not_told_that_a_receipt_is_taken_that_is_not():
    door = Door(hook("smpp"))
    door.kafka.why = "away"
    status, _, problem = door.signed("smpp", body=b"id=1&message_status=DELIVRD")
    assert (status, problem["status"]) == (503, 503)
    assert b"Jasmin" not in door.answer


def test_another_provider_s_webhook_is_answered_with_nothing():
    door = Door(hook("twilio"))
    assert door.signed("twilio", body=b"message_status=DELIVRD")[0] == 200
    assert door.answer == b""


def test_an_unverified_hook_takes_anything():
    door = Door(hook("smpp", secret="", verified=False))
    assert door.send("smpp", signing.Hook(headers={}, body=b"id:1"))[0] == 200


# ------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("tenant", "provider", "method", "status", "words"),
    [
        ("a b", "postal", "POST", 400, "a tenant here is"),
        ("x" * 129, "postal", "POST", 400, "a tenant here is"),
        ("acme", "acme", "POST", 404, "no such provider"),
        ("other", "postal", "POST", 401, "not shown to be"),
        ("acme", "sendgrid", "POST", 401, "not shown to be"),
        ("acme", "postal", "GET", 405, "takes POST"),
        ("acme", "postal", "HEAD", 405, "takes POST"),
        ("acme", "postal", "POST", 401, "not shown to be"),
    ],
)
def test_what_is_not_taken_says_why_as_a_problem(tenant, provider, method, status, words):
    door = Door(hook("postal"))
    got, headers, problem = door.send(
        provider, signing.Hook(method=method, headers={}, body=b"{}"), tenant=tenant
    )
    assert (got, problem["status"]) == (status, status)
    assert headers["content-type"] == "application/problem+json"
    assert words in problem["detail"]
    assert door.kafka.records == []
    assert (status == 405) == ("allow" in headers)
    assert (status == 401) == ("www-authenticate" in headers)


def test_a_refusal_is_counted_by_provider_and_reason():
    door = Door(hook("postal"))
    labels = {"provider": "postal", "reason": "signature"}
    before = counted("sendlog_hooks_refused_total", **labels)
    unknown = counted("sendlog_hooks_refused_total", provider="unknown", reason="provider")
    door.send("postal", signing.Hook(headers={}, body=b"{}"))
    door.send("made-up", signing.Hook(headers={}, body=b"{}"))
    assert counted("sendlog_hooks_refused_total", **labels) == before + 1
    assert counted("sendlog_hooks_refused_total", provider="unknown", reason="provider") == (
        unknown + 1
    )


def test_no_more_than_the_limit_is_read():
    door = Door(hook("postal"))
    at_limit = sign("postal", signing.Hook(headers={}, body=b"x" * LIMIT))
    for stated in ({}, {"content-length": str(LIMIT)}):
        webhook = replace(at_limit, headers=at_limit.headers | stated)
        assert door.send("postal", webhook)[0] == 200
    stated = signing.Hook(headers={"content-length": str(LIMIT + 1)}, body=b"")
    status, _, problem = door.send("postal", stated, chunks=[b"x" * LIMIT, b"x"])
    assert (status, len(door.unread)) == (413, 2)
    assert "SENDLOG_KAFKA__MAX_RECORD_BYTES" in problem["detail"]
    for odd in ({}, {"content-length": "-1"}, {"content-length": "٣"}):
        chunks = [b"x" * LIMIT, b"x", b"x", b"x"]
        status, _, _ = door.send("postal", signing.Hook(headers=odd, body=b""), chunks=chunks)
        assert (status, len(door.unread)) == (413, 2)


def test_what_kafka_did_not_take_is_asked_for_again():
    door = Door(hook("postal"))
    door.kafka.why = "the broker is away"
    status, headers, problem = door.signed("postal", body=b"{}")
    assert (status, problem["detail"]) == (503, "the broker is away")
    assert int(headers["retry-after"]) > 0


def test_neither_answer_nor_log_shows_what_came():
    door = Door(hook("postal", secret="very-s3cret"))
    with capture_logs() as logs:
        _, _, problem = door.signed("postal", query="m=jo%40x.com", body=b'{"to": "jo@x.com"}')
    assert logs
    for text in (json.dumps(logs), json.dumps(problem)):
        assert "jo" not in text
        assert "s3cret" not in text


def mailgun_hook(body, token="t" * 50):
    now = str(int(datetime.now(UTC).timestamp()))
    mac = hmac.new(SECRETS["mailgun"].encode(), f"{now}{token}".encode(), "sha256").hexdigest()
    signed = {**body, "signature": {"timestamp": now, "token": token, "signature": mac}}
    return signing.Hook(headers={}, body=json.dumps(signed).encode())


def test_a_token_is_good_for_the_body_that_it_first_came_with():
    door = Door(hook("mailgun"), hook("mailgun", tenant="other"))
    first = mailgun_hook({"event-data": {"event": "opened"}})
    forged = replace(first, body=first.body.replace(b"opened", b"complained"))
    assert [door.send("mailgun", each)[0] for each in (first, first, forged, first)] == [
        200, 200, 401, 200,
    ]  # fmt: skip
    assert "came with another body" in door.send("mailgun", forged)[2]["detail"]
    assert door.send("mailgun", forged, tenant="other")[0] == 200  # an account of its own
    assert door.send("mailgun", mailgun_hook({"a": 1}, "another"))[0] == 200


def test_what_kafka_did_not_take_may_come_again_with_its_token():
    door = Door(hook("mailgun"))
    webhook = mailgun_hook({"event-data": {"event": "opened"}})
    door.kafka.why = "the broker is away"
    assert door.send("mailgun", webhook)[0] == 503
    door.kafka.why = ""
    assert door.send("mailgun", webhook)[0] == 200


def test_a_token_is_remembered_for_twice_its_lifetime_and_the_oldest_gives_way():
    memory, now, hour = TokenMemory(capacity=2), datetime.now(UTC), timedelta(hours=1)
    assert memory.admits("acme", "a", b"1", now, hour)
    assert not memory.admits("acme", "a", b"2", now + timedelta(minutes=119), hour)
    assert memory.admits("acme", "a", b"2", now + 2 * hour, hour)
    for token in ("b", "c"):
        assert memory.admits("acme", token, b"1", now + 2 * hour, hour)
    assert memory.admits("acme", "a", b"3", now + 2 * hour, hour)


def test_a_form_whose_boundary_is_drawn_anew_is_the_same_body():
    memory, now, hour = TokenMemory(), datetime.now(UTC), timedelta(hours=1)
    form = b'--%s\r\nContent-Disposition: form-data; name="event"\r\n\r\n%s\r\n--%s--'
    assert memory.admits("acme", "a", form % (b"b1", b"opened", b"b1"), now, hour)
    assert memory.admits("acme", "a", form % (b"b22", b"opened", b"b22"), now, hour)
    assert not memory.admits("acme", "a", form % (b"b1", b"bounced", b"b1"), now, hour)


FIREHOSE = {
    "x-amz-firehose-access-key": "s3cret", "x-amz-firehose-request-id": "ed4acda5-034f",
    "content-type": "application/json",
}  # fmt: skip


@pytest.mark.parametrize("pack", [None, gzip.compress])
def test_firehose_has_its_key_and_its_answer(pack):
    door = Door(hook("aws_sms", secret="s3cret"))
    plain = b'{"requestId": "ed4acda5-034f", "timestamp": 1578090901599, "records": []}'
    headers = {**FIREHOSE, **({"content-encoding": "gzip"} if pack else {})}
    webhook = signing.Hook(headers=headers, body=pack(plain) if pack else plain)
    status, _, answer = door.send("aws_sms", webhook)
    assert (status, answer["requestId"]) == (200, "ed4acda5-034f")
    taken = datetime.fromtimestamp(answer["timestamp"] / 1000, UTC)
    assert abs(datetime.now(UTC) - taken) < timedelta(minutes=5)
    assert [value for _, value, _ in door.kafka.records] == [plain]
    for key in ("other", ""):
        wrong = replace(webhook, headers={**headers, "x-amz-firehose-access-key": key})
        assert door.send("aws_sms", wrong)[0] == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 400),
        (b"\x1f\x8b", 400),
        (gzip.compress(b"x" * 100)[:-9], 400),
        (gzip.compress(b"x" * (LIMIT + 1)), 413),
        (gzip.compress(b"x" * 50_000_000), 413),
    ],
    ids=range(5),
)
def test_what_cannot_be_unpacked_within_the_limit_is_refused(body, status):
    door = Door(hook("aws_sms", secret="s3cret"))
    webhook = signing.Hook(headers={**FIREHOSE, "content-encoding": "gzip"}, body=body)
    assert len(body) < 60_000
    assert door.send("aws_sms", webhook, chunks=[body[:LIMIT]])[0] == status
    assert door.kafka.records == []


# ----------------------------------------------------------------- handshakes


def test_tests_of_an_address_are_answered_without_proof():
    for provider, method, body in (
        ("mailjet", "GET", b""), ("mailjet", "HEAD", b""), ("mandrill", "HEAD", b""),
        ("mandrill", "GET", b""), ("mandrill", "POST", b"mandrill_events=%5B%5D"),
        ("mailersend", "POST", b'{"type": "webhook.test", "message": "This is a test"}'),
        ("zeptomail", "GET", b""), ("zeptomail", "HEAD", b""),
    ):  # fmt: skip
        door = Door(hook(provider))
        webhook = signing.Hook(method=method, headers={}, body=body)
        assert door.send(provider, webhook)[0] == 200
        assert door.kafka.records == []


@pytest.mark.parametrize(
    "body", [b"", b"mandrill_events=%5B1%5D", b"mandrill_events=[]&x=1", b"\xff", b"x" * 300]
)
def test_only_an_empty_batch_is_a_test_of_mandrill(body):
    assert not is_test("mandrill", "POST", body)


VALIDATION = {
    "id": "2d1781af", "topic": "/subscriptions/11aa", "subject": "", "dataVersion": "2",
    "eventType": "Microsoft.EventGrid.SubscriptionValidationEvent",
    "eventTime": "2025-05-06T07:10:11Z",
    "data": {"validationCode": "512d38b6-c7b8", "validationUrl": "https://rp.example/validate?id=5"},
}  # fmt: skip


def azure_hook(body, query="secret=s3cret", method="POST", **headers):
    url = f"https://hooks.example.com/hooks/acme/azure?{query}"
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return signing.Hook(method=method, url=url, headers=headers, body=content)


@pytest.mark.parametrize("provider", sorted(EVENT_GRID_PROVIDERS))
def test_event_grid_gets_its_code_back_only_with_the_secret(provider):
    door = Door(hook(provider, secret="s3cret"))
    before = counted("sendlog_hooks_handshakes_total", provider=provider)
    status, headers, answer = door.send(provider, azure_hook([VALIDATION]))
    assert (status, answer) == (200, {"validationResponse": "512d38b6-c7b8"})
    assert headers["content-type"] == "application/json"
    assert counted("sendlog_hooks_handshakes_total", provider=provider) == before + 1
    for query in ("", "secret=other"):
        status, _, answer = door.send(provider, azure_hook([VALIDATION], query))
        assert status == 401
        assert "validationResponse" not in answer
    assert door.send("azure", azure_hook([VALIDATION]), tenant="other")[0] == 401
    assert door.kafka.records == []


@pytest.mark.parametrize(
    "body",
    [
        [{**VALIDATION, "eventType": "Microsoft.Communication.EmailDeliveryReportReceived"}],
        [{**VALIDATION, "data": {"validationCode": 7}}],
        [VALIDATION, VALIDATION],
        [{**VALIDATION, "subject": "x" * 9_000}],
        b"Microsoft.EventGrid.SubscriptionValidationEvent",
    ],
)
def test_what_only_resembles_a_validation_is_published(body):
    door = Door(hook("azure", secret="s3cret"))
    webhook = azure_hook(body)
    assert door.send("azure", webhook)[::2] == (200, {})
    [(_, value, headers)] = door.kafka.records
    assert value == webhook.body
    assert headers == {"sendlog-tenant": b"acme"}  # without the secret


def test_cloud_events_may_be_sent_from_the_origin_that_asks_with_the_secret():
    door = Door(hook("azure", secret="s3cret"))
    origin = {"webhook-request-origin": "eventgrid.azure.net", "webhook-request-rate": "120"}
    asked = azure_hook(b"", method="OPTIONS", **origin)
    status, headers, _ = door.send("azure", asked)
    assert status == 200
    assert headers["webhook-allowed-origin"] == "eventgrid.azure.net"
    assert headers["webhook-allowed-rate"] == "*"
    for webhook, expected in (
        (azure_hook(b"", "secret=other", "OPTIONS", **origin), 401),
        (azure_hook(b"", method="OPTIONS"), 200),
    ):
        status, headers, _ = door.send("azure", webhook)
        assert status == expected
        assert "webhook-allowed-origin" not in headers
    assert Door(hook("postal")).send("postal", asked)[0] == 405


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b'"webhook.test"', b'{"type": "activity.sent"}', b'{"data": "webhook.test"}',
        b'[{"type": "webhook.test"}]', b'{"type": "webhook.test", "m": "%s"}' % (b"x" * 1_000),
    ],
)  # fmt: skip
def test_only_the_event_of_a_test_is_a_test_of_mailersend(body):
    assert not is_test("mailersend", "POST", body)


def test_a_get_without_a_query_only_tests_an_address_of_elastic_email():
    door = Door(hook("elasticemail", secret="s3cret"))
    url = "https://hooks.example.com/hooks/acme/elasticemail?secret="
    for query, status in (("s3cret", 200), ("other", 401), ("s3cret&status=Sent", 200)):
        webhook = signing.Hook(method="GET", url=url + query, headers={})
        assert door.send("elasticemail", webhook)[0] == status
    assert [value for _, value, _ in door.kafka.records] == [b"status=Sent"]


def test_methods_are_post_and_what_a_provider_is_documented_to_use():
    assert allowed_methods("sendgrid") == {"POST"}
    assert allowed_methods("vonage") == {"POST", "GET"}
    assert allowed_methods("mailjet") == {"POST", "GET", "HEAD"}
    assert allowed_methods("azure") == {"POST", "OPTIONS"}


def test_a_ping_of_sparkpost_is_answered_and_an_event_goes_on():
    door = Door(hook("sparkpost"))
    for body in (b'[{"msys":{}}]', b'{"msys": {}}'):
        assert door.signed("sparkpost", body=body)[0] == 200
    assert door.send("sparkpost", signing.Hook(headers={}, body=b'[{"msys":{}}]'))[0] == 401
    assert door.kafka.records == []
    door.signed("sparkpost", body=b'[{"msys":{"message_event":{}}}]')
    assert len(door.kafka.records) == 1


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("SubscriptionConfirmation", "sns_subscription_to_confirm"),
        ("UnsubscribeConfirmation", "sns_unsubscribed"),
    ],
)
def test_a_subscription_is_shown_to_the_operator_and_not_confirmed(kind, event):
    door = Door(hook("ses"))
    body = json.dumps({"Type": kind, "TopicArn": TOPIC, "SubscribeURL": SUBSCRIBE}).encode()
    with capture_logs() as logs:
        assert door.signed("ses", body=body)[0] == 200
    [shown] = [line for line in logs if line["event"] == event]
    assert shown["subscribe_url"] == SUBSCRIBE
    assert shown["log_level"] == "info"
    assert door.kafka.records == []
    assert door.send("ses", signing.Hook(headers={}, body=body))[0] == 401


def test_an_address_of_somebody_else_is_not_shown_as_amazons():
    door = Door(hook("ses"))
    for url in ("https://evil.example/?x", "http://sns.eu-west-2.amazonaws.com/?x", None):
        body = json.dumps({"Type": "SubscriptionConfirmation", "SubscribeURL": url}).encode()
        with capture_logs() as logs:
            assert door.signed("ses", body=body)[0] == 200
        assert logs[0]["subscribe_url"] == "not an address of SNS"


def test_a_notification_that_speaks_of_a_subscription_is_an_event():
    door = Door(hook("ses"))
    body = json.dumps({"Type": "Notification", "Message": "SubscriptionConfirmation"}).encode()
    assert door.signed("ses", body=body)[0] == 200
    assert door.signed("ses", body=b"Confirmation, and no JSON")[0] == 200
    assert len(door.kafka.records) == 2


# --------------------------------------------------------------- certificates


def enveloped(message="{}", **more):
    fields = sns(message, datetime.now(UTC).timestamp(), **more)
    return signing.Hook(headers={}, body=json.dumps(fields).encode())


def test_an_envelope_is_verified_with_a_certificate_that_is_fetched_once():
    asked = []

    def fetch(url):
        asked.append(url)
        return certificate(datetime.now(UTC))

    door = Door(hook("ses", secret=TOPIC), fetch=fetch)
    for _ in range(3):
        assert door.send("ses", enveloped())[0] == 200
    assert asked == [signing.CERTIFICATE_URL]
    assert len(door.kafka.records) == 3
    assert door.send("ses", enveloped(TopicArn=TOPIC + "x"))[0] == 401
    elsewhere = enveloped(SigningCertURL="https://evil.example/a.pem")
    assert door.send("ses", elsewhere)[0] == 401
    assert asked == [signing.CERTIFICATE_URL]


def test_without_its_certificate_an_envelope_is_asked_for_again():
    def fetch(url):
        raise OSError("unreachable")

    door = Door(hook("ses", secret=TOPIC), fetch=fetch)
    status, _, problem = door.send("ses", enveloped())
    assert status == 503
    assert "cannot be fetched" in problem["detail"]


def test_only_the_latest_certificates_are_kept():
    asked = []
    certificates = Certificates(lambda url: asked.append(url) or b"x")

    async def ask():
        for n in range(20):
            await certificates.get(f"https://x/{n}")
        await certificates.get("https://x/19")
        await certificates.get("https://x/0")

    asyncio.run(ask())
    assert len(asked) == 21


def test_a_certificate_that_is_here_waits_for_no_other_and_a_failure_is_remembered():
    asked, hang, now = [], threading.Event(), [0.0]

    def fetch(url):
        asked.append(url)
        if url == "slow":
            hang.wait()
        if url == "bad":
            raise OSError("refused")
        return url.encode()

    async def ask():
        certificates = Certificates(fetch, clock=lambda: now[0])
        assert await certificates.get("good") == b"good"
        waiting = [asyncio.create_task(certificates.get("slow")) for _ in range(3)]
        await asyncio.sleep(0)
        assert await certificates.get("good") == b"good"
        for _ in range(3):
            with pytest.raises(CertificateError):
                await certificates.get("bad")
        waiting.pop().cancel()
        hang.set()
        assert await asyncio.gather(*waiting) == [b"slow"] * 2
        now[0] = 60.0
        with pytest.raises(CertificateError):
            await certificates.get("bad")

    asyncio.run(ask())
    assert sorted(asked) == ["bad", "bad", "good", "slow"]


def test_certificates_are_fetched_over_https_alone():
    with pytest.raises(ValueError, match="https"):
        fetch_certificate("file:///etc/passwd")


# -------------------------------------------------------------------- settings


def written(tmp_path, text):
    path = tmp_path / "secrets.toml"
    path.write_text(text)
    return GatewaySettings(secrets_file=path)


def test_the_secrets_file_names_hooks_by_tenant_and_provider(tmp_path):
    gateway = written(tmp_path, (
        '[acme.twilio]\nsecret = "t0ken"\ntolerance = 60\n'
        '["jo@example.com".smpp]\nsecret = ""\nunverified = true\n'
        '[acme.mailgun]\nsecret = "k"\nseveral_tenants = true\n'
    ))  # fmt: skip
    hooks = configured_hooks(gateway)
    assert set(hooks) == {("acme", "twilio"), ("jo@example.com", "smpp"), ("acme", "mailgun")}
    twilio = hooks["acme", "twilio"]
    assert (twilio.topic, twilio.tolerance) == ("sms.events.twilio", timedelta(seconds=60))
    assert not hooks["jo@example.com", "smpp"].verified
    shared = [place for place, each in hooks.items() if each.several_tenants]
    assert shared == [("acme", "mailgun")]
    assert "t0ken" not in repr(hooks)


def test_a_signature_is_good_for_as_long_as_its_provider_sends_it_again(tmp_path):
    providers = ["mailgun", "ses", "aws_sms", "scaleway", "twilio", "sinch"]
    text = "".join(f'[acme.{each}]\nsecret = "{SECRETS.get(each, SHARED)}"\n' for each in providers)
    hooks = configured_hooks(written(tmp_path, text))
    longer = {"mailgun": 9 * 60, "ses": 2 * 60, "aws_sms": 2 * 60, "scaleway": 8 * 60}
    for each in providers:
        assert hooks["acme", each].tolerance == timedelta(minutes=longer.get(each, 5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[acme.twilio\n", "secrets.toml: .*line 1"),
        ('[acme.twilio]\nsecret = "s3cret"\n[acme.twilio]\n', "secrets.toml: .*line 3"),
        ("[acme.twilio]\n", r"acme\.twilio\.secret: it is empty"),
        ("[acme.twilio]\nsecret = 7\n", r"acme\.twilio\.secret: .*string"),
        ('[acme.twilio]\nsecrt = "s3cret"\n', r"acme\.twilio\.secrt: Extra"),
        ('[acme]\ntwilio = "s3cret"\n', r"acme\.twilio: "),
        ('[acme.acme]\nsecret = "s3cret"\n', r"acme\.acme: there is no such provider; there are"),
        ('[acme.twilio]\nsecret = ""\n', r"acme\.twilio\.secret: it is empty; .*unverified = true"),
        ('[acme.twilio]\nsecret = "s3cret"\nunverified = true\n', "leave out one"),
        ('[acme.sendgrid]\nsecret = "s3cret"\n', r"acme\.sendgrid\.secret: the configured verif"),
        (
            '[acme.twilio]\nsecret = "s3cret"\ntolerance = 0\n',
            r"acme\.twilio\.tolerance: .*greater",
        ),
        (
            '[acme.twilio]\nsecret = "s3cret"\ntolerance = inf\n',
            r"acme\.twilio\.tolerance: takes at most 604,800 seconds",
        ),
        (
            f"[acme.twilio]\nsecret = {'[' * 2_000}",
            "nested too deeply",
        ),
        ('["a/b".twilio]\nsecret = "s3cret"\n', "a/b: a tenant here is"),
        ("", "no webhook is configured"),
    ],
)
def test_a_wrong_secrets_file_is_named_with_its_line_or_field(tmp_path, text, words):
    with pytest.raises(SettingsError, match=words) as caught:
        configured_hooks(written(tmp_path, text))
    assert "s3cret" not in str(caught.value)


def test_a_secrets_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read: No such file"):
        configured_hooks(GatewaySettings(secrets_file=tmp_path / "none.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match="not UTF-8"):
        configured_hooks(GatewaySettings(secrets_file=tmp_path / "binary.toml"))


def test_the_secret_of_a_hook_may_be_in_a_file(tmp_path):
    file = tmp_path / "twilio"
    file.write_text("t0ken\n")
    [hook] = configured_hooks(
        written(tmp_path, f'[acme.twilio]\nsecret_file = "{file}"\n')
    ).values()
    assert hook.secret.get_secret_value() == "t0ken"
    for text, words in (
        (f'secret = "t0ken"\nsecret_file = "{file}"', "has secret and secret_file; leave out one"),
        ('secret_file = "/nowhere"', r"acme\.twilio\.secret_file: /nowhere cannot be read"),
    ):
        with pytest.raises(SettingsError, match=words):
            configured_hooks(written(tmp_path, f"[acme.twilio]\n{text}\n"))


def test_secrets_may_come_from_the_environment_and_not_from_both(tmp_path, monkeypatch):
    monkeypatch.setenv("SENDLOG_GATEWAY__SECRETS", '{"acme": {"twilio": {"secret": "s3cret"}}}')
    gateway = load().gateway
    assert list(configured_hooks(gateway)) == [("acme", "twilio")]
    assert "s3cret" not in repr(gateway)
    both = written(tmp_path, '[acme.twilio]\nsecret = "s3cret"\n')
    both = both.model_copy(update={"secrets": gateway.secrets})
    with pytest.raises(SettingsError, match=r"acme\.twilio is also in SENDLOG_GATEWAY__SECRETS"):
        configured_hooks(both)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SENDLOG_GATEWAY__SECRETS", '{"acme": {"twilio": "s3cret"}}'),
        ("SENDLOG_GATEWAY__SECRETS", '{"acme": {"port": "s3cret"}}'),
        ("SENDLOG_GATEWAY__SECRETS", '["s3cret"]'),
        ("SENDLOG_GATEWAY__SECRETS", "s3cret"),
        ("SENDLOG_GATEWAY", '["s3cret"]'),
        ("SENDLOG_GATEWAY", "s3cret"),
        ("SENDLOG_GATEWAY__PUBLIC_URL", "s3cret"),
    ],
)
def test_no_wrong_setting_shows_a_secret(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load()
    assert "s3cret" not in str(caught.value)


def test_a_wrong_port_is_shown(monkeypatch):
    monkeypatch.setenv("SENDLOG_GATEWAY__PORT", "many")
    with pytest.raises(SettingsError, match=r"SENDLOG_GATEWAY__PORT: .*'many'"):
        load()
