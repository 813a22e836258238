"""A refusal tells nobody which hooks there are, fills no log, and cannot be had without end."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from processor.gateway.decoys import decoy
from processor.gateway.refusals import (
    ADDRESS_BURST,
    HOOK_BURST,
    REFUSAL_LOG_SECONDS,
    RefusalCause,
    Refusals,
)
from schemas.providers import adapters, signatures
from tests import signing
from tests.signing import sign
from tests.unit.processor.gateway.test_gateway import Door, hook

UNSIGNED = signing.Hook(headers={}, body=b"{}")


@pytest.mark.parametrize("provider", adapters())
def test_a_hook_that_is_not_there_is_refused_as_one_that_is(provider):
    door = Door(hook(provider))
    url = f"https://hooks.example.com/hooks/acme/{provider}"
    signed = sign(provider, signing.Hook(method="POST", url=url, headers={}, body=b"a=1"))
    # Signed for nobody: the secret of the tests is of other hooks than these.
    strange = Door(hook(provider, secret=decoy(provider).secret.get_secret_value()))
    unknown = door.send(provider, UNSIGNED, tenant="nobody")
    assert unknown[0] == 401
    for known in (door.send(provider, UNSIGNED), strange.send(provider, signed),
                  door.send(provider, signed, tenant="nobody")):  # fmt: skip
        assert (known[0], dict(known[1]), known[2]) == (unknown[0], dict(unknown[1]), unknown[2])
    signatures.check_secret(provider, decoy(provider).secret.get_secret_value())


def test_what_proves_nothing_is_refused_unseen_after_a_while():
    door = Door(hook("postal"), hook("mailjet"))
    guess = signing.Hook(headers={"authorization": "Bearer guess"}, body=b"{}")
    right = sign("postal", UNSIGNED)
    statuses = [door.send("postal", guess)[0] for _ in range(HOOK_BURST + 1)]
    assert statuses == [401] * HOOK_BURST + [429]
    status, headers, _ = door.send("postal", right)
    assert (status, int(headers["retry-after"]) > 0) == (429, True)
    assert door.send("postal", right, address="192.0.2.2")[0] == 200
    assert door.send("mailjet", sign("mailjet", UNSIGNED))[0] == 200
    assert door.send("postal", guess, tenant="nobody")[0] == 401


def test_one_address_cannot_try_all_names():
    door = Door(hook("postal"))
    for number in range(ADDRESS_BURST):
        door.webhooks._refusals.note_unproven("192.0.2.1", f"tenant-{number}/postal")
    assert door.send("postal", UNSIGNED, tenant="one-more")[0] == 429
    assert door.send("postal", UNSIGNED, tenant="one-more", address="192.0.2.2")[0] == 401


def test_good_webhooks_count_for_no_limit():
    door = Door(hook("postal"))
    assert {door.send("postal", sign("postal", UNSIGNED))[0] for _ in range(HOOK_BURST + 9)} == {
        200
    }


def test_a_cause_is_logged_at_once_and_then_once_a_minute_with_its_count():
    now = [0.0]
    refusals = Refusals(clock=lambda: now[0])
    cause = RefusalCause("postal", "acme", 401, "signature", "the header is missing")
    with capture_logs() as logs:
        for _ in range(1_000):
            refusals.count(cause)
        assert [line["count"] for line in logs] == [1]
        now[0] = REFUSAL_LOG_SECONDS
        refusals.flush()
        refusals.flush()
    assert [line["count"] for line in logs] == [1, 999]
    assert logs[0] == {
        "event": "hook_refused", "log_level": "warning", "provider": "postal", "tenant": "acme",
        "status": 401, "reason": "signature", "detail": "the header is missing", "count": 1,
    }  # fmt: skip


def test_names_that_nobody_configured_are_in_no_log():
    door = Door(hook("postal"))
    with capture_logs() as logs:
        for tenant in ("jo.private@example.com", "nobody"):
            door.send("postal", UNSIGNED, tenant=tenant)
            door.send("pigeon", UNSIGNED, tenant=tenant)
    assert [(line["tenant"], line["reason"]) for line in logs] == [
        ("", "signature"), ("", "provider"),
    ]  # fmt: skip
