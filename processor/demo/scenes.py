"""Four scenes to watch: a retry that is delivered, one that is given up, a reset, and a resend.

A step begins when the decision that the previous step led to is in `delivery.decisions`. A step
whose own decision is there already is not played again; one without gives the same events again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from processor.client import Blacklist, MailerEvent, mailer_event, sent
from processor.client.events import MailerRecord, mailer_record
from processor.demo.mailer import FULL_MAILBOX_PREFIX, attempt_events
from processor.kafka.topics import COMMANDS_TOPIC
from processor.logging import get
from schemas.addresses import Address
from schemas.decisions import Command, DecisionEvent

log = get(__name__)

_MESSAGE_FIELDS: Final = {"subject": "Your lesson on Thursday", "record_type": "family"}
_HARD_BOUNCE: Final = {
    "bounce_class": "hard", "smtp_code": 550, "enhanced_status": "5.1.1",
    "diagnostic": "mailbox does not exist",
}  # fmt: skip
_NEXT_MILLISECOND: Final = timedelta(milliseconds=1)


class DecisionTimes:
    """When decisions were made, by decision and subject: a message or a command."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], datetime] = {}

    def add(self, value: bytes) -> None:
        """Add a record of `delivery.decisions`."""
        event = DecisionEvent.model_validate_json(value)
        decision = event.reason_code if event.kind == "note" else event.kind
        for subject in {event.message_id, event.cause_event_id} - {""}:
            self._at.setdefault((decision, subject), event.occurred_at)

    def time_of(self, decision: str, subject: str) -> datetime | None:
        """Return when a decision was first made about a subject, or None."""
        return self._at.get((decision, subject))


#: Returns when a condition was met, or None.
SceneCondition: TypeAlias = Callable[[DecisionTimes, Blacklist], datetime | None]


