"""A proxy in front of the gateway: who may say that a webhook came by https, and what follows."""

from __future__ import annotations

import pytest

from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.signing import sign


@pytest.mark.parametrize(
    ("proxies", "status"),
    # Verified, and then there is no Kafka; or the address that was signed is not the one called.
    [("10.0.0.1, 127.0.0.0/8", 503), ("10.0.0.1", 401)],
)
def test_only_a_proxy_that_is_named_says_how_a_webhook_came(tmp_path, proxies, status):
    settings = {"SENDLOG_GATEWAY__PUBLIC_URL": "", "SENDLOG_GATEWAY__PROXIES": proxies}
    with GatewayProcess("127.0.0.1:1", tmp_path, hooks_of(["twilio"]), **settings) as gateway:
        body = b"MessageSid=SM1&MessageStatus=delivered"
        form = {"Content-Type": "application/x-www-form-urlencoded", "X-Forwarded-Proto": "https"}
        signed = sign("twilio", webhook("twilio", body, headers=form))
        host = {"Host": "hooks.example.com"}
        with gateway.client() as send:
            assert send(signed.with_headers(**host))[0] == status
