"""The reference mailer and the scenes it plays: what they send, and what they never send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from processor.demo.mailer import FULL_MAILBOX_PREFIX, Mailer, event_record, has_room
from processor.demo.scenes import DecisionTimes, ScenePlayer, demo_scenes
from schemas.addresses import Address
from schemas.decisions import (
    Command,
    DecisionEvent,
    ResendRequested,
    RetryRequested,
    Suppression,
    retry_id,
)
from schemas.events import MessageEvent

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANN = Address("demo", "email", "ann@example.net")
RETRIED, EXHAUSTED, BLACKLISTED, RESENT = demo_scenes("demo")


def retry_request(address=ANN, attempt=2, message_id="m1"):
    return RetryRequested(
        id=retry_id(address, message_id, attempt), tenant_id=address.tenant_id,
        message_id=message_id, recipient=address.address, attempt=attempt, reason="mailbox full",
        due_at=NOW,
    ).model_dump_json().encode()  # fmt: skip


def suppress(mailer, address=ANN):
    entry = Suppression(
        rule="hard_bounce", since=NOW, tenant_id=address.tenant_id, channel=address.channel,
        address=address.address, effect="invalid",
    )  # fmt: skip
    mailer.apply_suppression(address.key.encode(), entry.model_dump_json().encode())


def kinds_and_attempts(records):
    """Return the kinds and attempts of events, which must be valid for intake."""
    read = [MessageEvent.model_validate_json(record.value) for record in records]
    return [(each.kind, each.attempt) for each in read]


def test_a_retry_is_made_once_and_reported_with_its_attempt() -> None:
    mailer = Mailer("demo")
    assert kinds_and_attempts(mailer.make_retry(retry_request(), NOW))[0] == ("sent", 2)
    assert mailer.make_retry(retry_request(), NOW) == []
    assert kinds_and_attempts(mailer.make_retry(retry_request(attempt=3), NOW))[0] == ("sent", 3)


def test_nothing_is_sent_to_a_blacklisted_address_until_a_tombstone_comes() -> None:
    mailer = Mailer("demo")
    suppress(mailer)
    assert not mailer.may_send(ANN)
    assert mailer.make_retry(retry_request(), NOW) == []
    mailer.apply_suppression(ANN.key.encode(), None)
    mailer.apply_suppression(ANN.key.encode(), None)
    assert mailer.may_send(ANN)
    assert kinds_and_attempts(mailer.make_retry(retry_request(), NOW))[0] == ("sent", 2)


def resend_request(address=ANN):
    return ResendRequested(
        id=retry_id(address, "m1", 2), tenant_id=address.tenant_id, channel=address.channel,
        message_id="m1", recipient=address.address, attempt=2, reason="they lost it", due_at=NOW,
        actor="Kim",
    ).model_dump_json().encode()  # fmt: skip


@pytest.mark.parametrize("address", [ANN, Address("demo", "sms", "+442079460018")])
def test_what_a_person_asks_for_is_sent_once_also_if_a_rule_asked_before(address) -> None:
    mailer = Mailer("demo")
    made = kinds_and_attempts(mailer.make_retry(resend_request(address), NOW))
    assert made == [("sent", 2), ("delivery", 2)]
    assert mailer.make_retry(resend_request(address), NOW) == []
    if address == ANN:
        assert mailer.make_retry(retry_request(), NOW) == []


def test_who_asks_for_a_blacklisted_address_is_answered_why_nothing_is_sent() -> None:
    mailer = Mailer("demo")
    suppress(mailer)
    [answer] = mailer.make_retry(resend_request(), NOW)
    event = MessageEvent.model_validate_json(answer.value)
    assert (event.kind, event.reason_code, event.attempt) == ("note", "resend_refused", 2)
    assert event.diagnostic == "not sent again: the address is blacklisted"


def test_a_scene_has_a_message_sent_again() -> None:
    stage = Stage(RESENT)
    records = stage.records()
    command = Command.model_validate_json(records[-1].value)
    assert (command.command, command.message_id, command.attempt) == ("resend", "scene-resent", 2)


def test_another_tenants_retries_are_left_to_its_own_mailer() -> None:
    assert Mailer("demo").make_retry(retry_request(ANN._replace(tenant_id="acme")), NOW) == []


def test_a_full_mailbox_stays_full_and_any_other_has_room_by_the_third_attempt() -> None:
    names = [f"a{number}@example.net" for number in range(100)]
    assert not any(has_room(name, 1) for name in names)
    assert all(has_room(name, 3) for name in names)
    assert 50 < sum(has_room(name, 2) for name in names) < 100
    assert not has_room(f"{FULL_MAILBOX_PREFIX}{names[0]}", 20)


class Stage:
    """A scene that is played, with the decisions and the mailer that it waits for."""

    def __init__(self, scene):
        self.player, self.decisions, self.mailer = (
            ScenePlayer(scene),
            DecisionTimes(),
            Mailer("demo"),
        )

    def records(self, now=NOW):
        return list(self.player.advance(self.decisions, self.mailer, now))

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
    suppress(stage.mailer, address)
    stage.decide("suppressed", "scene-blacklisted")
    assert kinds_and_attempts(stage.records()) == [("sent", 1)]
    stage.decide("invalid", "scene-blacklisted-refused")
    (record,) = stage.records()
    command = Command.model_validate_json(record.value)
    assert (command.command, command.address) == ("reset", address.address)
    stage.decide("reinstated", "scene-blacklisted", cause_event_id=command.id)
    assert stage.records() == []
    stage.mailer.apply_suppression(address.key.encode(), None)
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


def test_a_fact_goes_to_the_topic_of_its_channel() -> None:
    number = Address("demo", "sms", "+447700900123")
    assert event_record("sent", number, "s1", NOW).topic == "sms.sends"
    assert event_record("sent", ANN, "m1", NOW).topic == "email.sends"
