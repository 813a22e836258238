"""After a reset: take the address off its providers' own lists, where we have accounts there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, get_args

from starlette.concurrency import run_in_threadpool

from projections.web.auth import Caller
from schemas.addresses import Address
from schemas.decisions import RuleName
from schemas.resets import RULE_RESETS, ProviderRemoval, RemovalOutcome


async def remove_after_reset(
    caller: Caller, address: Address, lifted: Iterable[RuleName]
) -> list[ProviderRemoval]:
    """Take an address off its providers' lists if it was on ours by a rule that comes of them."""
    if any(RULE_RESETS[rule].elsewhere for rule in lifted):
        return await remove_at_providers(caller, address)
    return []


async def remove_at_providers(caller: Caller, address: Address) -> list[ProviderRemoval]:
    """Take an address off its providers' lists, whatever ours say."""
    removals = await run_in_threadpool(caller.state.provider_lists.remove, address)
    if removals:
        results = ", ".join(f"{each.provider}: {each.outcome}" for each in removals)
        caller.audit("provider_lists", "address", address.address, detail=results)
    return removals


def removals_value(removals: Iterable[ProviderRemoval]) -> str:
    """Return removals as the value of a parameter of a page."""
    return ",".join(f"{each.provider}.{each.outcome}" for each in removals)


def read_removals(caller: Caller, tenant: str, value: str) -> list[ProviderRemoval]:
    """Return the removals of a parameter; of a tenant's providers alone, whoever wrote it."""
    known = set(caller.state.provider_lists.names(tenant))
    parts = [part.rpartition(".") for part in value.split(",")]
    return [
        ProviderRemoval(name, _outcome(outcome))
        for name, _, outcome in parts
        if name in known and outcome in get_args(RemovalOutcome)
    ]


def removals_json(removals: Sequence[ProviderRemoval]) -> list[dict[str, Any]]:
    """Return removals as the API has them."""
    return [each._asdict() for each in removals]


def _outcome(text: str) -> RemovalOutcome:
    return next(each for each in get_args(RemovalOutcome) if each == text)
