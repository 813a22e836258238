"""The reference mailer and the scenes it plays: what they send, and what they never send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from processor.demo.mailer import FULL, Mailer, fact, has_room
from processor.demo.scenes import Decided, Play, scenes
from schemas.addresses import Address
from schemas.decisions import Command, DecisionFact, RetryRequested, Suppression, retry_id
from schemas.events import MessageEvent

NOW = datetime(2026, 11, 1, 9, tzinfo=UTC)
ANN = Address("demo", "email", "ann@example.net")
RETRIED, EXHAUSTED, BLACKLISTED = scenes("demo")


def asked(whose=ANN, attempt=2, message_id="m1"):
    return RetryRequested(
        id=retry_id(whose, message_id, attempt), tenant_id=whose.tenant_id, message_id=message_id,
        recipient=whose.address, attempt=attempt, reason="mailbox full", due_at=NOW,
    ).model_dump_json().encode()  # fmt: skip


def listed(mailer, whose=ANN):
    entry = Suppression(
        rule="hard_bounce", since=NOW, tenant_id=whose.tenant_id, channel=whose.channel,
        address=whose.address, effect="invalid",
    )  # fmt: skip
    mailer.hear(whose.key.encode(), entry.model_dump_json().encode())


def reported(posts):
    """Return kinds and attempts of facts, which must be such as intake takes."""
    read = [MessageEvent.model_validate_json(post.value) for post in posts]
    return [(each.kind, each.attempt) for each in read]


def test_a_retry_is_made_once_and_reported_with_its_attempt() -> None:
    mailer = Mailer("demo")
    assert reported(mailer.obey(asked(), NOW))[0] == ("sent", 2)
    assert mailer.obey(asked(), NOW) == []
    assert reported(mailer.obey(asked(attempt=3), NOW))[0] == ("sent", 3)


def test_nothing_is_sent_to_a_blacklisted_address_until_a_tombstone_comes() -> None:
    mailer = Mailer("demo")
    listed(mailer)
    assert not mailer.may_send(ANN)
    assert mailer.obey(asked(), NOW) == []
    mailer.hear(ANN.key.encode(), None)
    mailer.hear(ANN.key.encode(), None)
    assert mailer.may_send(ANN)
    assert reported(mailer.obey(asked(), NOW))[0] == ("sent", 2)


def test_another_tenants_retries_are_left_to_its_own_mailer() -> None:
    assert Mailer("demo").obey(asked(ANN._replace(tenant_id="acme")), NOW) == []


def test_a_full_mailbox_stays_full_and_any_other_has_room_by_the_third_attempt() -> None:
    names = [f"a{number}@example.net" for number in range(100)]
    assert not any(has_room(name, 1) for name in names)
    assert all(has_room(name, 3) for name in names)
    assert 50 < sum(has_room(name, 2) for name in names) < 100
    assert not has_room(f"{FULL}{names[0]}", 20)


class Stage:
    """A scene under way, with what it hears."""

    def __init__(self, scene):
        self.play, self.decided, self.mailer = Play(scene), Decided(), Mailer("demo")

    def posts(self, now=NOW):
        return list(self.play.advance(self.decided, self.mailer, now))

    def hear(self, kind, message_id, **fields):
        told = DecisionFact(
            channel="email", kind=kind, tenant_id="demo", message_id=message_id,
            recipient="mistyped@example.net", occurred_at=NOW, **fields,
        )  # fmt: skip
        self.decided.hear(told.model_dump_json().encode())


@pytest.mark.parametrize("scene", [RETRIED, EXHAUSTED])
def test_the_first_step_is_played_once_and_then_waited_for(scene) -> None:
    stage = Stage(scene)
    assert reported(stage.posts()) == [("sent", 1), ("bounce", 1)]
    assert stage.posts() == []
    assert not stage.play.is_over


def test_the_blacklisted_address_is_sent_to_again_only_after_its_tombstone() -> None:
    stage = Stage(BLACKLISTED)
    assert reported(stage.posts()) == [("sent", 1), ("bounce", 1)]
    whose = Address("demo", "email", "mistyped@example.net")
    listed(stage.mailer, whose)
    stage.hear("suppressed", "scene-blacklisted")
    assert reported(stage.posts()) == [("sent", 1)]
    stage.hear("invalid", "scene-blacklisted-refused")
    (post,) = stage.posts()
    command = Command.model_validate_json(post.value)
    assert (command.command, command.address) == ("reset", whose.address)
    stage.hear("reinstated", "scene-blacklisted", cause_event_id=command.id)
    assert stage.posts() == []
    stage.mailer.hear(whose.key.encode(), None)
    assert reported(stage.posts()) == [("sent", 1), ("delivery", 1)]
    assert stage.play.is_over
    assert stage.posts() == []


def test_a_scene_begun_again_goes_on_where_it_was_and_says_the_same() -> None:
    told = []
    for hours in (0, 5):
        stage = Stage(BLACKLISTED)
        stage.hear("suppressed", "scene-blacklisted")
        told.append([json.loads(post.value) for post in stage.posts(NOW + timedelta(hours=hours))])
    assert told[0] == told[1]
    assert [each["message_id"] for each in told[0]] == ["scene-blacklisted-refused"]


def test_a_scene_that_was_played_to_its_end_says_nothing_again() -> None:
    stage = Stage(EXHAUSTED)
    stage.hear("retry_exhausted", "scene-exhausted")
    assert stage.posts() == []
    assert stage.play.is_over


def test_a_fact_goes_to_the_topic_of_its_channel() -> None:
    number = Address("demo", "sms", "+447700900123")
    assert fact("sent", number, "s1", NOW).topic == "sms.sends"
    assert fact("sent", ANN, "m1", NOW).topic == "email.sends"
