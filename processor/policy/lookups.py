"""What the log knows that the policy is not fed, looked up in ClickHouse before deciding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Final, TypeVar

from processor.clickhouse import retry_while_away
from processor.policy.inputs import LookupResult
from projections.clickhouse.client import classified_errors
from projections.queries import message_outcomes
from schemas.addresses import Address

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


#: Addresses or messages that are asked about at once.
MAX_QUERY_KEYS: Final = 500

T = TypeVar("T")


def _pieces(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), MAX_QUERY_KEYS):
        yield items[start : start + MAX_QUERY_KEYS]


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
        successes: dict[tuple[str, str], datetime] = {}
        outcomes: dict[tuple[str, str, str], message_outcomes.Outcome] = {}
        with classified_errors():
            for some in _pieces(addresses):
                successes |= message_outcomes.last_successes(client, database, some)
            for some_keys in _pieces(keys):
                outcomes |= message_outcomes.outcomes(client, database, some_keys)
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
