"""What a rule goes by, beside what is remembered: the event, the time, the policy, and the log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

from processor.policy.config import Policy
from processor.policy.decisions import Decision
from schemas.decisions import Command
from schemas.events import MessageEvent
from schemas.smtp_replies import describe


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: retries may be due, listings may expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What the log knows that the rules are not fed.

    `good_at` is when anything was last delivered to the address, or opened or clicked by a person.
    `over` names messages that need no retry, and why ("it was delivered"). `first_at` is when a
    message was first sent. What is not known is left out.
    """

    good_at: datetime | None = None
    over: Mapping[str, str] = field(default_factory=dict)
    first_at: Mapping[str, datetime] = field(default_factory=dict)


Event: TypeAlias = MessageEvent | Command | Tick
Decisions: TypeAlias = Iterator[Decision]


@dataclass(frozen=True, slots=True)
class Case:
    """One event to decide on. `at` is its own time, and never later than `now`."""

    at: datetime
    now: datetime
    policy: Policy
    heard: Heard


def is_soft(fact: MessageEvent) -> bool:
    """Tell whether a fact is a bounce that another attempt may mend."""
    return fact.kind == "bounce" and fact.bounce_class not in {"hard", "block"}


def in_words(fact: MessageEvent) -> str:
    """Return what went wrong, as "450 4.2.2 mailbox is full"; at most 500 characters."""
    said = describe(fact.smtp_code, fact.enhanced_status)
    told = said if fact.enhanced_status else fact.diagnostic or said or fact.reason_code
    return " ".join((told or fact.kind.replace("_", " ")).split())[:500]
