"""What the log knows that the policy is not fed, looked up in ClickHouse before deciding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING

from processor.clickhouse import retry_while_away
from processor.policy.inputs import LookupResult
from projections.clickhouse.client import classified_errors
from projections.queries import message_outcomes
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Lookups:
    """The log in a database, connected at the first lookup."""

    def __init__(self, connect: Callable[[], Client], database: str) -> None:
        self._client = cache(connect)
        self._database = database

    async def fetch(self, messages: Mapping[Address, set[str]]) -> dict[Address, LookupResult]:
        """Return what the log knows of email addresses, and of these messages to each.

        Waits while the database is away. Raises `FatalError` as `classify` says.
        """
        return await retry_while_away(partial(self._fetch, messages))

    def _fetch(self, messages: Mapping[Address, set[str]]) -> dict[Address, LookupResult]:
        addresses = [(address.tenant_id, address.address) for address in messages]
        keys = [
            (address.tenant_id, address.address, message_id)
            for address, message_ids in messages.items() for message_id in message_ids
        ]  # fmt: skip
        client, database = self._client(), self._database
        with classified_errors():
            successes = message_outcomes.last_successes(client, database, addresses)
            outcomes = message_outcomes.outcomes(client, database, keys) if keys else {}
        finished: defaultdict[Address, dict[str, str]] = defaultdict(dict)
        first_sent_at: defaultdict[Address, dict[str, datetime]] = defaultdict(dict)
        for (tenant, recipient, message_id), outcome in outcomes.items():
            address = Address(tenant, "email", recipient)
            first_sent_at[address][message_id] = outcome.first_at
            if outcome.finished:
                finished[address][message_id] = outcome.finished
        return {
            address: LookupResult(
                last_success_at=successes.get((address.tenant_id, address.address)),
                finished=finished[address],
                first_sent_at=first_sent_at[address],
            )
            for address in messages
        }
