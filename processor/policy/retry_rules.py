"""Rules of retries: which soft bounce asks for another attempt, when, and what ends that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from processor.policy.config import Policy, written
from processor.policy.decisions import (
    Refused,
    Resent,
    RetriesExhausted,
    RetryAsked,
    RetryCancelled,
    RetryScheduled,
)
from processor.policy.evolve import evolve
from processor.policy.inputs import Case, Decisions, is_soft
from processor.policy.state import Message, State
from schemas.events import MessageEvent

#: Which facts about a message say that it needs no further attempt.
ENDS: Final[Mapping[str, str]] = {
    "delivery": "it was delivered",
    "open": "it was opened",
    "click": "it was clicked",
    "complaint": "its recipient complained",
    "bounce": "it bounced for good",
    "invalid": "it was refused",
    "skipped": "it was skipped",
    "failure": "it failed",
}
#: A wait is longer or shorter by at most so much.
JITTER: Final = 0.1
_MILLISECOND: Final = timedelta(milliseconds=1)


def ends(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """Ask for no further attempt at a message that arrived, or cannot."""
    message = state.messages.get(fact.message_id)
    if message is not None and not message.over and fact.kind in ENDS and not is_soft(fact):
        yield _cancelled(fact.message_id, message, case.at, ENDS[fact.kind])


def answers(fact: MessageEvent, case: Case, state: State) -> Decisions:
    """Take note of a later attempt: nobody need ask for it, and bounces after it are its own."""
    if fact.kind != "sent" or fact.channel != "email" or fact.attempt <= 1 or not fact.message_id:
        return
    known = state.messages.get(fact.message_id)
    if known and known.sents.get(fact.attempt, case.at + _MILLISECOND) <= case.at:
        return
    resent = Resent(message_id=fact.message_id, attempt=fact.attempt, at=case.at)
    yield resent
    yield from asks_again(fact.message_id, case, evolve(state, resent))


def asks_again(message_id: str, case: Case, state: State) -> Decisions:
    """Schedule the next attempt at a message, if its last one is known to have softly bounced."""
    message = state.messages.get(message_id)
    if message is None or message.over or message.last_bounce is None:
        return
    attempt, at, event_id = message.last_bounce
    if attempt < message.made:
        return  # an older attempt's, or a copy: the next one is decided on
    if why := case.heard.over.get(message_id):
        yield _cancelled(message_id, message, at, why)
    elif state.standing:
        yield from _refused(message_id, message, at, state)
    else:
        due_at = at + waits(case.policy, message_id, attempt)
        words = _no_more(message, attempt, max(due_at, case.now), case.policy)
        if words:
            yield RetriesExhausted(
                message_id=message_id, attempt=attempt, at=at, reason=words, event_id=event_id
            )
        else:
            yield RetryScheduled(
                message_id=message_id, attempt=attempt + 1, due_at=due_at, at=at,
                reason=message.reason, event_id=event_id,
            )  # fmt: skip


def falls_due(case: Case, state: State) -> Decisions:
    """Ask for each attempt that is due, unless the message or the address needs none any more."""
    for name, message, due_at in due(state, case.now):
        first_at = min(message.first_at, case.heard.first_at.get(name, message.first_at))
        late = case.now > first_at + case.policy.horizon
        if why := case.heard.over.get(name):
            yield _cancelled(name, message, due_at, why)
        elif state.standing:
            yield from _refused(name, message, due_at, state)
        elif late and message.last_bounce:
            attempt, at, event_id = message.last_bounce
            words = _no_more(replace(message, first_at=first_at), attempt, case.now, case.policy)
            yield RetriesExhausted(
                message_id=name, attempt=attempt, at=at, reason=words, event_id=event_id
            )
        else:
            yield RetryAsked(
                message_id=name, attempt=message.asked, due_at=due_at, reason=message.reason
            )


def due(state: State, now: datetime) -> Iterator[tuple[str, Message, datetime]]:
    """Yield the messages whose next attempt is due, the first due first."""
    waiting = [
        (name, each, each.due_at) for name, each in state.messages.items()
        if each.due_at is not None and each.due_at <= now
    ]  # fmt: skip
    yield from sorted(waiting, key=lambda each: (each[2], each[0]))


def waits(policy: Policy, message_id: str, attempt: int) -> timedelta:
    """Return how long after this attempt's bounce the next one is due, in whole milliseconds.

    The jitter follows from the message's id: the same again in a replay, and spread over messages.
    """
    digest = blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    spread = int.from_bytes(digest) / 2**63 - 1
    return policy.wait(attempt) * (1 + JITTER * spread) // _MILLISECOND * _MILLISECOND


def _no_more(message: Message, attempt: int, due_at: datetime, policy: Policy) -> str:
    """Return why no attempt after this one may be made at that time; "" if it may."""
    if attempt > policy.retries:
        return f"soft bounces: {attempt} of {policy.retries + 1} attempts used"
    if due_at > message.first_at + policy.horizon:
        return f"soft bounces: no further attempt within {written(policy.horizon)} of the first"
    return ""


def _cancelled(message_id: str, message: Message, at: datetime, why: str) -> RetryCancelled:
    waiting = message.due_at is not None
    attempt = message.asked if waiting else message.made + 1
    return RetryCancelled(message_id=message_id, attempt=attempt, at=at, reason=why)


def _refused(message_id: str, message: Message, at: datetime, state: State) -> Decisions:
    """Cancel the next attempt, for the address is listed by now; the message is Invalid then."""
    reason = state.standing[0]
    made = message.last_bounce[0] if message.last_bounce else message.made
    yield Refused(message_id=message_id, attempt=made, at=at, reason=reason)
    yield _cancelled(message_id, message, at, f"the address is listed: {reason.rule}")
