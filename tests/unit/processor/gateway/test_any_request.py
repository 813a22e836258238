"""Whatever comes to the gateway, or as a form to a page, is answered without an error of ours."""

from __future__ import annotations

from urllib.parse import quote_from_bytes

from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.providers import adapters
from tests import signing
from tests.unit.processor.gateway.test_gateway import Door, hook
from tests.unit.projections.web.test_app import client_of

PROVIDERS = sorted(adapters())
DOORS = {
    provider: (Door(hook(provider)), Door(hook(provider, verified=False))) for provider in PROVIDERS
}
HEADERS = st.dictionaries(
    st.sampled_from([
        "authorization", "content-type", "content-encoding", "content-length", "svix-id",
        "svix-timestamp", "svix-signature", "x-twilio-signature", "x-mandrill-signature",
        "producer-signature", "messagebird-signature", "x-plivo-signature-v3", "signature",
        "x-plivo-signature-v3-nonce", "x-sinch-webhook-signature", "webhook-request-origin",
        "x-amz-firehose-request-id", "telnyx-signature-ed25519", "telnyx-timestamp",
    ]),
    st.one_of(
        st.text("abcdef0123456789=+/., ;:\"'%", max_size=60),
        st.sampled_from(["Basic eDp5", "Bearer a.b.c", "gzip", "v1,AAAA", "1750000000", "-1"]),
    ),
    max_size=6,
)  # fmt: skip
BODIES = st.one_of(
    st.binary(max_size=300),
    st.sampled_from([
        b"{}", b"[]", b"null", b'{"signature": null}', b'{"signature": {"token": 1}}', b"--b",
        b'{"Type": "Notification"}', b'{"Type": []}', b"a=1&a=2&sig=x", b"--b\r\n\r\n--b--",
        b'{"signature": {"timestamp": "9e9", "token": {}, "signature": "\\ud800"}}',
    ]),
)  # fmt: skip


@settings(max_examples=200)
@given(
    st.sampled_from(PROVIDERS), st.sampled_from(["GET", "HEAD", "OPTIONS", "POST"]),
    st.binary(max_size=60), HEADERS, BODIES,
)  # fmt: skip
@example("vonage", "GET", b"sig=0&timestamp=NaN", {}, b"")
def test_the_gateway_answers_whatever_comes(provider, method, query, headers, body):
    url = f"https://hooks.example.com/?{quote_from_bytes(query, safe='&=%')}"
    for door in DOORS[provider]:
        webhook = signing.Hook(method=method, url=url, headers=headers, body=body)
        # A new address each time, so that none is refused for those before it.
        door.webhooks._refusals._hooks._buckets.clear()
        door.webhooks._refusals._addresses._buckets.clear()
        status, _, _ = door.send(provider, webhook)
        assert status < 500


def test_a_form_of_anything_is_no_error_of_ours():
    with client_of() as client:

        @settings(max_examples=200)
        @given(st.binary(max_size=400), st.sampled_from(["/sign-in", "/embed/blacklist/email"]))
        def post(body, path):
            reply = client.post(path, content=body, follow_redirects=False)
            assert reply.status_code in range(200, 500)

        post()
