"""Webhooks through the real gateway to the real broker: what is confirmed is there."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from processor.kafka import topics
from processor.settings import KafkaSettings
from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.signing import SECRETS, SHARED, TOPIC, Hook, sign
from tests.system import wait_for

PROVIDERS = [
    "sendgrid", "mailgun", "mandrill", "mailjet", "sparkpost", "ses", "resend", "postal", "twilio",
    "vonage", "messagebird", "smpp",
]  # fmt: skip
LIMIT = 100_000


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory):
    """A broker that is stopped and started: nobody else's."""
    with Broker(f"127.0.0.1:{free_port()}", tmp_path_factory.mktemp("broker")) as server:
        topics.create_missing_topics(KafkaSettings(bootstrap=server.bootstrap, replication=1))
        yield server


@pytest.fixture(scope="module")
def gateway(own_broker, tmp_path_factory):
    hooks = hooks_of(PROVIDERS)
    hooks["acme", "smpp"] = {"secret": "", "unverified": True}
    hooks["other", "sendgrid"] = {"secret": SECRETS["sendgrid"]}
    with GatewayProcess(
        own_broker.bootstrap, tmp_path_factory.mktemp("gateway"), hooks,
        SENDLOG_KAFKA__MAX_RECORD_BYTES=str(LIMIT), SENDLOG_GATEWAY__TIMEOUT="2",
    ) as server:  # fmt: skip
        wait_for(lambda: server.status("/readyz") == 200, "the gateway to be ready")
        yield server


@pytest.fixture
def received(own_broker):
    """Return a function that gives what came to a topic since the test began."""
    consumer = KafkaConsumer(bootstrap_servers=own_broker.bootstrap, group_id=None)
    names = [topic.name for topic in topics.declared_topics(KafkaSettings())]
    parts = [TopicPartition(name, n) for name in names for n in consumer.partitions_for_topic(name)]
    consumer.assign(parts)
    start = consumer.end_offsets(parts)

    def read(topic):
        ours = [part for part in parts if part.topic == topic]
        ends = consumer.end_offsets(ours)
        consumer.assign(ours)
        for part in ours:
            consumer.seek(part, start[part])
        count = sum(ends[part] - start[part] for part in ours)
        records = []
        while len(records) < count:
            records += [r for batch in consumer.poll(1000).values() for r in batch]
        return sorted(records, key=lambda record: record.timestamp)

    yield read
    consumer.close()


def signed(provider, *arguments, **options):
    return sign(provider, webhook(provider, *arguments, **options))


def test_what_is_confirmed_is_in_kafka_unchanged(gateway, received):
    body = '[{"event": "open", "email": "jö@example.com"}]\r\n'.encode()
    ready = signed("sendgrid", body, query="n=1", headers={"Content-Type": "application/json"})
    status, _, _ = gateway.send(ready)
    assert status == 200
    [record] = received("email.events.sendgrid")
    assert record.value == body
    assert dict(record.headers) == {
        "content-type": b"application/json", "sendlog-tenant": b"acme", "x-callback-query": b"n=1",
    }  # fmt: skip


def test_the_id_that_only_a_header_has_comes_along_and_credentials_do_not(gateway, received):
    assert gateway.send(signed("resend", b"{}", headers={"svix-id": "msg_7"}))[0] == 200
    assert (
        gateway.send(signed("sparkpost", b"[]", headers={"X-MessageSystems-Batch-ID": "b7"}))[0]
        == 200
    )
    [resend] = received("email.events.resend")
    assert dict(resend.headers)["svix-id"] == b"msg_7"
    [sparkpost] = received("email.events.sparkpost")
    assert dict(sparkpost.headers) == {
        "x-messagesystems-batch-id": b"b7",
        "sendlog-tenant": b"acme",
    }
    for record in (resend, sparkpost):
        assert "authorization" not in dict(record.headers)


def test_a_get_has_its_query_as_value(gateway, received):
    query = "msisdn=447700900001&status=delivered&text=a%20b"
    assert gateway.send(signed("vonage", method="GET", query=query))[0] == 200
    [record] = received("sms.events.vonage")
    assert record.value.startswith(query.encode())
    assert b"&sig=" in record.value
    assert dict(record.headers) == {"sendlog-tenant": b"acme"}


