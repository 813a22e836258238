"""The walls between tenants: foreign sends and unsigned commands become dead letters."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY
from pydantic import SecretStr

from processor.intake.decoder import Decoder
from processor.intake.policy_feed import entry_of
from processor.intake.walls import Walls
from processor.settings import IntakeSettings, KafkaSettings
from processor.suppression_commands import command_record, new_command
from schemas.addresses import Address
from schemas.command_signatures import sign_command
from tests.chunks import chunk_of

NOW = 1_795_000_000_000
SECRET, OLD_SECRET = "n" * 32, "o" * 32
JO = Address("acme", "email", "jo@example.com")
KEY = JO.key.encode()
COMMAND = new_command("add", JO, actor="kim", reason="she asked")
VALUE = COMMAND.model_dump_json().encode()


def decode(topic, value, *, secret="", shared_sends=True, **about):
    """Return what a record gives with walls, and the reasons of its dead letters."""
    kafka = KafkaSettings(
        mailers={"shop": ["acme", "beta"]}, command_secret=secret, shared_sends=shared_sends
    )
    usual = {"key": None, "headers": (), "timestamp_type": 1, "timestamp": NOW}
    record = SimpleNamespace(topic=topic, partition=0, offset=0, value=value, **(usual | about))
    decoder = Decoder(IntakeSettings(), max_record_bytes=10_000, walls=Walls.of(kafka))
    decoded = decoder(chunk_of([record]))
    return decoded, [rejection.reason for rejection in decoded.rejections]


def send(tenant, **changes):
    event = {
        "channel": "email", "kind": "sent", "tenant_id": tenant, "message_id": "m",
        "recipient": "jo@example.com", "occurred_at": "2026-11-01T10:00:00Z", **changes,
    }  # fmt: skip
    return json.dumps(event).encode()


@pytest.mark.parametrize("tenant", ["acme", "beta"])
def test_a_mailer_writes_of_its_tenants_on_its_own_topic(tenant):
    decoded, reasons = decode("email.sends.shop", send(tenant))
    [row] = decoded.events.to_pylist()
    assert (row["tenant_id"], row["source_topic"]) == (tenant.encode(), b"email.sends.shop")
    assert reasons == []


@pytest.mark.parametrize("tenant", ["rival", "ACME", "acme ", " acme", "acme\u200b", "acme|email"])
def test_a_mailer_writes_of_nobody_else(tenant):
    decoded, [reason] = decode("email.sends.shop", send(tenant))
    assert decoded.events.num_rows == len(decoded.policy_records) == 0
    assert reason == (f"mailer 'shop' may not write of tenant {tenant!r} (SENDLOG_KAFKA__MAILERS)")


def test_no_header_lets_a_mailer_write_of_somebody_else():
    headers = [("sendlog-tenant", b"acme"), ("sendlog-default-tenant", b"acme")]
    _, reasons = decode("email.sends.shop", send("rival"), headers=headers)
    assert len(reasons) == 1
    decoded, _ = decode("email.sends.shop", send("acme"), headers=[("sendlog-tenant", b"rival")])
    assert decoded.events["tenant_id"].to_pylist() == [b"acme"]


def test_a_mailer_that_the_settings_do_not_name_writes_of_nobody():
    _, reasons = decode("email.sends.other", send("acme"))
    assert reasons == ["mailer 'other' may not write of tenant 'acme' (SENDLOG_KAFKA__MAILERS)"]


def test_a_topic_of_emails_takes_no_sms():
    _, reasons = decode("email.sends.shop", send("acme", channel="sms", recipient="+12015550123"))
    assert len(reasons) == 1


def test_the_shared_topic_takes_all_tenants_until_it_is_closed():
    assert decode("email.sends", send("rival"))[1] == []
    _, reasons = decode("email.sends", send("acme"), shared_sends=False)
    assert reasons == [
        "email.sends is closed (SENDLOG_KAFKA__SHARED_SENDS): mailers have topics of their own"
    ]


def refused(reason):
    return REGISTRY.get_sample_value("sendlog_commands_refused_total", {"reason": reason}) or 0


def obey(value=VALUE, headers=(), *, secret=SECRET, key=KEY, **about):
    """Return the time of the command that is fed to the policy, or why there is none."""
    decoded, reasons = decode(
        "delivery.commands", value, key=key, headers=headers, secret=secret, **about
    )
    if reasons:
        assert decoded.policy_records == []
        return reasons[0]
    [record] = decoded.policy_records
    _, command = entry_of(record.value)
    assert command.id == json.loads(value)["id"]
    return command.requested_at.timestamp() * 1000


def signed(secret=SECRET, value=VALUE, at=NOW, key=KEY):
    return [sign_command(secret.encode(), key, value, at)]


def test_without_a_secret_commands_need_no_signature():
    assert obey(secret="") == NOW
    assert obey(headers=signed(), secret="") == NOW


def test_a_signed_command_is_obeyed():
    assert obey(headers=signed()) == NOW


def test_two_secrets_hold_while_one_takes_the_place_of_the_other():
    both = f"{SECRET} {OLD_SECRET}"
    assert obey(headers=signed(), secret=both) == NOW
    assert obey(headers=signed(OLD_SECRET), secret=both) == NOW
    assert "no secret is known" in obey(headers=signed(OLD_SECRET))


@pytest.mark.parametrize(
    ("about", "reason", "words"),
    [
        ({}, "unsigned", "the command is not signed"),
        ({"headers": signed(OLD_SECRET)}, "unknown_key", "no secret is known as"),
        ({"headers": signed(), "value": VALUE.replace(b"acme", b"acne")}, "forged", "not what was"),
        ({"headers": signed(), "key": b"acne|email|jo@example.com"}, "forged", "not what was"),
        ({"headers": signed(), "timestamp": NOW + 601_000}, "expired", "601 s before"),
        ({"headers": signed(), "timestamp_type": 0}, "senders_time", "topics check"),
    ],
)  # fmt: skip
def test_a_command_whose_signature_does_not_hold_is_a_dead_letter_and_counted(about, reason, words):
    before = refused(reason)
    assert words in obey(**about)
    assert refused(reason) == before + 1


def test_a_header_cannot_date_a_signed_command_back():
    headers = [*signed(), ("sendlog-recorded-at", b"1000000000000")]
    assert obey(headers=headers) == NOW
    old = [*signed(at=NOW - 10**9), ("sendlog-recorded-at", str(NOW - 10**9).encode())]
    assert "ask for it again" in obey(headers=old)


def test_what_is_signed_for_no_command_stays_unread():
    assert "no command as JSON" in obey(b"[", signed(value=b"["))


def test_api_and_commands_sign_by_the_first_secret():
    kafka = KafkaSettings(command_secret=SecretStr(f"{SECRET}\n{OLD_SECRET}"))
    key, value, headers = command_record(kafka, COMMAND)
    [(name, header)] = headers
    signed_ms = int(header.split()[2])
    assert (name, header) == sign_command(SECRET.encode(), key, value, signed_ms)
    assert command_record(KafkaSettings(), COMMAND).headers == []


def test_a_short_secret_is_refused_beside_a_long_one():
    with pytest.raises(ValueError, match="at least 32 characters"):
        KafkaSettings(command_secret=SecretStr(f"{SECRET} short"))
