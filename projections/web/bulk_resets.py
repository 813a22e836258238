"""Resets of many addresses for one reason: first what would happen to each, then what did."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import monotonic
from typing import Any, Final, Literal

from starlette.concurrency import run_in_threadpool

from projections.queries.audit import AuditOutcome
from projections.web.auth import Caller
from projections.web.problems import ProblemError, invalid_parameter
from projections.web.provider_lists import remove_after_reset
from projections.web.records import known_addresses
from projections.web.suppression_commands import (
    check_reason,
    publish_command,
    wait_for_outcomes,
)
from schemas.addresses import Address
from schemas.decisions import RuleName
from schemas.resets import RULE_RESETS, ProviderRemoval, ResetTerms
from schemas.words import Words

#: Addresses of one bulk reset; a person reads the preview.
MAX_RESET_ADDRESSES: Final = 200
_NO_ENTRY: Final = Words("it is not blacklisted")
#: For so long addresses are taken off providers' lists, so many at once: somebody waits. Of the
#: others it is said that this is still to be done.
MAX_REMOVAL_SECONDS: Final = 20.0
MAX_PARALLEL_REMOVALS: Final = 8
#: Between addresses in a pasted text; a number may have spaces in it.
_SEPARATORS: Final = re.compile(r"[\n\r,;\t]+")

ResetFate = Literal["would_lift", "lifted", "refused", "not_listed", "pending", "not_published"]
#: What the audit log says of it.
_AUDIT_OUTCOMES: Final[Mapping[ResetFate, AuditOutcome]] = {
    "would_lift": "failed", "lifted": "done", "refused": "refused", "not_listed": "refused",
    "pending": "pending", "not_published": "failed",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressReset:
    """What becomes of an address in a bulk reset; `detail` is why, where nothing is lifted.

    `elsewhere` is what else has to be done, in another place; `removals` are what came of asking
    the tenant's providers to do it.
    """

    address: Address
    fate: ResetFate
    detail: str = ""
    rules: tuple[RuleName, ...] = ()
    elsewhere: tuple[str, ...] = ()
    removals: tuple[ProviderRemoval, ...] = ()
    command_id: str = ""


def typed_addresses(caller: Caller, text: str) -> list[Address]:
    """Return the addresses of a pasted text, one a line or between commas, each once."""
    texts = (part.strip() for part in _SEPARATORS.split(text))
    return list(dict.fromkeys(
        caller.address_of("email" if "@" in part else "sms", part) for part in texts if part
    ))  # fmt: skip


def preview_resets(caller: Caller, addresses: Sequence[Address]) -> list[AddressReset]:
    """Return what a reset would do to each of some addresses; it changes nothing.

    What a person has to confirm is refused here: that is said of one address at a time. Raises a
    422 problem for none or too many, and as `known_addresses` does.
    """
    distinct = list(dict.fromkeys(addresses))
    if not 0 < len(distinct) <= MAX_RESET_ADDRESSES:
        detail = Words(
            "takes 1 to %(most)s addresses; these are %(count)s",
            most=MAX_RESET_ADDRESSES, count=len(distinct),
        )  # fmt: skip
        raise invalid_parameter("addresses", detail)
    return [
        _expected(each.address, tuple(each.entry["rules"]) if each.entry else ())
        for each in known_addresses(caller, distinct)
    ]


def _expected(address: Address, rules: tuple[RuleName, ...]) -> AddressReset:
    if not rules:
        return AddressReset(address=address, fate="not_listed", detail=_NO_ENTRY)
    terms = ResetTerms.of(rules)
    barring = [rule for rule in rules if RULE_RESETS[rule].by == "confirmed"]
    if barring or not terms.lifted:
        why = RULE_RESETS[(barring or list(rules))[0]].refusal
        return AddressReset(address=address, fate="refused", detail=why, rules=rules)
    return AddressReset(
        address=address, fate="would_lift", rules=rules, elsewhere=terms.elsewhere,
        detail=" ".join(terms.person),
    )  # fmt: skip


async def apply_resets(
    caller: Caller, addresses: Sequence[Address], reason: str
) -> list[AddressReset]:
    """Reset those of some addresses that can be, in the caller's name; return what became of each.

    Raises as `preview_resets` does, a 422 problem for a blank reason, and a 503 problem if Kafka
    confirms not even the first command. What it did not confirm later is `not_published`.
    """
    check_reason(reason)
    resets = await run_in_threadpool(preview_resets, caller, addresses)
    sent, failure = list[AddressReset](), None
    for reset in resets:
        if reset.fate != "would_lift" or failure is not None:
            sent.append(reset)
            continue
        try:
            command_id = await publish_command(caller, "reset", reset.address, reason)
        except ProblemError as problem:
            if not any(each.command_id for each in sent):
                raise
            failure = problem.detail
            sent.append(reset)
        else:
            sent.append(replace(reset, command_id=command_id))
    commands = [(each.address, each.command_id) for each in sent if each.command_id]
    outcomes = await wait_for_outcomes(caller, commands)
    results = [_result(reset, outcomes.get(reset.command_id), failure or "") for reset in sent]
    results = await _remove_at_providers(caller, results)
    for result in results:
        caller.audit(
            "bulk_reset", "address", result.address.address, detail=reason,
            outcome=_AUDIT_OUTCOMES[result.fate],
        )  # fmt: skip
    return results


async def _remove_at_providers(
    caller: Caller, resets: Sequence[AddressReset]
) -> list[AddressReset]:
    """Take addresses that were lifted off their providers' lists, too, as far as there is time."""
    end, places = monotonic() + MAX_REMOVAL_SECONDS, asyncio.Semaphore(MAX_PARALLEL_REMOVALS)

    async def removed(reset: AddressReset) -> AddressReset:
        async with places:
            if reset.fate != "lifted" or monotonic() > end:
                return reset
            removals = await remove_after_reset(caller, reset.address, reset.rules)
        elsewhere = () if removals else reset.elsewhere
        return replace(reset, removals=tuple(removals), elsewhere=elsewhere)

    return list(await asyncio.gather(*map(removed, resets)))


def _result(reset: AddressReset, row: dict[str, Any] | None, failure: str) -> AddressReset:
    if reset.fate != "would_lift":
        return reset
    if not reset.command_id:
        return replace(reset, fate="not_published", detail=failure, elsewhere=())
    if row is None:
        return replace(reset, fate="pending")
    if row["change"] == "refused":
        return replace(reset, fate="refused", detail=row["reason"], elsewhere=())
    return replace(reset, fate="lifted")
