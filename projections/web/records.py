"""A customer record: its newest messages in both logs, its addresses, and how each stands."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from projections.queries.listing import Filter
from projections.queries.record_names import RecordName, find_record_name
from projections.queries.suppressions import find_entries
from projections.tables import projections
from projections.web.auth import Caller
from projections.web.log_query import LogQuery
from schemas.addresses import Address
from schemas.events import milliseconds

#: Of each log so many messages are looked at for the addresses of a record.
MAX_RECORD_MESSAGES: Final = 200


class KnownAddress(NamedTuple):
    """Whether an address is blacklisted: its entry, or None; and the last message to it, if any."""

    address: Address
    entry: dict[str, Any] | None
    last: dict[str, Any] | None


class RecordOverview(NamedTuple):
    """A record's name, its addresses' standings, those in trouble first, its newest messages."""

    name: RecordName
    standings: list[KnownAddress]
    rows: list[dict[str, Any]]


def customer_record(
    caller: Caller, record_type: str, record_id: str, *, limit: int
) -> RecordOverview:
    """Return a record of the caller's tenant, each row with its `channel`. Raises `ProblemError`.

    Its addresses are those that its newest messages went to.
    """
    filters = (Filter("record_type", "=", record_type), Filter("record_id", "=", record_id))
    logs = [
        [
            {"channel": log.channel, **row}
            for row in LogQuery(caller=caller, channel=log.channel, filters=filters).rows(
                limit=MAX_RECORD_MESSAGES
            )
        ]
        for log in projections().values()
    ]
    rows = list(heapq.merge(*logs, key=lambda row: -milliseconds(row["date"])))
    last: dict[Address, dict[str, Any]] = {}
    for row in rows:
        if row["recipient"]:
            last.setdefault(Address(caller.tenant, row["channel"], row["recipient"]), row)
    standings = [
        each._replace(last=last[each.address]) for each in known_addresses(caller, [*last])
    ]
    standings.sort(key=lambda each: each.entry is None)
    database = caller.state.database
    with database.client() as client:
        name = find_record_name(client, database.name, caller.tenant, record_type, record_id)
    return RecordOverview(name, standings, list(islice(rows, limit)))


def known_addresses(caller: Caller, addresses: Sequence[Address]) -> list[KnownAddress]:
    """Return how addresses of the caller's tenant stand, in their order. Raises `ProblemError`."""
    database = caller.state.database
    with database.client() as client:
        entries = find_entries(client, database.name, caller.tenant, addresses)
    return [KnownAddress(address, entries.get(address), None) for address in addresses]
