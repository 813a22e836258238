"""The reference mailer and the scenes it plays: what they send, and what they never send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from processor.client import Blacklist
from processor.demo.mailer import FULL_MAILBOX_PREFIX, has_room, make_attempt
from processor.demo.scenes import DecisionTimes, ScenePlayer, demo_scenes
from schemas.addresses import Address
from schemas.decisions import Command, DecisionEvent, RetryRequested, retry_id
from schemas.events import MessageEvent
from tests.blacklists import suppress

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANN = Address("demo", "email", "ann@example.net")
RETRIED, EXHAUSTED, BLACKLISTED, RESENT = demo_scenes("demo")


def kinds_and_attempts(records):
    """Return the kinds and attempts of events, which must be valid for intake."""
    read = [MessageEvent.model_validate_json(record.value) for record in records]
    return [(each.kind, each.attempt) for each in read]


@pytest.mark.parametrize("address", [ANN, Address("demo", "sms", "+442079460018")])
def test_an_attempt_is_reported_with_its_number_and_the_providers_answer(address) -> None:
    request = RetryRequested(
        id=retry_id(address, "m1", 3), tenant_id="demo", channel=address.channel, message_id="m1",
        recipient=address.address, attempt=3, reason="mailbox full", due_at=NOW,
    )  # fmt: skip
    events = make_attempt(request)
    assert [(each.kind, each.attempt) for each in events] == [("sent", 3), ("delivery", 3)]
    assert {each.recipient for each in events} == {address.address}


def test_a_scene_has_a_message_sent_again() -> None:
    stage = Stage(RESENT)
    records = stage.records()
    command = Command.model_validate_json(records[-1].value)
    assert (command.command, command.message_id, command.attempt) == ("resend", "scene-resent", 2)


def test_a_full_mailbox_stays_full_and_any_other_has_room_by_the_third_attempt() -> None:
    names = [f"a{number}@example.net" for number in range(100)]
    assert not any(has_room(name, 1) for name in names)
    assert all(has_room(name, 3) for name in names)
    assert 50 < sum(has_room(name, 2) for name in names) < 100
    assert not has_room(f"{FULL_MAILBOX_PREFIX}{names[0]}", 20)


class Stage:
    """A scene that is played, with the decisions and the mailer that it waits for."""

    def __init__(self, scene):
        self.player, self.decisions = ScenePlayer(scene), DecisionTimes()
        self.blacklist = Blacklist()
        self.blacklist.set_ready()

    def records(self, now=NOW):
        return list(self.player.advance(self.decisions, self.blacklist, now))

    def decide(self, kind, message_id, **fields):
        event = DecisionEvent(
            channel="email", kind=kind, tenant_id="demo", message_id=message_id,
            recipient="mistyped@example.net", occurred_at=NOW, **fields,
        )  # fmt: skip
        self.decisions.add(event.model_dump_json().encode())


@pytest.mark.parametrize("scene", [RETRIED, EXHAUSTED])
def test_the_first_step_is_played_once_and_then_waited_for(scene) -> None:
    stage = Stage(scene)
    assert kinds_and_attempts(stage.records()) == [("sent", 1), ("bounce", 1)]
    assert stage.records() == []
    assert not stage.player.is_finished


def test_the_blacklisted_address_is_sent_to_again_only_after_its_tombstone() -> None:
    stage = Stage(BLACKLISTED)
    assert kinds_and_attempts(stage.records()) == [("sent", 1), ("bounce", 1)]
    address = Address("demo", "email", "mistyped@example.net")
    suppress(stage.blacklist, address)
    stage.decide("suppressed", "scene-blacklisted")
    assert kinds_and_attempts(stage.records()) == [("sent", 1)]
    stage.decide("invalid", "scene-blacklisted-refused")
    (record,) = stage.records()
    command = Command.model_validate_json(record.value)
    assert (command.command, command.address) == ("reset", address.address)
    stage.decide("reinstated", "scene-blacklisted", cause_event_id=command.id)
    assert stage.records() == []
    stage.blacklist.apply(address.key.encode(), None)
    assert kinds_and_attempts(stage.records()) == [("sent", 1), ("delivery", 1)]
    assert stage.player.is_finished
    assert stage.records() == []


def test_a_scene_begun_again_goes_on_where_it_was_and_says_the_same() -> None:
    runs = []
    for hours in (0, 5):
        stage = Stage(BLACKLISTED)
        stage.decide("suppressed", "scene-blacklisted")
        runs.append(
            [json.loads(record.value) for record in stage.records(NOW + timedelta(hours=hours))]
        )
    assert runs[0] == runs[1]
    assert [each["message_id"] for each in runs[0]] == ["scene-blacklisted-refused"]


def test_a_scene_that_was_played_to_its_end_says_nothing_again() -> None:
    stage = Stage(EXHAUSTED)
    stage.decide("retry_exhausted", "scene-exhausted")
    assert stage.records() == []
    assert stage.player.is_finished
