"""A webhook that its provider signed is taken, and nothing else is, whatever it looks like."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.providers import adapters
from schemas.providers._signatures.verification import VerificationContext
from schemas.providers.signatures import (
    SIGNATURE_TOLERANCE,
    Request,
    SignatureError,
    certificate_needed,
    check_secret,
    scheme,
    signed_token,
    verify,
    without_secret,
)
from tests.signing import (
    CERTIFICATE_URL,
    DER,
    RAW,
    RSA,
    SECRETS,
    SHARED,
    TOPIC,
    Hook,
    b64,
    certificate,
    messagebird_hmac,
    plivo_v2,
    sign,
    sns,
    token,
    vonage_jwt,
    vonage_sig,
)

AT = 1_750_000_000
NOW = datetime.fromtimestamp(AT, UTC)
URL = "https://hooks.example.com/hooks/acme/x?tenant_id=a%20b&n=1"
BODIES = {
    "mailgun": b'{"event-data": {"event": "opened"}}',
    "mandrill": b"mandrill_events=%5B%7B%22event%22%3A%22send%22%7D%5D",
    "twilio": b"MessageSid=SM1&MessageStatus=sent&To=%2B447700900001&Body=",
    "plivo": b"MessageUUID=m-1&Status=sent&To=%2B447700900001&Tag=b&Tag=a&Text=",
}
FORMS = {
    "plivo": b"",
    "messagebird": b"",
    "mailgun": b"event=opened&recipient=jo%40example.com",
    "twilio": b'{"type": "com.twilio.messaging.message.sent"}',
    "vonage": b"",
}
OTHER = {
    "sendgrid": b64(ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(*DER)),
    "telnyx": b64(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(*RAW)),
    "resend": "whsec_" + b64(b"another key"),
}
TIMED = ["sendgrid", "mailgun", "resend", "vonage", "telnyx", "sinch", "messagebird"]


def signed(provider, bodies=BODIES, at=AT):
    method = "GET" if bodies.get(provider) == b"" else "POST"
    body = bodies.get(provider, b'[{"event": "sent"}]')
    return sign(provider, Hook(method=method, url=URL, headers={}, body=body), at)


def judge(provider, hook, secret=None, now=NOW, **options):
    request = Request(method=hook.method, url=hook.url, headers=hook.headers, body=hook.body)
    verify(provider, request, secret or SECRETS.get(provider, SHARED), now, **options)


def refused(provider, hook, words=r"\w", secret=None, now=NOW, **options):
    with pytest.raises(SignatureError, match=words) as caught:
        judge(provider, hook, secret, now, **options)
    return str(caught.value)


def vector(headers, body, url="https://mycompany.com/myapp.php?foo=1&bar=2", method="POST"):
    return Hook(method=method, url=url, headers=headers, body=body)


# --------------------------------------------------------------- published vectors


def test_the_vector_that_sendgrid_publishes_is_taken():
    body = (
        b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
        b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
        b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
        b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",'
        b'"timestamp":1600112492}]\r\n'
    )
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62"
        "gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
    )
    headers = {
        "x-twilio-email-event-webhook-signature": (
            "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15T"
            "luLtEZtM="
        ),
        "x-twilio-email-event-webhook-timestamp": "1600112502",
    }
    then = datetime.fromtimestamp(1600112600, UTC)
    judge("sendgrid", vector(headers, body), key, then)
    pem = f"-----BEGIN PUBLIC KEY-----\n{key[:64]}\n{key[64:]}\n-----END PUBLIC KEY-----\n"
    judge("sendgrid", vector(headers, body), pem, then)
    refused("sendgrid", vector(headers, body[:-2]), "does not match", key, then)


def test_the_vector_that_svix_publishes_is_taken_with_either_names_of_the_headers():
    key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = "v1,bm9wZQ== v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v2,x"
    for name in ("svix", "webhook"):
        headers = {
            f"{name}-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
            f"{name}-timestamp": "1614265330",
            f"{name}-signature": signature,
        }
        hook = vector(headers, b'{"test": 2432232314}')
        judge("resend", hook, key, datetime.fromtimestamp(1614265330, UTC))
        judge("resend", hook, key.removeprefix("whsec_"), datetime.fromtimestamp(1614265330, UTC))


TWILIO = urlencode({
    "Digits": "1234", "To": "+18005551212", "From": "+14158675309", "Caller": "+14158675309",
    "CallSid": "CA1234567890ABCDE",
})  # fmt: skip
HASHED = "&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"


@pytest.mark.parametrize(
    ("signature", "body", "url"),
    [
        ("RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO, "https://mycompany.com/myapp.php?foo=1&bar=2"),
        ("RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO, "https://mycompany.com:443/myapp.php?foo=1&bar=2"),
        (
            "IK+Dwps556ElfBT0I3Rgjkr1wJU=",
            "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234",
            "https://mycompany.com/myapp.php?foo=1&bar=2",
        ),
        (
            "a9nBmqA0ju/hNViExpshrM61xv4=",
            '{"property": "value", "boolean": true}',
            "https://mycompany.com/myapp.php?foo=1&bar=2" + HASHED,
        ),
    ],
)
def test_the_vectors_that_twilio_publishes_are_taken(signature, body, url):
    hook = vector({"x-twilio-signature": signature}, body.encode(), url)
    judge("twilio", hook, "12345")
    refused("twilio", replace(hook, body=hook.body + b" "), "does not match", "12345")
    refused("twilio", replace(hook, url=url.replace("foo=1", "foo=2")), "not match", "12345")


def test_the_vector_that_vonage_publishes_for_sig_is_taken():
    query = "a=1&b=2&timestamp=1461605396&sig=6af838ef94998832dbfc29020b564830"
    then = datetime.fromtimestamp(1461605396, UTC)
    judge("vonage", vector({}, b"", f"https://x.example/?{query}", "GET"), "secret", then)
    judge("vonage", vector({}, query.encode(), "https://x.example/"), "secret", then)
    body = json.dumps(dict(part.split("=") for part in query.split("&"))).encode()
    judge("vonage", vector({}, body, "https://x.example/"), "secret", then)


# ------------------------------------------------------- what holds for each provider


@pytest.mark.parametrize("provider", adapters())
def test_what_the_provider_signed_is_taken(provider):
    judge(provider, signed(provider))
    if provider in FORMS:
        judge(provider, signed(provider, FORMS))


@pytest.mark.parametrize("provider", adapters())
def test_a_webhook_without_its_signature_is_refused(provider):
    unsigned = Hook(url=URL, headers={}, body=BODIES.get(provider, b"[]"))
    refused(provider, unsigned, "missing|neither|no signature|has to hold")


@pytest.mark.parametrize("provider", adapters())
def test_another_secret_is_refused(provider):
    for bodies in (BODIES, FORMS):
        refused(provider, signed(provider, bodies), "match", OTHER.get(provider, "another"))


@pytest.mark.parametrize("provider", sorted(set(SECRETS) - {"mailgun"}))
def test_changing_the_body_breaks_the_signature(provider):
    hook = signed(provider)
    refused(provider, replace(hook, body=hook.body + b"&x=1"), "match")


@pytest.mark.parametrize("provider", ["twilio", "mandrill", "plivo", "messagebird"])
def test_changing_the_address_breaks_a_signature_over_it(provider):
    hook = signed(provider)
    for url in (hook.url.replace("acme", "other"), hook.url + "&m=1", hook.url.partition("?")[0]):
        refused(provider, replace(hook, url=url), "match")


@pytest.mark.parametrize("provider", TIMED)
def test_a_signature_is_good_for_five_minutes_and_no_longer(provider):
    hook = signed(provider)
    for seconds in (-300, 300):
        judge(provider, hook, now=NOW + timedelta(seconds=seconds))
    refused(provider, hook, "301 s old; 300", now=NOW + timedelta(seconds=301))
    refused(provider, hook, "301 s in the future", now=NOW - timedelta(seconds=301))
    judge(provider, hook, now=NOW + timedelta(hours=2), tolerance=timedelta(hours=2))
    assert timedelta(minutes=5) == SIGNATURE_TOLERANCE


@pytest.mark.parametrize("provider", ["sendgrid", "resend", "telnyx", "sinch"])
def test_a_changed_time_breaks_the_signature(provider):
    hook = signed(provider)
    name = next(name for name in hook.headers if name.endswith("timestamp"))
    for value in (str(AT + 1), str(AT) + ".0", "", "١٢٣", "-1"):
        refused(provider, replace(hook, headers={**hook.headers, name: value}))


@pytest.mark.parametrize("provider", SECRETS)
@pytest.mark.parametrize("junk", ["", "é", "====", "Bearer ", "Bearer a.b.c", "v1", "v1,", "\x00"])
def test_a_malformed_header_is_refused(provider, junk):
    hook = signed(provider)
    for name in hook.headers:
        if name not in ("svix-id", "content-type"):
            refused(provider, replace(hook, headers={**hook.headers, name: junk}))


@pytest.mark.parametrize("provider", adapters())
def test_no_error_shows_the_secret_or_what_came(provider):
    secret = OTHER.get(provider, "very-s3cret")
    hook = replace(signed(provider), body=b"signature=jo%40example.com&timestamp=1&token=t&sig=jo")
    message = refused(provider, hook, secret=secret)
    assert secret not in message
    assert "jo" not in message


values = st.one_of(st.text(max_size=60), st.sampled_from(["v1,aa== v1", "Basic YQ==", "a.b.c"]))
names = sorted({n for p in adapters() for n in signed(p).headers} | {"webhook-id", "host"})
bodies = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=80).map(str.encode),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["signature", "token", "timestamp", "sig", "Type", "TopicArn"]),
                inner,
            )
        ),
    ).map(lambda it: json.dumps(it).encode()),
)


@given(
    provider=st.sampled_from([*adapters(), "nobody"]),
    headers=st.dictionaries(st.sampled_from(names), values, max_size=6),
    url=st.one_of(st.text(max_size=60), st.just("http://[x"), st.just("https://h:99999999/?a=%zz")),
    body=bodies,
    secret=st.one_of(st.text(max_size=40), st.sampled_from([*SECRETS.values(), TOPIC, "arn:x"])),
    method=st.sampled_from(["GET", "POST", "x"]),
)
@settings(max_examples=1_500, deadline=None)
def test_whatever_comes_is_refused_in_one_way(provider, headers, url, body, secret, method):
    request = Request(method=method, url=url, headers=headers, body=body)
    if refusal(lambda: verify(provider, request, secret, NOW)) is None:
        # Only who knows the shared secret is taken: of nothing that is signed a draw has a proof.
        assert secret
        assert secret in "".join([*headers.values(), url, *credentials(headers)])
    assert refusal(lambda: certificate_needed(provider, request, secret)) != ""
    assert refusal(lambda: check_secret(provider, secret)) != ""


def refusal(judged):
    """Return why something is refused, or None."""
    try:
        judged()
    except SignatureError as error:
        return str(error)


def credentials(headers):
    """Yield what the headers have of credentials in base64."""
    with suppress(ValueError):
        yield base64.b64decode(headers.get("authorization", "").partition(" ")[2]).decode()


def test_verify_is_not_taken_for_an_adapter():
    assert "verify" not in adapters()
    assert "_verify" not in adapters()


# ---------------------------------------------------------------- shared secrets


def test_a_shared_secret_is_taken_as_password_as_credentials_and_as_token():
    def authorized(text, kind="Basic"):
        value = b64(text.encode()) if kind == "Basic" else text
        return Hook(url=URL, headers={"authorization": f"{kind} {value}"}, body=b"")

    judge("postal", authorized("anyone:s3cret"), "s3cret")
    judge("postal", authorized("ann:s3cret"), "ann:s3cret")
    judge("postal", authorized("ann:s3cret", "bearer"), "ann:s3cret")
    judge("postmark", authorized("ünï:pä:ss"), "ünï:pä:ss")
    refused("postal", authorized("bob:s3cret"), "user and password", "ann:s3cret")
    refused("postal", authorized("s3cret"), "user and password", "s3cret:")
    refused("postal", authorized("x", "Digest"), "neither Basic nor Bearer", "x")


def in_address(query, **headers):
    return Hook(
        url=f"https://hooks.example.com/hooks/acme/azure?{query}", headers=headers, body=b""
    )


def test_a_shared_secret_may_be_a_parameter_of_the_address():
    judge("azure", in_address("secret=pa%26ss%20word&tenant_id=a"), "pa&ss word")
    judge("azure", in_address("a=1&secret=s3cret"), "s3cret")
    judge("azure_sms", in_address("secret=s3cret&secret=s3cret"), "s3cret")


@pytest.mark.parametrize(
    "query",
    [
        "", "secret", "secret=", "secret=S3cret", "secret=s3cret%20", "secret=s3cre",
        "Secret=s3cret", "secret=other&secret=s3cret", "secret=s3cret&secret=",
        "secret[]=s3cret", "code=s3cret", "x=secret=s3cret", "secret%3Ds3cret",
        "secret=s3cret;", "secret=czNjcmV0",
    ],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["azure", "azure_sms"])
def test_an_address_without_the_one_secret_is_refused(provider, query):
    refused(provider, in_address(query), "does not match|missing", "s3cret")
    credentials = {"authorization": "Bearer s3cret"} if query.startswith("secret=") else {}
    refused(provider, in_address(query, **credentials), "does not match|missing", "s3cret")


@pytest.mark.parametrize(
    ("query", "rest"),
    [
        (b"", b""), (b"secret=x", b""), (b"a=1&secret=x&b=%20", b"a=1&b=%20"),
        (b"%73ecret=x&a", b"a"), (b"secret=x&secret=y&c=d=e", b"c=d=e"), (b"secrets=1",) * 2,
    ],
)  # fmt: skip
def test_a_query_is_passed_on_without_the_secret(query, rest):
    assert without_secret(query) == rest


def test_no_secret_at_all_matches_nothing():
    empty = Hook(url=URL, headers={"authorization": "Basic " + b64(b":")}, body=b"")
    request = Request(method="POST", url=URL, headers=empty.headers, body=b"")
    for provider in adapters():
        with pytest.raises(SignatureError):
            verify(provider, request, "", NOW)
        with pytest.raises(SignatureError):
            check_secret(provider, "")


@pytest.mark.parametrize(
    ("provider", "secret", "words"),
    [
        ("sendgrid", "no key", "verification key is no"),
        ("sendgrid", b64(b"no key"), "no P-256 public key"),
        ("sendgrid", SECRETS["telnyx"], "no P-256 public key"),
        ("telnyx", "é", "not base64"),
        ("telnyx", SECRETS["sendgrid"], "no Ed25519 key"),
        ("resend", "whsec_é", "not base64"),
        ("ses", "arn:aws:s3:::bucket", "no ARN of an SNS topic"),
        ("scaleway", "arn:scw:sqs:fr-par:project-1:queue", "no ARN of an SNS topic"),
        ("postal", SECRETS["sendgrid"], "no RSA public key"),
        ("postal", "-----BEGIN PUBLIC KEY-----\nbm8=\n", "no RSA public key"),
        ("postal", "-----BEGIN PUBLIC KEY-----\né\n", "no RSA public key"),
    ],
    ids=range(11),  # keys are drawn anew by each process, names must not be
)
def test_a_secret_that_cannot_be_one_is_told_before_any_webhook(provider, secret, words):
    with pytest.raises(SignatureError, match=words) as caught:
        check_secret(provider, secret)
    assert secret not in str(caught.value)


def test_each_provider_says_what_is_to_be_configured():
    for provider in adapters():
        assert scheme(provider).description
        check_secret(provider, SECRETS.get(provider, SHARED))
    check_secret("ses", f"{TOPIC}, {TOPIC}-2")


# ------------------------------------------------------------ what is special to one


def test_mailgun_does_not_sign_the_event_so_a_token_covers_any():
    hook = signed("mailgun")
    body = json.loads(hook.body)
    judge("mailgun", replace(hook, body=json.dumps({**body, "event-data": {}}).encode()))
    for name in ("timestamp", "token", "signature"):
        for value in ("", "1", 7, None, []):
            changed = {**body, "signature": {**body["signature"], name: value}}
            refused("mailgun", replace(hook, body=json.dumps(changed).encode()))


def test_an_event_of_a_subaccount_of_mailgun_is_signed_by_either_account():
    hook = signed("mailgun")
    body = json.loads(hook.body)
    own = body["signature"]["signature"]
    for signature, parent, good in (
        ("0" * 64, own, True), (own, "0" * 64, True), ("", own, True), (None, own, True),
        ("0" * 64, "0" * 64, False), ("0" * 64, "", False), ("", None, False), ([own], 7, False),
    ):  # fmt: skip
        pair = {"signature": signature, "parent-signature": parent}
        either = {**body, "signature": {**body["signature"], **pair}}
        webhook = replace(hook, body=json.dumps(either).encode())
        if good:
            judge("mailgun", webhook)
        else:
            refused("mailgun", webhook, "match|has to hold")


@pytest.mark.parametrize("bodies", [BODIES, FORMS])
def test_the_token_of_mailgun_stands_in_for_the_body(bodies):
    hook = signed("mailgun", bodies)
    request = Request(method="POST", url=URL, headers={}, body=hook.body)
    assert len(signed_token("mailgun", request)) == 50
    assert signed_token("sendgrid", request) == ""


def postal_signed(algorithm, header, key=RSA, body=b'{"event": "MessageSent"}'):
    signature = b64(key.sign(body, padding.PKCS1v15(), algorithm()))
    return Hook(url=URL, headers={header: signature}, body=body)


POSTAL_KEY = b64(RSA.public_key().public_bytes(*DER))
POSTAL_PEM = f"-----BEGIN PUBLIC KEY-----\n{POSTAL_KEY}\n-----END PUBLIC KEY-----\n"
SHA1_HEADER, SHA256_HEADER = "x-postal-signature", "x-postal-signature-256"


def test_postal_signs_a_body_by_its_key():
    for secret in (POSTAL_KEY, POSTAL_PEM):
        check_secret("postal", secret)
        judge("postal", postal_signed(hashes.SHA1, SHA1_HEADER), secret)
        newer = postal_signed(hashes.SHA256, SHA256_HEADER)
        judge("postal", newer, secret)
        judge("postal", newer.with_headers(x_postal_signature="bm9uZQ=="), secret)


def test_what_postal_did_not_sign_is_refused():
    newer = postal_signed(hashes.SHA256, SHA256_HEADER)
    older = postal_signed(hashes.SHA1, SHA1_HEADER)
    stranger = rsa.generate_private_key(65537, 2048)
    for hook in (
        replace(newer, body=newer.body + b" "),
        replace(newer, body=b""),
        replace(newer, headers={SHA1_HEADER: newer.headers[SHA256_HEADER]}),
        replace(older, headers={SHA256_HEADER: older.headers[SHA1_HEADER]}),
        replace(older, body=b"{}"),
        older.with_headers(x_postal_signature_256="bm9uZQ=="),
        replace(newer, headers={SHA256_HEADER: "é"}),
        replace(newer, headers={SHA256_HEADER: newer.headers[SHA256_HEADER][:-4]}),
        replace(newer, headers={SHA256_HEADER: ""}),
        replace(newer, headers={}),
        postal_signed(hashes.SHA256, SHA256_HEADER, stranger),
        sign("postal", replace(newer, headers={})),  # a password is none while there is a key
        replace(newer, headers={}, url=f"{URL}&secret={quote(POSTAL_KEY)}"),
    ):
        refused("postal", hook, "match|missing|not base64", POSTAL_KEY)


@pytest.mark.parametrize("header", ["x-amz-firehose-access-key"])
@pytest.mark.parametrize("provider", ["aws_sms", "ses"])
def test_firehose_has_a_header_for_a_shared_secret(provider, header):
    webhook = Hook(url=URL, headers={header: "s3cret"}, body=b"{}")
    judge(provider, webhook, "s3cret")
    for key in ("", "S3cret", "s3cret ", "s3cre", b64(b"s3cret"), "Bearer s3cret", "x:s3cret"):
        other = replace(webhook, headers={header: key, "authorization": "Bearer s3cret"})
        refused(provider, other, "access key does not match", "s3cret")
    refused(provider, webhook, "no SNS envelope", TOPIC)
    refused(provider, replace(webhook, headers={header: TOPIC}), "no SNS envelope", TOPIC)
    refused("postal", webhook, "missing", "s3cret")


def test_mailgun_signs_a_form_with_attachments_too():
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = "".join(part.format(*pair) for pair in [("timestamp", AT), ("event", "bounced")])
    hook = Hook(
        url=URL, body=(body + "--b--\r\n").encode(),
        headers={"content-type": "multipart/form-data; boundary=b"},
    )  # fmt: skip
    judge("mailgun", sign("mailgun", hook, AT))
    refused("mailgun", hook, "has to hold")


def zepto(signature, body=b'{"a": "1+1 %"}'):
    return Hook(url=URL, headers={"producer-signature": signature}, body=body)


def zepto_mac(body, algorithm="sha256"):
    return b64(hmac.new(SECRETS["zeptomail"].encode(), body, algorithm).digest())


def test_zeptomail_signs_a_body_as_it_is_or_as_it_reads():
    encoded = b"%7B%22a%22%3A+1%7D"
    for body, signed_body in ((encoded, encoded), (encoded, b'{"a": 1}'), (b"{}", b"{}")):
        mac = quote(zepto_mac(signed_body), safe="")
        judge("zeptomail", zepto(f"ts=1; s={mac} ;s-algorithm=HmacSHA256", body))
        judge("zeptomail", zepto(f"s-algorithm=HmacSHA256;s={zepto_mac(signed_body)}", body))


@pytest.mark.parametrize(
    "signature",
    [
        "ts=1;s={mac};s-algorithm=HmacSHA1", "ts=1;s={mac};s-algorithm=none", "ts=1;s={mac}",
        "ts=1;s=;s-algorithm=HmacSHA256", "ts=1;s-algorithm=HmacSHA256", "{mac}",
        "s={mac},s-algorithm=HmacSHA256", "ts=1;s={mac}x;s-algorithm=HmacSHA256",
        "ts=1;S={mac};s-algorithm=HmacSHA256", "ts={mac};s=1;s-algorithm=HmacSHA256",
        "ts=1;s={sha1};s-algorithm=HmacSHA256", "ts=1;s=%00{mac};s-algorithm=HmacSHA256",
    ],
)  # fmt: skip
def test_zeptomail_signatures_in_any_other_way_are_refused(signature):
    body = b'{"a": "1+1 %"}'
    text = signature.format(mac=quote(zepto_mac(body)), sha1=quote(zepto_mac(body, "sha1")))
    refused("zeptomail", zepto(text, body), "match|missing|not made with")


@pytest.mark.parametrize(
    ("provider", "name"), [("mailersend", "signature"), ("mailtrap", "mailtrap-signature")]
)
def test_a_body_is_signed_in_lower_case_hexadecimal_and_with_sha256_alone(provider, name):
    hook = signed(provider)
    mac = hook.headers[name]
    key = SECRETS[provider].encode()
    others = (
        mac.upper(), f"sha256={mac}", mac[:-1], mac + "0", mac + " ", f" {mac}", b64(mac.encode()),
        b64(bytes.fromhex(mac)), hashlib.sha256(key + hook.body).hexdigest(),
        hmac.new(key, hook.body, "sha1").hexdigest(), hmac.new(key, b"", "sha256").hexdigest(),
        hmac.new(b"test_Am3L1GuOIc4blLUuHqAPxxwkZaJyEk8G", hook.body, "sha256").hexdigest(),
    )  # fmt: skip
    for other in others:
        refused(provider, replace(hook, headers={name: other}), "match")
    refused(provider, replace(hook, headers={f"x-{name}": mac}), "missing")


@pytest.mark.parametrize("method", ["md5hash", "md5", "sha1", "sha256", "sha512"])
def test_vonage_signs_parameters_in_any_of_its_ways(method):
    hook = Hook(method="GET", url=URL + "&text=a%26b%3Dc", headers={})
    ready = vonage_sig(hook, AT, method)
    judge("vonage", ready)
    refused("vonage", replace(ready, url=ready.url.replace("n=1", "n=2")), "match")
    refused("vonage", replace(ready, url=ready.url[:-1]), "no known kind|match")


def test_vonage_tokens_of_another_algorithm_or_body_are_refused():
    hook = Hook(url=URL, headers={}, body=b'{"status": "delivered"}')
    for alg in ("none", "HS512", "RS256", None):
        refused("vonage", vonage_jwt(hook, AT, alg), "not signed with HS256")
    refused("vonage", replace(vonage_jwt(hook, AT), body=b"{}"), "payload_hash")
    assert refused("vonage", hook.with_headers(authorization="Bearer x"))


def vonage_token(**claims):
    """Return the headers of a token with these claims, signed as Vonage does."""
    return {"authorization": f"Bearer {token('vonage', claims)}"}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("body", [b'{"status": "delivered"}', b""])
@pytest.mark.parametrize("claim", [{}, {"payload_hash": ""}, {"payload_hash": None}])
def test_a_vonage_token_without_the_hash_of_a_body_is_for_none(method, body, claim):
    hook = Hook(method=method, url=URL, headers=vonage_token(iat=AT, **claim), body=body)
    refused("vonage", hook, "payload_hash")


def test_a_vonage_token_without_a_time_is_for_none():
    body = b'{"status": "delivered"}'
    claim = {"payload_hash": hashlib.sha256(body).hexdigest()}
    judge("vonage", Hook(url=URL, headers=vonage_token(iat=AT, **claim), body=body))
    for times in ({}, {"iat": str(AT)}, {"iat": None}):
        refused("vonage", Hook(url=URL, headers=vonage_token(**times, **claim), body=body), "iat")


def test_a_vonage_token_of_a_get_covers_its_query():
    digest = hashlib.sha256(b'{"to":"EX AMPLE","status":"delivered"}').hexdigest()
    url = "https://hooks.example.com/x?to=EX%20AMPLE&status=delivered"
    hook = Hook(method="GET", url=url, headers=vonage_token(iat=AT, payload_hash=digest))
    judge("vonage", hook)
    refused("vonage", replace(hook, url=url + "&n=1"), "payload_hash")


@pytest.mark.parametrize("provider", ["twilio", "plivo", "messagebird"])
@pytest.mark.parametrize(
    ("signed_url", "url"),
    [
        ("https://hooks.example.com/x?a=1", "https://hooks.example.com:8443/x?a=1"),
        ("https://hooks.example.com:8443/x?a=1", "https://hooks.example.com:8443/x?a=1"),
        ("https://hooks.example.com/x?a=1", "https://hooks.example.com:443/x?a=1"),
        ("https://hooks.example.com:443/x?a=1", "https://hooks.example.com/x?a=1"),
        ("http://[2001:db8::7]:80/x?a=1", "http://[2001:db8::7]/x?a=1"),
        ("http://[2001:db8::7]/x?a=1", "http://[2001:db8::7]:8080/x?a=1"),
    ],
)
def test_a_port_may_be_left_out_of_what_was_signed(provider, signed_url, url):
    hook = sign(provider, Hook(url=signed_url, headers={}, body=b"Status=sent"), AT)
    judge(provider, replace(hook, url=url))
    for other in (url.replace("/x", ":1/x"), url.replace("http", "ftp"), url.replace("a=1", "a=2")):
        refused(provider, replace(hook, url=other))


# ------------------------------------------------- Plivo, Sinch and MessageBird

EITHER = ["plivo", "sinch", "messagebird"]


@pytest.mark.parametrize("provider", EITHER)
def test_a_signature_or_credentials_that_do_not_match_spoil_no_other_proof(provider):
    hook = signed(provider)
    both = hook.with_headers(authorization="Basic " + b64(SHARED.encode()))
    judge(provider, both, SHARED)
    judge(provider, both, SHARED.partition(":")[2])
    judge(provider, hook.with_headers(authorization="Bearer s3cret"), "s3cret")
    judge(provider, both, SECRETS[provider])
    refused(provider, both, "user and password do not match", "another")
    refused(provider, hook, "the signature does not match", SHARED)
    refused(provider, replace(both, body=b"{}"), "user and password", SECRETS[provider])


@pytest.mark.parametrize("provider", EITHER)
def test_without_signature_or_credentials_nothing_is_taken(provider):
    bare = replace(signed(provider), headers={"content-type": "application/json"})
    refused(provider, bare, "neither a signature nor an authorization")
    refused(provider, bare, "neither a signature nor an authorization", SHARED)


def test_the_vector_that_plivo_publishes_for_version_2_is_taken():
    headers = {
        "x-plivo-signature-v2": "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=",
        "x-plivo-signature-v2-nonce": "12345",
    }
    hook = vector(headers, b"Status=sent", "https://answer.url")
    judge("plivo", hook, "my_auth_token")
    refused("plivo", hook, "match", "my_auth_tokens")
    for name, value in (("signature-v2-nonce", "12346"), ("signature-v2", "ehV3"), ("", "x")):
        changed = {**headers, f"x-plivo-{name}": value}
        if name:
            refused("plivo", replace(hook, headers=changed), "match", "my_auth_token")
    refused("plivo", replace(hook, url="https://answer.url/x"), "match", "my_auth_token")


def test_plivo_signs_a_subaccount_for_the_main_account_too():
    for hook in (signed("plivo"), plivo_v2(Hook(url=URL, headers={}, body=b"Status=sent"), AT)):
        version = "v3" if "x-plivo-signature-v3" in hook.headers else "v2"
        name = f"x-plivo-signature-{version}"
        mac = hook.headers[name]
        mains = {**hook.headers, name: "c3ViYWNjb3VudA==", f"x-plivo-signature-ma-{version}": mac}
        judge("plivo", replace(hook, headers=mains))
        del mains[name]
        judge("plivo", replace(hook, headers=mains))
        del mains[f"x-plivo-signature-{version}-nonce"]
        refused("plivo", replace(hook, headers=mains), "nonce is missing")


def test_plivo_version_2_does_not_help_where_version_3_is_wrong():
    hook = Hook(url=URL, headers={}, body=b"Status=sent")
    both = {**plivo_v2(hook, AT).headers, **sign("plivo", hook, AT).headers}
    judge("plivo", replace(hook, headers=both))
    refused("plivo", replace(hook, headers=both, body=b"Status=delivered"), "match")
    judge("plivo", replace(plivo_v2(hook, AT), body=b"Status=delivered"))


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("query", ["", "?b=2&a=%2B1&a=%200"])
@pytest.mark.parametrize("body", [b"", b"z=1&To=%2B44&To=&y=a+b"])
def test_plivo_signs_sorted_parameters_of_the_query_and_of_the_form(method, query, body):
    url = "https://hooks.example.com:8443/plivo" + query
    hook = sign("plivo", Hook(method=method, url=url, headers={}, body=body), AT)
    judge("plivo", hook)
    judge("plivo", replace(hook, url=url + ("&" if query else "?")))
    refused("plivo", replace(hook, url=url + ("&" if query else "?") + "c=3"), "match")
    refused("plivo", replace(hook, body=body + b"&c=3"), "match")


SINCH = (
    b'{"app_id":"01EB37HMH1M6SV18BSNS3G135H","accepted_time":"2020-11-17T15:09:11.659Z",'
    b'"project_id":"c36f3d3d-1513-2edd-ae42-11995557ff61","message_delivery_report":'
    b'{"message_id":"01EQBC1A3BEK731GY4YXEN0C2R","conversation_id":"01EPYATA64TMNZ1FV02JKF12JF",'
    b'"status":"QUEUED_ON_CHANNEL","contact_id":"01EXA07N79THJ20WSN6AS30TMW"}}'
)


def test_the_vector_that_sinch_publishes_is_taken():
    prefix = "x-sinch-webhook-signature"
    headers = {
        prefix: "Yc+3R1pIS78xLASybulhs8BsSo9BPB3Pr92QCUoczfk=",
        f"{prefix}-nonce": "01FJA8B4A7BM43YGWSG9GBV067",
        f"{prefix}-timestamp": "1634579353",
    }
    then = datetime.fromtimestamp(1634579353, UTC)
    hook = vector(headers, SINCH)
    judge("sinch", hook, "foo_secret1234", then)
    judge("sinch", hook.with_headers(x_sinch_webhook_signature_algorithm="HmacSHA256"),
          "foo_secret1234", then)  # fmt: skip
    for name, value, words in (
        ("", "x", "match"), ("-nonce", "x", "match"), ("-nonce", "", "missing"),
        ("-timestamp", "1634579354", "match"), ("-timestamp", "", "missing"),
        ("-algorithm", "none", "algorithm"), ("-algorithm", "", "algorithm"),
    ):  # fmt: skip
        changed = replace(hook, headers={**headers, prefix + name: value})
        refused("sinch", changed, words, "foo_secret1234", then)
    refused("sinch", replace(hook, body=SINCH + b"\n"), "match", "foo_secret1234", then)
    refused("sinch", hook, "s old", "foo_secret1234")


BIRD_KEY = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb"
BIRD_TOKEN = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXh"
    "wIjoxNjI1NDc5MjYwLCJqdGkiOiI5M2U1NTAwNi1hMGU4LTQ1MjYtYTE5MC1mYTVmZjAwZWExMTYiLCJ1cmxfaGFzaCI"
    "6IjQxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAiLCJ"
    "wYXlsb2FkX2hhc2giOiJkZmZkNjAyMWJiMmJkNWIwYWY2NzYyOTA4MDllYzNhNTMxOTFkZDgxYzdmNzBhNGIyODY4OGE"
    "zNjIxODI5ODZmIn0._H--TOuYFLpeEH39-rg5E3IHVkjHozBcaKVWPRC5m9I"
)


def test_the_token_that_messagebird_publishes_is_taken():
    then = datetime.fromtimestamp(1625479200, UTC)
    headers = {"messagebird-signature-jwt": BIRD_TOKEN}
    hook = vector(headers, b"Hello, World!", "https://example.com/path?bar=1&foo=2")
    judge("messagebird", hook, BIRD_KEY, then)
    for changes in (
        {"body": b"Hello, World"}, {"body": b""}, {"url": "https://example.com/path?foo=2&bar=1"},
        {"url": "https://example.com/"},
        {"headers": {"messagebird-signature-jwt": BIRD_TOKEN[:-1]}},
        {"headers": {"messagebird-signature-jwt": BIRD_TOKEN.replace("eyJpc3", "eyJpc4")}},
    ):  # fmt: skip
        refused("messagebird", replace(hook, **changes), secret=BIRD_KEY, now=then)
    refused("messagebird", hook, "match", "another", then)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"iss": "Messagebird"}, "not issued by"),
        ({"iss": None}, "not issued by"),
        ({"nbf": None}, "no nbf"),
        ({"nbf": str(AT)}, "no nbf"),
        ({"nbf": AT - 301}, "301 s old"),
        ({"nbf": AT + 301}, "in the future"),
        ({"exp": None}, "no exp"),
        ({"exp": AT - 301}, "expired"),
        ({"url_hash": None}, "match"),
        ({"url_hash": hashlib.sha256(b"https://evil.example/").hexdigest()}, "match"),
        ({"payload_hash": hashlib.sha256(b"x").hexdigest()}, "payload_hash"),
        ({"payload_hash": None}, "payload_hash"),
    ],
)
def test_a_messagebird_token_that_does_not_hold_is_refused(changes, words):
    claims = {
        "iss": "MessageBird", "nbf": AT, "exp": AT + 60,
        "url_hash": hashlib.sha256(URL.encode()).hexdigest(),
        "payload_hash": hashlib.sha256(b"{}").hexdigest(),
    }  # fmt: skip

    def with_token(text):
        return Hook(url=URL, headers={"messagebird-signature-jwt": text}, body=b"{}")

    judge("messagebird", with_token(token("messagebird", claims)))
    refused("messagebird", with_token(token("messagebird", claims, "none")), "HS256")
    refused("messagebird", with_token(token("messagebird", {**claims, **changes})), words)


def test_a_messagebird_token_that_claims_a_body_is_not_for_none():
    hook = sign("messagebird", Hook(url=URL, headers={}, body=b"{}"), AT)
    refused("messagebird", replace(hook, body=b""), "payload_hash")
    empty = sign("messagebird", Hook(method="GET", url=URL, headers={}), AT)
    judge("messagebird", empty)
    refused("messagebird", replace(empty, body=b"{}"), "payload_hash")


def test_the_hmac_that_messagebird_publishes_is_taken():
    query = urlencode({
        "recipient": "31612345678", "reference": "FOO", "id": "eef0ab57a9e049be946f3821568c2b2e",
        "statusDatetime": "2019-01-11T09:17:11+00:00", "status": "delivered", "mccmnc": "20408",
        "ported": "1",
    })  # fmt: skip
    headers = {
        "messagebird-signature": "2bl+38H4oHVg03pC3bk2LvCB0IHFgfC4cL5HPQ0LdmI=",
        "messagebird-request-timestamp": "1547198231",
    }
    key, then = "PlLrKaqvZNRR5zAjm42ZT6q1SQxgbbGd", datetime.fromtimestamp(1547198231, UTC)
    hook = vector(headers, b'{"foo":"bar"}', "https://hooks.example.com/x?" + query)
    judge("messagebird", hook, key, then)
    bare = {**headers, "messagebird-signature": "KVBdcVdz2lYMwcBLZCRITgxUfA/WkwSi+T3Wxl2HL6w="}
    judge("messagebird", replace(hook, headers=bare, body=b""), key, then)
    refused("messagebird", replace(hook, body=b""), "match", key, then)
    refused("messagebird", replace(hook, url=hook.url.replace("FOO", "BAR")), "match", key, then)
    refused("messagebird", hook, "match", "another", then)
    refused("messagebird", hook, "s old", key)
    for name in headers:
        for value in ("", "x"):
            changed = replace(hook, headers={**headers, name: value})
            refused("messagebird", changed, secret=key, now=then)
    judge("messagebird", messagebird_hmac(Hook(url=URL, headers={}, body=b"{}"), AT))


# ------------------------------------------------------------------------- SNS


def enveloped(fields):
    return Hook(url=URL, headers={}, body=json.dumps(fields).encode())


def certified(fields, secret=TOPIC, now=NOW, pem=None):
    certificates = {CERTIFICATE_URL: certificate(NOW) if pem is None else pem}
    judge("ses", enveloped(fields), secret, now, certificates=certificates)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("more", [{}, {"Subject": "Amazon SES"}, {"Subject": None}])
def test_an_envelope_that_amazon_signed_for_our_topic_is_taken(version, more):
    fields = sns("{}", AT, version, **{n: v for n, v in more.items() if v is not None})
    certified({**fields, **more})
    certified(fields, f"{TOPIC}-2,{TOPIC}")
    confirm = sns(
        "confirm", AT, version, "SubscriptionConfirmation", Token="t",
        SubscribeURL="https://sns.eu-west-2.amazonaws.com/?Action=ConfirmSubscription",
    )  # fmt: skip
    certified(confirm)


@pytest.mark.parametrize("name", ["Message", "MessageId", "Timestamp", "Type", "Signature"])
def test_changing_any_part_of_an_envelope_is_refused(name):
    fields = sns("{}", AT)
    for value in ("x", "", None, 7):
        with pytest.raises(SignatureError):
            certified({**fields, name: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"TopicArn": TOPIC + "x"}, "another topic"),
        ({"SigningCertURL": "https://sns.eu-west-2.amazonaws.com.evil.example/a.pem"}, "own SNS"),
        ({"SigningCertURL": "http://sns.eu-west-2.amazonaws.com/a.pem"}, "own SNS"),
        ({"SigningCertURL": "https://evil.example/sns.eu-west-2.amazonaws.com/a.pem"}, "own SNS"),
        ({"SigningCertURL": "https://sns.eu-west-2.amazonaws.com/../a.pem"}, "own SNS"),
        ({"SigningCertURL": "https://x@sns.eu-west-2.amazonaws.com/a.pem"}, "own SNS"),
        ({"SigningCertURL": CERTIFICATE_URL + "\n"}, "own SNS"),
        *(
            ({"SigningCertURL": CERTIFICATE_URL.replace("eu-west-2", host)}, "own SNS")
            for host in ("s3", "s3-us-west-2", "execute-api", "x", "eu-west", "EU-WEST-2")
        ),
        ({"SigningCertURL": CERTIFICATE_URL.replace("eu-west-2", "us-east-1")}, "another region"),
        ({"SigningCertURL": "https://sns.eu-west-2.amazonaws.com/evil.pem"}, "own SNS"),
        ({"SignatureVersion": "3"}, "neither 1 nor 2"),
    ],
)
def test_an_envelope_of_another_topic_or_certificate_is_refused(changes, words):
    with pytest.raises(SignatureError, match=words):
        certified({**sns("{}", AT), **changes})


SCALEWAY_TOPIC = "arn:scw:sns:fr-par:project-8c8bfa06-0a1b:mail-events"
SCALEWAY_CERTIFICATE = "https://messaging.s3.fr-par.scw.cloud/fr-par/sns/sns-cert-0a1b.pem"


@pytest.mark.parametrize(
    ("provider", "topic", "url"),
    [
        ("scaleway", SCALEWAY_TOPIC, SCALEWAY_CERTIFICATE),
        ("scaleway", SCALEWAY_TOPIC, "https://messaging.s3.nl-ams.scw.cloud/certs/cert-1.pem"),
        ("ses", TOPIC.replace("aws", "aws-cn"), CERTIFICATE_URL.replace(".com", ".com.cn")),
        ("ses", TOPIC.replace("aws", "aws-us-gov"), CERTIFICATE_URL),
        ("ses", TOPIC.replace("aws", "aws-eusc"), CERTIFICATE_URL.replace(".com", ".eu")),
    ],
    ids=range(5),
)
def test_an_envelope_may_be_of_another_partition_or_of_scaleway(provider, topic, url):
    check_secret(provider, topic)
    hook = enveloped(sns("{}", AT, TopicArn=topic, SigningCertURL=url))
    judge(provider, hook, topic, certificates={url: certificate(NOW)})
    refused(provider, hook, "another topic", topic + "x")


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE_URL,
        "http://messaging.s3.fr-par.scw.cloud/fr-par/sns/a.pem",
        "https://attacker.s3.fr-par.scw.cloud/fr-par/sns/a.pem",
        "https://messaging.s3.fr-par.scw.cloud.evil.example/a.pem",
        "https://messaging.s3.fr-par.scw.cloud@evil.example/a.pem",
        "https://messaging.s3.fr-par.scw.cloud:8443/a.pem",
        "https://messaging.s3.fr-par.scw.cloud/../a.pem",
        "https://messaging.s3.fr-par.scw.cloud/a.pem?b=c",
        "https://messaging.s3.evil.scw.cloud/a.pem",
        "https://messaging.s3.fr-par.scw.cloud/a/b/c/d/e.pem",
        SCALEWAY_CERTIFICATE + "\n",
        SCALEWAY_CERTIFICATE.removesuffix(".pem"),
    ],
)
def test_a_certificate_is_only_scaleways_own(url):
    hook = enveloped(sns("{}", AT, TopicArn=SCALEWAY_TOPIC, SigningCertURL=url))
    refused("scaleway", hook, "own SNS", SCALEWAY_TOPIC, certificates={url: certificate(NOW)})


def test_a_topic_of_amazon_takes_no_certificate_of_scaleway():
    hook = enveloped(sns("{}", AT, SigningCertURL=SCALEWAY_CERTIFICATE))
    pems = {SCALEWAY_CERTIFICATE: certificate(NOW)}
    refused("ses", hook, "own SNS", TOPIC, certificates=pems)


def test_the_certificate_has_to_be_at_hand_valid_and_the_one_that_signed():
    fields = sns("{}", AT)
    assert certificate_needed(
        "ses", Request(method="POST", url=URL, headers={}, body=json.dumps(fields).encode()), TOPIC
    ) == CERTIFICATE_URL  # fmt: skip
    refused("ses", enveloped(fields), "not at hand", TOPIC)
    for pem, words in (
        (b"no certificate", "cannot be read"),
        (certificate(NOW, rsa.generate_private_key(65537, 2048)), "does not match"),
        (certificate(NOW - timedelta(days=40)), "not valid at this time"),
        (certificate(NOW, subject="evil.example"), "somebody else"),
        (certificate(NOW, subject="sns.amazonaws.com.evil.example"), "somebody else"),
    ):
        with pytest.raises(SignatureError, match=words):
            certified(fields, pem=pem)
    with pytest.raises(SignatureError, match="301 s old"):
        certified(fields, now=NOW + timedelta(seconds=301))


def test_a_topic_takes_no_unsigned_delivery_and_a_shared_secret_does():
    raw = Hook(url=URL, headers={}, body=b'{"eventType": "Bounce"}')
    refused("ses", raw, "no SNS envelope", TOPIC)
    judge("ses", sign("ses", raw), SHARED)
    request = Request(method="POST", url=URL, headers={}, body=raw.body)
    assert certificate_needed("ses", request, SHARED) == ""
    assert certificate_needed("sendgrid", request, SECRETS["sendgrid"]) == ""


def test_a_percent_sign_or_a_plus_in_a_form_is_signed_as_it_reads():
    body = f"To=%2B44&Text={quote('a+b %&=é')}".encode()
    for provider in ("twilio", "mandrill"):
        judge(provider, sign(provider, Hook(url=URL, headers={}, body=body), AT))


@pytest.mark.parametrize(
    "text", ["", "soon", "-1614265330", "1614265330.5", "१६१४२६५३३०", "1" * 40]
)
def test_a_timestamp_that_is_no_number_of_seconds_is_refused_as_that(text):
    context = VerificationContext(
        request=Request(method="POST", url=URL, headers={}, body=b""), now=NOW
    )
    with pytest.raises(SignatureError, match="not a number of seconds"):
        context.check_timestamp(text)
