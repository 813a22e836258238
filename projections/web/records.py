"""A customer record: its newest messages in both logs, its addresses, and how each stands."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, get_args

from projections.queries.listing import Filter
from projections.queries.plain_reasons import plain_reason
from projections.queries.record_names import RecordName, find_record_name
from projections.queries.suppressions import find_entries
from projections.tables import projections
from projections.web.auth import Caller
from projections.web.log_query import LogQuery
from schemas.addresses import Address
from schemas.events import milliseconds

#: Of each log so many messages are looked at for the addresses of a record.
MAX_RECORD_MESSAGES: Final = 200
#: How an address stands: what is sent there is refused, or else how the last messages went.
Deliverability = Literal["blacklisted", "opted out", "bouncing", "fine"]
_ARRIVED_STATUSES: Final = frozenset({"Delivery", "Open", "Click", "Delivered", "Received"})
#: Causes that only the person can end.
_OPTED_OUT_CAUSES: Final = frozenset({"opted_out", "unsubscribed"})


class KnownAddress(NamedTuple):
    """Whether an address is blacklisted: its entry, or None; messages to it, the newest first."""

    address: Address
    entry: dict[str, Any] | None
    rows: Sequence[dict[str, Any]] = ()

    @property
    def last(self) -> dict[str, Any]:
        """The last message to it."""
        return self.rows[0]

    @property
    def deliverability(self) -> Deliverability:
        """How it stands by its entry, and else by the messages since one has arrived."""
        if self.entry is not None:
            return "blacklisted"
        causes = []
        for row in self.rows:
            if row["status"] in _ARRIVED_STATUSES:
                break
            if cause := plain_reason(self.address.channel, row).cause:
                causes.append(cause.name)
        if not _OPTED_OUT_CAUSES.isdisjoint(causes):
            return "opted out"
        return "bouncing" if causes else "fine"


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
    rows_of = defaultdict[Address, list[dict[str, Any]]](list)
    for row in rows:
        if row["recipient"]:
            rows_of[Address(caller.tenant, row["channel"], row["recipient"])].append(row)
    standings = [
        each._replace(rows=rows_of[each.address]) for each in known_addresses(caller, [*rows_of])
    ]
    standings.sort(key=lambda each: get_args(Deliverability).index(each.deliverability))
    database = caller.state.database
    with database.client() as client:
        name = find_record_name(client, database.name, caller.tenant, record_type, record_id)
    caller.audit("look", "record", f"{record_type}/{record_id}")
    return RecordOverview(name, standings, list(islice(rows, limit)))


def known_addresses(caller: Caller, addresses: Sequence[Address]) -> list[KnownAddress]:
    """Return how addresses of the caller's tenant stand, in their order. Raises `ProblemError`."""
    database = caller.state.database
    with database.client() as client:
        entries = find_entries(client, database.name, caller.tenant, addresses)
    return [KnownAddress(address, entries.get(address)) for address in addresses]
