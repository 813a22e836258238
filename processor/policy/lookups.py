"""The log, asked by the rules for retries what they are not fed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from processor.clickhouse import patiently
from processor.policy.inputs import Heard
from projections.clickhouse.client import classified
from projections.queries import message_outcomes
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Log:
    """The log in a database, connected at the first question."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    async def hear(self, asked: Mapping[Address, set[str]]) -> dict[Address, Heard]:
        """Return what the log knows of email addresses, and of these messages to each.

        Waits while the database is away. Raises `FatalError` as `store.classify` says.
        """
        return await patiently(partial(self._hear, asked))

    def _hear(self, asked: Mapping[Address, set[str]]) -> dict[Address, Heard]:
        addresses = [(each.tenant_id, each.address) for each in asked]
        messages = [
            (whose.tenant_id, whose.address, name)
            for whose, names in asked.items() for name in names
        ]  # fmt: skip
        with classified():
            good = message_outcomes.good(self._client(), self._database, addresses)
            told = (
                message_outcomes.told(self._client(), self._database, messages) if messages else {}
            )
        over: defaultdict[Address, dict[str, str]] = defaultdict(dict)
        first_at: defaultdict[Address, dict[str, datetime]] = defaultdict(dict)
        for (tenant, address, name), known in told.items():
            whose = Address(tenant, "email", address)
            first_at[whose][name] = known.first_at
            if known.over:
                over[whose][name] = known.over
        return {
            whose: Heard(
                good_at=good.get((whose.tenant_id, whose.address)),
                over=over[whose],
                first_at=first_at[whose],
            )
            for whose in asked
        }