def test_a_form_and_its_callback_query_are_signed_together(gateway, received):
    body = b"MessageSid=SM1&MessageStatus=sent&To=%2B447700900001"
    ready = signed("twilio", body, query="message_id=a%20b")
    assert gateway.send(ready)[0] == 200
    other = Hook(url=ready.url.replace("a%20b", "c"), headers=ready.headers, body=body)
    assert gateway.send(other)[0] == 401
    [record] = received("sms.events.twilio")
    assert dict(record.headers)["x-callback-query"] == b"message_id=a%20b"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"headers": {}}, 401, "not shown to be"),
        ({"body": b"[{}]"}, 401, "not shown to be"),
        ({"url": webhook("sendgrid", tenant="nobody").url}, 401, "not shown to be"),
        ({"url": webhook("sendgrid").url + "/"}, 404, "Not Found"),
        ({"url": webhook("pigeon").url}, 404, "no such provider"),
        ({"url": webhook("sendgrid", tenant="a%20b").url}, 400, "a tenant here"),
        ({"url": webhook("sendgrid").url + "/more"}, 404, "Not Found"),
        ({"method": "GET"}, 405, "takes POST"),
        ({"method": "DELETE"}, 405, "Method Not Allowed"),
    ],
)
def test_what_is_refused_is_not_in_kafka(gateway, received, change, status, words):
    ready = signed("sendgrid", b"[]")
    fields = {name: getattr(ready, name) for name in ("method", "url", "headers", "body")}
    got, headers, problem = gateway.send(Hook(**{**fields, **change}))
    assert (got, headers["content-type"]) == (status, "application/problem+json")
    assert words in problem["detail"]
    assert received("email.events.sendgrid") == []


def test_what_is_too_large_is_refused_also_without_a_stated_length(gateway, received):
    assert gateway.send(signed("sendgrid", b" " * LIMIT))[0] == 200
    large = signed("sendgrid", b" " * (LIMIT + 1))
    status, _, problem = gateway.send(large)
    assert status == 413
    assert "100,000" in problem["detail"]
    chunks = iter([b" " * 60_000, b" " * 60_000])
    assert gateway.send(large, body=chunks, encode_chunked=True)[0] == 413
    assert [len(record.value) for record in received("email.events.sendgrid")] == [LIMIT]


def test_handshakes_are_answered_and_kept_from_kafka(gateway, received):
    subscribe = "https://sns.eu-west-2.amazonaws.com/?Action=ConfirmSubscription&Token=2336"
    envelope = {"Type": "SubscriptionConfirmation", "TopicArn": TOPIC, "SubscribeURL": subscribe}
    for handshake in (
        signed("ses", json.dumps(envelope).encode()),
        signed("sparkpost", b'[{"msys":{}}]'),
        webhook("mailjet", method="GET"),
        webhook("mandrill", method="HEAD"),
        webhook("mandrill", b"mandrill_events=%5B%5D"),
    ):
        assert gateway.send(handshake)[0] == 200
    for provider in ("ses", "sparkpost", "mailjet", "mandrill"):
        assert received(f"email.events.{provider}") == []
    [line] = gateway.events("sns_subscription_to_confirm")
    assert line["subscribe_url"] == subscribe


def test_counters_tell_what_was_taken_and_refused(gateway):
    taken, refused = (
        'accepted_total{provider="postal"}',
        'total{provider="postal",reason="signature"}',
    )
    before = gateway.counted(taken), gateway.counted(refused)
    gateway.send(signed("postal", b"{}"))
    gateway.send(webhook("postal", b"{}"))
    assert (gateway.counted(taken), gateway.counted(refused)) == (before[0] + 1, before[1] + 1)


def test_no_log_line_shows_a_secret_or_what_came(gateway):
    gateway.send(webhook("postal", b'{"to": "jo@example.com"}', query="m=jo%40example.com"))
    output = gateway.log.read_text()
    assert "hook_refused" in output
    for text in (SHARED, *SECRETS.values(), "jo@", "jo%40"):
        assert text not in output


def test_while_the_broker_is_away_nothing_is_confirmed_and_then_it_goes_on(
    gateway, own_broker, received
):
    ready = signed("postal", b'{"event": "before"}')
    assert gateway.send(ready)[0] == 200
    own_broker.stop()
    wait_for(lambda: gateway.status("/readyz") == 503, "the gateway to see that the broker is away")
    assert gateway.status("/healthz") == 200
    for _ in range(3):
        status, headers, problem = gateway.send(signed("postal", b'{"event": "during"}'))
        assert status == 503
        assert int(headers["retry-after"]) > 0
        assert "broker" in problem["detail"]
    own_broker.start()
    wait_for(
        lambda: gateway.send(signed("postal", b'{"event": "after"}'))[0] == 200,
        "webhooks to be taken",
    )
    wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready again")
    values = [record.value for record in received("email.events.postal")]
    assert values[0] == b'{"event": "before"}'
    assert values[-1] == b'{"event": "after"}'


