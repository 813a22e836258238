"""The contracts of decisions: keys, addresses as the log has them, ids."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.addresses import Address, normalised
from schemas.decisions import Command, retry_id
from schemas.events import MessageEvent, fingerprint
from tests.address_life import HOURS, START, Watched, bounce, command, fact


@pytest.mark.parametrize(
    ("channel", "given", "kept"),
    [
        ("email", "  Jo@Example.COM ", "jo@example.com"),
        ("sms", "+44 (20) 7946-0018", "+442079460018"),
        ("sms", "0044 20 7946 0018", "+442079460018"),
        ("sms", "12015550123", "12015550123"),
        ("sms", "School", "school"),
    ],
)
def test_an_address_is_as_the_log_has_it(channel, given, kept):
    assert normalised(channel, given) == kept
    asked = command("add", START).model_dump() | {"channel": channel, "address": given}
    assert Command.model_validate(asked).address == kept


@pytest.mark.parametrize("tenant", ["acme", "a|b", "a|email|b", "50%", "%7C", ""])
@pytest.mark.parametrize("address", ["jo@example.com", '"a|sms|b"@example.com', ""])
def test_a_key_is_read_back_as_it_was(tenant, address):
    whose = Address(tenant, "email", address)
    assert Address.parse(whose.key) == whose


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
    jo = Watched()
    jo.all(bounce("soft"), bounce("hard", START + HOURS), fact("sent", START + 2 * HOURS, "m2"))
    assert {said.kind for said in jo.facts} == {"retry_scheduled", "suppressed", "invalid"}
    assert [said.reason_code for said in jo.notes] == ["retry_cancelled"]
    for said in jo.facts + jo.notes:
        taken = MessageEvent.model_validate_json(said.model_dump_json())
        assert taken.event_id == fingerprint(taken.model_dump(exclude_none=True))


def test_a_retrys_id_differs_by_everything_that_makes_it():
    whose = Address("t", "email", "a@example.com")
    ids = {
        retry_id(whose, "m", 2), retry_id(whose, "m", 3), retry_id(whose, "n", 2),
        retry_id(whose._replace(tenant_id="u"), "m", 2),
        retry_id(whose._replace(address="b@example.com"), "m", 2),
    }  # fmt: skip
    assert len(ids) == 5