@dataclass(frozen=True, slots=True)
class SceneStep:
    """What is published, and the condition that ends the step. A last step may have none.

    `action` and `outcome` are logged.
    """

    action: str
    records: Callable[[datetime], list[MailerRecord]]
    condition: SceneCondition | None = None
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Steps that are played one after the other."""

    name: str
    steps: tuple[SceneStep, ...]


def demo_scenes(tenant: str) -> tuple[Scene, ...]:
    """Return the scenes for a tenant. The ids of their messages are the names of the scenes."""
    return (
        _retried_scene(tenant), _exhausted_scene(tenant), _blacklisted_scene(tenant),
        _resent_scene(tenant),
    )  # fmt: skip


def _retried_scene(tenant: str) -> Scene:
    name, address = "scene-retried", Address(tenant, "email", "busy.now@example.net")
    return Scene(name, (
        SceneStep(
            "a message is sent and softly bounces",
            lambda at: _attempt_records(address, name, 1, at, **_MESSAGE_FIELDS),
            _has_decision("retry_asked", name),
            "it was asked for again; the mailer sends it, and it is delivered",
        ),
    ))  # fmt: skip


def _exhausted_scene(tenant: str) -> Scene:
    name = "scene-exhausted"
    address = Address(tenant, "email", f"{FULL_MAILBOX_PREFIX}mailbox@example.net")
    return Scene(name, (
        SceneStep(
            "a message is sent to a mailbox that stays full",
            lambda at: _attempt_records(address, name, 1, at, **_MESSAGE_FIELDS),
            _has_decision("retry_exhausted", name),
            "its retries bounced as well: given up",
        ),
    ))  # fmt: skip


def _blacklisted_scene(tenant: str) -> Scene:
    name, address = "scene-blacklisted", Address(tenant, "email", "mistyped@example.net")
    first, refused, again = name, f"{name}-refused", f"{name}-again"
    reset = f"{name}-reset"

    def reinstated(decisions: DecisionTimes, blacklist: Blacklist) -> datetime | None:
        at = decisions.time_of("reinstated", reset)
        return None if blacklist.is_blacklisted(*address) else at

    return Scene(name, (
        SceneStep(
            "a message is sent and bounces hard",
            lambda at: [
                mailer_record(sent(address, first, at, **_MESSAGE_FIELDS)),
                mailer_record(
                    mailer_event("bounce", address, first, at + _NEXT_MILLISECOND, **_HARD_BOUNCE)
                ),
            ],
            _has_decision("suppressed", first),
            "the address is blacklisted",
        ),
        SceneStep(
            "another mailer, which keeps no blacklist, sends to it",
            lambda at: [mailer_record(sent(address, refused, at, **_MESSAGE_FIELDS))],
            _has_decision("invalid", refused),
            "that send is refused",
        ),
        SceneStep(
            "somebody resets the address",
            lambda at: [_reset_command(address, reset, at)],
            reinstated,
            "it is off the blacklist, and off the mailer's copy",
        ),
        SceneStep(
            "the next message is sent and delivered",
            lambda at: [
                mailer_record(sent(address, again, at, **_MESSAGE_FIELDS)),
                mailer_record(mailer_event("delivery", address, again, at + _NEXT_MILLISECOND)),
            ],
        ),
    ))  # fmt: skip


def _resent_scene(tenant: str) -> Scene:
    name, address = "scene-resent", Address(tenant, "email", "lost.it@example.net")
    return Scene(name, (
        SceneStep(
            "a message is delivered, and somebody has it sent again",
            lambda at: [
                mailer_record(sent(address, name, at, **_MESSAGE_FIELDS)),
                mailer_record(mailer_event("delivery", address, name, at + _NEXT_MILLISECOND)),
                _resend_command(address, name, at + 2 * _NEXT_MILLISECOND),
            ],
            _has_decision("resend_asked", name),
            "the mailer was asked for attempt 2, and makes it",
        ),
    ))  # fmt: skip


def _has_decision(decision: str, subject: str) -> SceneCondition:
    return lambda decisions, _blacklist: decisions.time_of(decision, subject)


def _attempt_records(
    address: Address, message_id: str, attempt: int, at: datetime, **fields: str
) -> list[MailerRecord]:
    events: list[MailerEvent] = attempt_events(address, message_id, attempt, at, **fields)
    return list(map(mailer_record, events))


def _reset_command(address: Address, name: str, at: datetime) -> MailerRecord:
    command = Command(
        id=name, command="reset", tenant_id=address.tenant_id, channel=address.channel,
        address=address.address, actor="demo", reason="the owner says it is right", requested_at=at,
    )  # fmt: skip
    return MailerRecord(COMMANDS_TOPIC, address.key.encode(), command.model_dump_json().encode())


def _resend_command(address: Address, name: str, at: datetime) -> MailerRecord:
    command = Command(
        id=f"{name}-command", command="resend", tenant_id=address.tenant_id,
        channel=address.channel, address=address.address, actor="demo",
        reason="the family deleted it by mistake", requested_at=at, message_id=name, attempt=2,
    )  # fmt: skip
    return MailerRecord(COMMANDS_TOPIC, address.key.encode(), command.model_dump_json().encode())


class ScenePlayer:
    """Plays a scene, one step after the other."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._next = 0
        #: Whether the records of the next step were published.
        self._is_published = False
        #: When the condition of the last step was met.
        self._met_at: datetime | None = None

    @property
    def is_finished(self) -> bool:
        """Whether all steps were played."""
        return self._next == len(self._scene.steps)

    def advance(
        self, decisions: DecisionTimes, blacklist: Blacklist, now: datetime
    ) -> Iterator[MailerRecord]:
        """Yield the records to publish now, up to the first step that has to wait."""
        while not self.is_finished:
            step = self._scene.steps[self._next]
            met_at = step.condition(decisions, blacklist) if step.condition else None
            if met_at is None and not self._is_published:
                self._is_published = True
                log.info("scene", name=self._scene.name, step=step.action)
                # The time follows from the last step: played again after a crash, the step gives
                # the same events.
                yield from step.records(self._met_at + _NEXT_MILLISECOND if self._met_at else now)
            if met_at is None and step.condition:
                return
            if self._is_published and step.outcome:
                log.info("scene", name=self._scene.name, step=step.outcome)
            self._next, self._is_published, self._met_at = self._next + 1, False, met_at
