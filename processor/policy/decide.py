"""The policy for retries and suppressions: pure, over the state of one address.

    decisions, after = decide(state, input, now, policy, lookup)
    state = prune(after, now, policy)

**Crashes.** Publish what is decided and wait for the broker, then store the state, then commit. A
crash between leaves a state that is older than what was published; the inputs come again and give
the same decisions with the same ids. (Stored first, a copy of the input would decide nothing, and
what was not published would be lost.)

**Copies.** An event that had its effect decides nothing; only a refusal is repeated, with the same
id. An event that came by a provider's id comes by its message's, too, before or after: once that
has come nothing is decided by the other.

**Order.** Events that suppress an address, an unsubscribe and a new subscription may come in any
order: the same reasons hold in the end. An event that happened before a reset and comes after it
does not suppress again; one that happened after it does, whichever came first. A bounce that names
no attempt belongs to the last one sent before it, even if that `sent` event comes later. Order does
matter
- for a reset: it is rejected while there is nothing to lift, and asks for confirmation of the
  complaints known by then; one that comes later is not forgiven unless the reset was confirmed;
- for a send: it is refused if the address was suppressed at its time by what was known when it
  came;
- for soft bounces less than a day apart that come in another order: one of the streak may not be
  counted. None is ever counted that should not be;
- for a delivery that comes after the bounces in a row after it: who was suppressed stays so until
  expiry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from functools import partial, reduce
from typing import Final, TypeAlias

from processor.intake.policy_feed import Forget, KeptReasons
from processor.policy import retry_rules, suppression_rules
from processor.policy.config import Policy
from processor.policy.decisions import Decision, MessageJoined, SoftBounced
from processor.policy.evolve import evolve
from processor.policy.inputs import Context, Input, LookupResult, Tick, failure_in_words
from processor.policy.state import AddressState
from schemas.addresses import is_pseudonym
from schemas.decisions import DECISION_LABEL, Command
from schemas.events import MessageEvent, is_soft, is_unexplained_refusal

_DecisionRule: TypeAlias = Callable[[AddressState], Iterator[Decision]]


def decide(
    state: AddressState,
    input: Input,  # noqa: A002 - the Decider pattern's word
    now: datetime,
    policy: Policy,
    lookup: LookupResult | None = None,
) -> tuple[tuple[Decision, ...], AddressState]:
    """Return what follows from an input, in order, and the state after it.

    By `now` retries fall due and suppressions expire at a `Tick`, nothing happened later than now,
    and what is past its time is not begun. A `lookup` is needed where `lookups_needed` says so.
    """
    context = Context(_time_of(input, now), now, policy, lookup or LookupResult())
    decisions: list[Decision] = []
    for rule in _rules_for(state, input, context):
        if made := tuple(rule(state)):
            decisions += made
            state = evolve_all(state, made)
    return tuple(decisions), state


def evolve_all(state: AddressState, decisions: Iterable[Decision]) -> AddressState:
    """Return the state after some decisions."""
    return reduce(evolve, decisions, state)


def lookups_needed(
    state: AddressState,
    input: Input,  # noqa: A002
    now: datetime,
    *,
    is_first: bool = True,
) -> frozenset[str] | None:
    """Return the messages to look up in the log before deciding; None: nothing is needed.

    Before an input that is not the first one on a state, a row of bounces may have begun.
    `last_success_at` is needed with every lookup, also where no message is named. A first soft
    bounce or refusal needs none: what ends a streak matters when there is one, and its message is
    looked up when the retry falls due. (Each answer costs the database as much as writing twenty
    events.)
    """
    match input:
        case Tick():
            return frozenset(name for name, *_ in retry_rules.due_retries(state, now)) or None
        case MessageEvent() if is_soft(input) and (state.streak or not is_first):
            return frozenset({input.message_id} - {""})
        case MessageEvent() if is_unexplained_refusal(input) and (state.refusals or not is_first):
            return frozenset()
        case _:
            return None


def _time_of(input: Input, now: datetime) -> datetime:  # noqa: A002
    """Return when an input happened: not later than it was recorded, whatever its clock said."""
    match input:
        case Tick() | Forget() | KeptReasons():
            return now
        case Command():
            return min(input.requested_at, now)
        case MessageEvent():
            return min(input.occurred_at, input.recorded_at or now)


def _rules_for(
    state: AddressState,
    input: Input,  # noqa: A002
    context: Context,
) -> Iterator[_DecisionRule]:
    """Yield the rules that an input is put to, in turn."""
    if isinstance(input, MessageEvent) and (
        input.label == DECISION_LABEL or (input.message_id in state.joined and not input.other_id)
    ):
        return  # what was decided once, or is by its message's id, is not decided on again
    if isinstance(input, Forget):
        yield partial(suppression_rules.forget, input)
        return
    yield partial(suppression_rules.expire, context)
    match input:
        case Tick():
            yield partial(retry_rules.request_due, context)
        case KeptReasons():
            yield partial(suppression_rules.keep_reasons, input)
        case Command():
            yield partial(_COMMAND_RULES[input.command], input, context)
        case MessageEvent():
            for rule in _EVENT_RULES:
                yield partial(rule, input, context)


def _join_message(event: MessageEvent, context: Context, state: AddressState) -> Iterator[Decision]:
    """Forget what was known by the id under which an event of a message came, and ignore it."""
    if event.other_id and event.other_id not in state.joined:
        yield MessageJoined(
            message_id=event.message_id, other_id=event.other_id, attempt=event.attempt,
            at=context.at,
        )  # fmt: skip


def _bounce_softly(
    event: MessageEvent, context: Context, state: AddressState
) -> Iterator[Decision]:
    """Count a soft bounce once, suppress the address if that completes a streak, and retry."""
    message = state.messages.get(event.message_id)
    if not is_soft(event) or (message is not None and event.event_id in message.bounces):
        return
    counts = suppression_rules.counts_in_streak(event, context, state)
    first_sent_at = context.lookup.first_sent_at.get(event.message_id, context.at)
    bounce = SoftBounced(
        message_id=event.message_id, event_id=event.event_id, attempt=max(event.attempt, 1),
        at=context.at, first_at=min(context.at, first_sent_at), reason=failure_in_words(event),
        counts=counts,
    )  # fmt: skip
    yield bounce
    state = evolve(state, bounce)
    if counts:
        suppressed = tuple(suppression_rules.suppress_for_streak(event, context, state))
        yield from suppressed
        state = evolve_all(state, suppressed)
    if event.message_id and not is_pseudonym(event.recipient):
        yield from retry_rules.schedule_next(event.message_id, context, state)


#: What an event is put to, in this order: a suppression comes before the sends that it voids.
_EVENT_RULES: Final = (
    _join_message,
    suppression_rules.suppress,
    suppression_rules.resubscribe,
    suppression_rules.end_streak,
    suppression_rules.count_refusal,
    suppression_rules.refuse_send,
    retry_rules.cancel_finished,
    retry_rules.record_attempt,
    _bounce_softly,
)
_COMMAND_RULES: Final = {
    "reset": suppression_rules.reset,
    "add": suppression_rules.add_by_hand,
    "resend": retry_rules.resend,
    "publish": suppression_rules.repeat_entry,
}
