"""What the policy decides on: an input, and the context it is decided in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeAlias

from processor.intake.policy_feed import Forget, KeptReasons
from processor.policy.config import Policy
from schemas.decisions import Command
from schemas.events import MessageEvent
from schemas.smtp_replies import describe_codes

MAX_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: retries may be due, suppressions may expire."""


Input: TypeAlias = MessageEvent | Command | Tick | Forget | KeptReasons


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupResult:
    """What the log knows of an address that the policy is not fed.

    `last_success_at` is when anything was last delivered there, or opened or clicked by a person.
    `finished` names messages that need no retry, and why ("it was delivered"). `first_sent_at` is
    when a message was first sent. What is not known is left out.
    """

    last_success_at: datetime | None = None
    finished: Mapping[str, str] = field(default_factory=dict)
    first_sent_at: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Context:
    """What an input is decided in. `at` is the input's own time, and never later than `now`."""

    at: datetime
    now: datetime
    policy: Policy
    lookup: LookupResult


def failure_in_words(event: MessageEvent) -> str:
    """Return what went wrong, as "450 4.2.2 mailbox is full"; at most 500 characters."""
    codes = describe_codes(event.smtp_code, event.enhanced_status)
    words = codes if event.enhanced_status else event.diagnostic or codes or event.reason_code
    return " ".join((words or event.kind.replace("_", " ")).split())[:MAX_REASON_CHARACTERS]
