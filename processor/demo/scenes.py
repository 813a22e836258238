"""Three scenes to watch: a retry that arrives, one that is given up, and a reset.

Each step waits for what the one before led to, through the topics. A step whose outcome is in
`delivery.decisions` already is not played again; one without an outcome gives the same facts again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from processor.demo.mailer import FULL, Mailer, Post, attempted, fact
from processor.kafka.topics import COMMANDS
from processor.logging import get
from schemas.addresses import Address
from schemas.decisions import Command, DecisionFact

log = get(__name__)

_SUBJECTS: Final = {"subject": "Your lesson on Thursday", "record_type": "family"}
_HARD: Final = {
    "bounce_class": "hard", "smtp_code": 550, "enhanced_status": "5.1.1",
    "diagnostic": "mailbox does not exist",
}  # fmt: skip
_LATER: Final = timedelta(milliseconds=1)


class Decided:
    """What was decided so far: when, by what it is and the message or command it is about."""

    def __init__(self) -> None:
        self._at: dict[tuple[str, str], datetime] = {}

    def hear(self, value: bytes) -> None:
        """Take in a record of `delivery.decisions`."""
        found = DecisionFact.model_validate_json(value)
        what = found.reason_code if found.kind == "note" else found.kind
        for about in {found.message_id, found.cause_event_id} - {""}:
            self._at.setdefault((what, about), found.occurred_at)

    def when(self, what: str, about: str) -> datetime | None:
        """Return when something was decided about a message or command, None if it was not."""
        return self._at.get((what, about))


Waits: TypeAlias = Callable[[Decided, Mailer], datetime | None]


@dataclass(frozen=True, slots=True)
class Step:
    """What is published, and what it leads to; the last step of a scene need not lead anywhere."""

    told: str
    says: Callable[[datetime], list[Post]]
    until: Waits | None = None
    then: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """Steps, one after the other."""

    name: str
    steps: tuple[Step, ...]


def scenes(tenant: str) -> tuple[Scene, ...]:
    """Return the scenes, with messages of a tenant. Their ids are the scenes' names."""
    return _retried(tenant), _exhausted(tenant), _blacklisted(tenant)


def _retried(tenant: str) -> Scene:
    name, whose = "scene-retried", Address(tenant, "email", "busy.now@example.net")
    return Scene(name, (
        Step(
            "a message is sent and softly bounces",
            lambda at: attempted(whose, name, 1, at, **_SUBJECTS),
            _decided("retry_asked", name),
            "it was asked for again; the mailer sends it, and it is delivered",
        ),
    ))  # fmt: skip


def _exhausted(tenant: str) -> Scene:
    name, whose = "scene-exhausted", Address(tenant, "email", f"{FULL}mailbox@example.net")
    return Scene(name, (
        Step(
            "a message is sent to a mailbox that stays full",
            lambda at: attempted(whose, name, 1, at, **_SUBJECTS),
            _decided("retry_exhausted", name),
            "its retries bounced as well: given up",
        ),
    ))  # fmt: skip


def _blacklisted(tenant: str) -> Scene:
    name, whose = "scene-blacklisted", Address(tenant, "email", "mistyped@example.net")
    first, refused, again = name, f"{name}-refused", f"{name}-again"
    reset = f"{name}-reset"

    def lifted(decided: Decided, mailer: Mailer) -> datetime | None:
        return decided.when("reinstated", reset) if mailer.may_send(whose) else None

    return Scene(name, (
        Step(
            "a message is sent and bounces hard",
            lambda at: [
                fact("sent", whose, first, at, **_SUBJECTS),
                fact("bounce", whose, first, at + _LATER, **_HARD),
            ],
            _decided("suppressed", first),
            "the address is blacklisted",
        ),
        Step(
            "another mailer, which keeps no blacklist, sends to it",
            lambda at: [fact("sent", whose, refused, at, **_SUBJECTS)],
            _decided("invalid", refused),
            "that send is refused",
        ),
        Step(
            "somebody resets the address",
            lambda at: [_reset(whose, reset, at)],
            lifted,
            "it is off the blacklist, and off the mailer's copy",
        ),
        Step(
            "the next message is sent and delivered",
            lambda at: [
                fact("sent", whose, again, at, **_SUBJECTS),
                fact("delivery", whose, again, at + _LATER),
            ],
        ),
    ))  # fmt: skip


def _decided(what: str, about: str) -> Waits:
    return lambda decided, _mailer: decided.when(what, about)


def _reset(whose: Address, name: str, at: datetime) -> Post:
    asked = Command(
        id=name, command="reset", tenant_id=whose.tenant_id, channel=whose.channel,
        address=whose.address, actor="demo", reason="the owner says it is right", asked_at=at,
    )  # fmt: skip
    return Post(COMMANDS, whose.key.encode(), asked.model_dump_json().encode())


class Play:
    """A scene under way."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._next = 0
        self._said = False
        self._at: datetime | None = None

    @property
    def is_over(self) -> bool:
        """Whether all of it was played."""
        return self._next == len(self._scene.steps)

    def advance(self, decided: Decided, mailer: Mailer, now: datetime) -> Iterator[Post]:
        """Yield what is to be published next, as far as it waits for nothing."""
        while not self.is_over:
            step = self._scene.steps[self._next]
            done = step.until(decided, mailer) if step.until else None
            if done is None and not self._said:
                self._said = True
                log.info("scene", name=self._scene.name, step=step.told)
                # Just after what led to it: played again after a crash, it is the same fact.
                yield from step.says(now if self._at is None else self._at + _LATER)
            if done is None and step.until:
                return
            if self._said and step.then:
                log.info("scene", name=self._scene.name, step=step.then)
            self._next, self._said, self._at = self._next + 1, False, done
