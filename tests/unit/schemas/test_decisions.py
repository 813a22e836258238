"""The contracts of decisions: keys, addresses as the log has them, ids."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.addresses import Address, normalise_address
from schemas.decisions import Command, retry_id
from schemas.events import MessageEvent, fingerprint
from tests.address_life import HOURS, START, AddressLife, bounce, command, message_event


@pytest.mark.parametrize(
    ("channel", "text", "address"),
    [
        ("email", "  Jo@Example.COM ", "jo@example.com"),
        ("sms", "+44 (20) 7946-0018", "+442079460018"),
        ("sms", "0044 20 7946 0018", "+442079460018"),
        ("sms", "12015550123", "12015550123"),
        ("sms", "School", "school"),
    ],
)
def test_an_address_is_as_the_log_has_it(channel, text, address):
    assert normalise_address(channel, text) == address
    fields = command("add", START).model_dump() | {"channel": channel, "address": text}
    assert Command.model_validate(fields).address == address


@pytest.mark.parametrize("tenant", ["acme", "a|b", "a|email|b", "50%", "%7C", ""])
@pytest.mark.parametrize("text", ["jo@example.com", '"a|sms|b"@example.com', ""])
def test_a_key_is_read_back_as_it_was(tenant, text):
    address = Address(tenant, "email", text)
    assert Address.parse(address.key) == address


def test_no_two_addresses_have_one_key():
    assert Address("a|email|b", "email", "c").key != Address("a", "email", "b|email|c").key


@pytest.mark.parametrize("key", ["", "acme", "acme|post|jo", "acme|email"])
def test_what_is_no_key_is_named(key):
    with pytest.raises(ValueError, match="TENANT"):
        Address.parse(key)


@pytest.mark.parametrize("field", ["id", "actor", "reason"])
def test_a_command_needs_an_id_an_actor_and_a_reason(field):
    with pytest.raises(ValidationError, match=field):
        Command.model_validate(command("reset", START).model_dump() | {field: ""})


def test_a_decision_is_a_message_event_with_the_fingerprint_that_intake_computes():
    jo = AddressLife()
    jo.take_all(bounce("soft"), bounce("hard", START + HOURS))
    jo.take(message_event("sent", START + 2 * HOURS, "m2"))
    assert {event.kind for event in jo.events} == {"retry_scheduled", "suppressed", "invalid"}
    assert [note.reason_code for note in jo.notes] == ["retry_cancelled"]
    for decision in jo.events + jo.notes:
        event = MessageEvent.model_validate_json(decision.model_dump_json())
        assert event.event_id == fingerprint(event.model_dump(exclude_none=True))


def test_a_retrys_id_differs_by_everything_that_makes_it():
    address = Address("t", "email", "a@example.com")
    ids = {
        retry_id(address, "m", 2), retry_id(address, "m", 3), retry_id(address, "n", 2),
        retry_id(address._replace(tenant_id="u"), "m", 2),
        retry_id(address._replace(address="b@example.com"), "m", 2),
    }  # fmt: skip
    assert len(ids) == 5
