"""Rules of retries: which soft bounce leads to another attempt, when, and what ends that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

from processor.policy.config import Policy, duration_text
from processor.policy.decisions import (
    AttemptSent,
    CommandApplied,
    CommandRejected,
    Decision,
    ResendAccepted,
    RetriesExhausted,
    RetryCancelled,
    RetryDue,
    RetryScheduled,
    SendRefused,
)
from processor.policy.evolve import evolve
from processor.policy.inputs import Context
from processor.policy.state import AddressState, MessageState
from schemas.addresses import is_pseudonym
from schemas.decisions import SUPPRESSION_RULES, Command
from schemas.events import RETRY_ENDS, MessageEvent, is_soft

#: How many retries to one address may wait. Each adds to its state, which is one record of Kafka
#: and is read for every input; an address that so many messages bounced from is not in need of
#: one more.
MAX_PENDING_RETRIES: Final = 1_000
#: A wait is longer or shorter by at most this share of it.
JITTER_SHARE: Final = 0.1
#: For so long a mailer may take to send again what a person asked for.
ANSWER_PERIOD: Final = timedelta(hours=1)
_MILLISECOND: Final = timedelta(milliseconds=1)


def cancel_finished(
    event: MessageEvent, context: Context, state: AddressState
) -> Iterator[Decision]:
    """Request no further attempt at a message that arrived, or cannot."""
    message = state.messages.get(event.message_id)
    if message is None or message.finished or event.kind not in RETRY_ENDS or is_soft(event):
        return
    yield _cancelled(event.message_id, message, context.at, RETRY_ENDS[event.kind])


def record_attempt(
    event: MessageEvent, context: Context, state: AddressState
) -> Iterator[Decision]:
    """Record a later attempt: nobody need request it, and bounces after it are its own."""
    if event.kind != "sent" or event.attempt <= 1 or not event.message_id:
        return
    known = state.messages.get(event.message_id)
    if known is None and event.channel != "email":
        return  # nothing was requested, and no rule will
    if known and known.sent_times.get(event.attempt, context.at + _MILLISECOND) <= context.at:
        return
    sent = AttemptSent(message_id=event.message_id, attempt=event.attempt, at=context.at)
    yield sent
    yield from schedule_next(event.message_id, context, evolve(state, sent))


def resend(command: Command, context: Context, state: AddressState) -> Iterator[Decision]:
    """Request the attempt that a person asks for; or say why not.

    What they saw may be old: an attempt that was made, or requested and not yet answered, is not
    requested once more. One that nobody answered may be, by the same id.
    """
    if state.has_applied(command.id):
        return
    message = state.messages.get(command.message_id)
    attempt = command.attempt
    if is_pseudonym(command.address):
        yield _resend_refused(command, context, "its recipient was forgotten")
        return
    if state.active_reasons:
        words = SUPPRESSION_RULES[state.active_reasons[0].rule].words
        yield _resend_refused(command, context, f"the address is blacklisted ({words})")
        return
    if message is not None:
        if attempt <= max(message.sent_times, default=1):
            yield _resend_refused(command, context, "it was sent again meanwhile; look once more")
            return
        resent_at = message.resent_at
        is_open = message.requested_attempt not in message.sent_times
        if is_open and resent_at and context.at < resent_at + ANSWER_PERIOD:
            why = f"that was asked for at {resent_at:%H:%M} UTC, and the mailer has not done it yet"
            yield _resend_refused(command, context, why)
            return
        attempt = max(attempt, message.last_attempt + (0 if is_open else 1))
    yield CommandApplied(id=command.id, at=context.at)
    yield ResendAccepted(
        command_id=command.id, message_id=command.message_id, attempt=attempt, at=context.at,
        actor=command.actor, reason=command.reason, record_type=command.record_type,
        record_id=command.record_id,
    )  # fmt: skip


def _resend_refused(command: Command, context: Context, why: str) -> CommandRejected:
    return CommandRejected(
        id=command.id, at=context.at, actor=command.actor, reason=f"not sent again: {why}",
        message_id=command.message_id, attempt=command.attempt,
    )  # fmt: skip


def schedule_next(message_id: str, context: Context, state: AddressState) -> Iterator[Decision]:
    """Schedule the next attempt at a message, if its last one is known to have softly bounced."""
    message = state.messages.get(message_id)
    if message is None or message.finished or message.last_bounce is None:
        return
    attempt, at, event_id = message.last_bounce
    if attempt < message.last_attempt:
        return  # an older attempt's, or a copy: the next one is decided on
    if why := context.lookup.finished.get(message_id):
        yield _cancelled(message_id, message, at, why)
    elif state.active_reasons:
        yield from _refused(message_id, message, at, state)
    else:
        due_at = at + wait_before_retry(context.policy, message_id, attempt)
        words = _exhausted(message, attempt, max(due_at, context.now), context.policy)
        if words := words or _crowded(message, state):
            yield RetriesExhausted(
                message_id=message_id, attempt=attempt, at=at, reason=words, event_id=event_id
            )
        else:
            yield RetryScheduled(
                message_id=message_id, attempt=attempt + 1, due_at=due_at, at=at,
                reason=message.reason, event_id=event_id,
            )  # fmt: skip


def request_due(context: Context, state: AddressState) -> Iterator[Decision]:
    """Request each attempt that is due, unless the message or the address needs none any more."""
    for message_id, message, due_at in due_retries(state, context.now):
        first_sent_at = context.lookup.first_sent_at.get(message_id, message.first_at)
        first_at = min(message.first_at, first_sent_at)
        is_late = context.now > first_at + context.policy.horizon
        if why := context.lookup.finished.get(message_id):
            yield _cancelled(message_id, message, due_at, why)
        elif state.active_reasons:
            yield from _refused(message_id, message, due_at, state)
        elif is_late and message.last_bounce:
            attempt, at, event_id = message.last_bounce
            dated = replace(message, first_at=first_at)
            words = _exhausted(dated, attempt, context.now, context.policy)
            yield RetriesExhausted(
                message_id=message_id, attempt=attempt, at=at, reason=words, event_id=event_id
            )
        else:
            yield RetryDue(
                message_id=message_id, attempt=message.requested_attempt, due_at=due_at,
                reason=message.reason,
            )  # fmt: skip


def due_retries(state: AddressState, now: datetime) -> Iterator[tuple[str, MessageState, datetime]]:
    """Yield the messages whose next attempt is due, the first due first."""
    due = [
        (message_id, message, message.due_at) for message_id, message in state.messages.items()
        if message.due_at is not None and message.due_at <= now
    ]  # fmt: skip
    yield from sorted(due, key=lambda each: (each[2], each[0]))


def wait_before_retry(policy: Policy, message_id: str, attempt: int) -> timedelta:
    """Return how long after this attempt's bounce the next one is due, in whole milliseconds.

    The jitter follows from the message's id: the same again in a replay, and spread over messages.
    """
    digest = blake2b(message_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    spread = int.from_bytes(digest) / 2**63 - 1
    return policy.wait(attempt) * (1 + JITTER_SHARE * spread) // _MILLISECOND * _MILLISECOND


def _exhausted(message: MessageState, attempt: int, due_at: datetime, policy: Policy) -> str:
    """Return why no attempt after this one may be made at that time; "" if it may."""
    if attempt > policy.retries:
        return f"soft bounces: {attempt} of {policy.retries + 1} attempts used"
    if due_at > message.first_at + policy.horizon:
        within = duration_text(policy.horizon)
        return f"soft bounces: no further attempt within {within} of the first"
    return ""


def _crowded(message: MessageState, state: AddressState) -> str:
    """Return why no attempt may be made though the policy would make one; "" if it may."""
    if message.due_at is not None or len(state.messages) <= MAX_PENDING_RETRIES:
        return ""
    if sum(each.due_at is not None for each in state.messages.values()) < MAX_PENDING_RETRIES:
        return ""
    return f"soft bounces: {MAX_PENDING_RETRIES:,} other retries to the address are waiting"


def _cancelled(message_id: str, message: MessageState, at: datetime, why: str) -> RetryCancelled:
    is_waiting = message.due_at is not None
    attempt = message.requested_attempt if is_waiting else message.last_attempt + 1
    return RetryCancelled(message_id=message_id, attempt=attempt, at=at, reason=why)


def _refused(
    message_id: str, message: MessageState, at: datetime, state: AddressState
) -> Iterator[Decision]:
    """Cancel the next attempt: the address is suppressed by now, and the message Invalid then."""
    reason = state.active_reasons[0]
    attempt = message.last_bounce[0] if message.last_bounce else message.last_attempt
    yield SendRefused(message_id=message_id, attempt=attempt, at=at, reason=reason)
    yield _cancelled(message_id, message, at, f"the address is listed: {reason.rule}")