def test_a_gateway_starts_without_a_broker_and_waits_for_it(own_broker, tmp_path):
    own_broker.stop()
    try:
        with GatewayProcess(own_broker.bootstrap, tmp_path, hooks_of(["postal"])) as gateway:
            assert gateway.status("/readyz") == 503
            assert gateway.send(signed("postal", b"{}"))[0] == 503
            own_broker.start()
            wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready")
            assert gateway.send(signed("postal", b"{}"))[0] == 200
    finally:
        if not own_broker.running:
            own_broker.start()


def test_a_broker_that_is_killed_loses_nothing_that_was_confirmed(gateway, own_broker, received):
    confirmed = []
    for n in range(40):
        if n == 20:
            own_broker.kill()
        if n == 25:
            own_broker.start()
        body = json.dumps({"n": n}).encode()
        if gateway.send(signed("postal", body))[0] == 200:
            confirmed.append(body)
    assert len(confirmed) >= 25
    values = {record.value for record in received("email.events.postal")}
    assert set(confirmed) <= values


def test_a_missing_topic_is_named_with_what_to_run(own_broker, tmp_path):
    kafka = KafkaSettings(bootstrap=own_broker.bootstrap, replication=1)
    with topics.admin_client(kafka) as admin:
        admin.delete_topics(["sms.events.sinch"])
    with GatewayProcess(own_broker.bootstrap, tmp_path, hooks_of(["sinch"])) as gateway:
        wait_for(lambda: gateway.events("gateway_waits"), "the gateway to look for its topics")
        status, _, problem = gateway.send(signed("sinch", b"{}"))
        assert status == 503
        assert problem["detail"] == "topic sms.events.sinch is missing: run sendlog topics apply"
        with topics.admin_client(kafka) as admin:
            admin.create_topics(
                [NewTopic(name="sms.events.sinch", num_partitions=1, replication_factor=1)]
            )
        wait_for(lambda: gateway.send(signed("sinch", b"{}"))[0] == 200, "the topic to be found")


def test_it_stops_on_term_and_finishes_what_it_confirmed(own_broker, tmp_path, received):
    gateway = GatewayProcess(own_broker.bootstrap, tmp_path, hooks_of(["postal"]))
    with gateway:
        wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready")
        assert gateway.send(signed("postal", b"{}"))[0] == 200
        gateway._process.send_signal(signal.SIGTERM)
        wait_for(lambda: not gateway.running, "the gateway to stop")
        assert gateway.returncode == 0
    assert gateway.events("gateway_stopped")
    assert len(received("email.events.postal")) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "sendlog: no webhook is configured"),
        ({"SENDLOG_GATEWAY__SECRETS_FILE": "/nowhere.toml"}, "/nowhere.toml cannot be read"),
        (
            {"SENDLOG_GATEWAY__SECRETS": '{"acme": {"sendgrid": {"secret": "s3cret"}}}'},
            "acme.sendgrid.secret: the configured verification key",
        ),
        (
            {
                "SENDLOG_GATEWAY__SECRETS": '{"acme": {"postal": {"secret": "s3cret"}}}',
                "SENDLOG_GATEWAY__HOST": "203.0.113.7",
            },
            "SENDLOG_GATEWAY__HOST, __PORT: cannot listen at 203.0.113.7:8090",
        ),
    ],
)
def test_a_wrong_setting_stops_the_start_in_one_line(settings, words):
    done = subprocess.run(
        [sys.executable, "-m", "processor", "gateway"], env={**os.environ, **settings},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cret" not in done.stderr


def test_records_of_the_gateway_and_of_others_may_stand_side_by_side(gateway, own_broker, received):
    producer = KafkaProducer(bootstrap_servers=own_broker.bootstrap, acks="all")
    producer.send("email.events.postal", b"theirs").get(30)
    producer.close()
    assert gateway.send(signed("postal", b"ours"))[0] == 200
    assert {record.value for record in received("email.events.postal")} == {b"theirs", b"ours"}


def test_a_thousand_idle_connections_and_slow_bodies_keep_no_webhook_out(gateway):
    half = b"POST /hooks/acme/postal HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nhalf"
    with ExitStack() as stack:
        for text in (b"", b"GET /he", half) * 350:
            client = stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            client.sendall(text)
        assert gateway.status("/healthz") == 200
        assert gateway.send(signed("postal", b"{}"))[0] == 200
