"""Suppressions of a tenant: the entries now, their history, and what commands led to.

A row is a dict by the columns of what it is of: the view `suppressions`, the table
`suppression_history`. Times are aware and UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from projections.clickhouse.sql import Query, stream
from projections.column_types import STRING, TIME
from projections.queries.listing import QueryError, has_address_part
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.suppressions import VIEW as SUPPRESSIONS
from schemas.addresses import Address
from schemas.decisions import DECISION_LABEL, REFUSAL_KINDS, SUPPRESSION_RULES, RuleName
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Commands whose outcome is asked for in one query: ids and addresses travel in its URL.
MAX_COMMANDS_PER_QUERY: Final = 200
#: Addresses that are looked at for a page, at least.
MIN_PAGE_ADDRESSES: Final = 500
#: Each step through the addresses is so many times as long as the one before.
_STEP_FACTOR: Final = 4

#: Reads what commands for addresses led to, by their ids.
ReadOutcomes = Callable[["Client", str, Sequence[tuple[Address, str]]], dict[str, dict[str, Any]]]


def list_entries(
    client: Client,
    database: str,
    tenant: str,
    *,
    channel: Channel | None = None,
    rule: RuleName | None = None,
    address: str = "",
    limit: int = 100,
    after: tuple[Channel, str] | None = None,
) -> list[dict[str, Any]]:
    """Return who of a tenant is suppressed now, in order of channel and address.

    `rule` is one of those that hold, not only the strongest; `address` a part of it; `after` the
    channel and address of the last row of the page before. Raises `QueryError` for an unknown rule.
    """
    if rule is not None:
        check_choice("rule", rule, list(SUPPRESSION_RULES))
    rows: list[dict[str, Any]] = []
    for each in (channel,) if channel else sorted(get_args(Channel)):
        if after is not None and each < after[0]:
            continue
        start = after[1] if after is not None and each == after[0] else ""
        addresses, step = _AddressRange(tenant, each, start), max(MIN_PAGE_ADDRESSES, 2 * limit)
        while len(rows) < limit and addresses.has_more:
            addresses.extend(client, database, step)
            query = addresses.query()
            if rule is not None:
                query.add(f"has(rules, {query.bind(rule, STRING)})")
            if address.strip():
                query.add(has_address_part(each, "address", address, query))
            sql = _entries_sql(database, query, limit=limit - len(rows))
            rows += stream(client, sql, query.values)
            addresses.advance()
            step *= _STEP_FACTOR
    return rows


def export_entries(
    client: Client, database: str, tenant: str, *, channel: Channel | None = None
) -> Iterator[dict[str, Any]]:
    """Yield all entries of a tenant, in order of channel and address."""
    query = Query(tenant)
    if channel is not None:
        query.add(f"channel = {query.bind(channel, STRING)}")
    yield from stream(client, _entries_sql(database, query), query.values)


def find_entry(client: Client, database: str, address: Address) -> dict[str, Any] | None:
    """Return the entry of an address now, None if it is not suppressed.

    `refused_since` is how many messages to it were refused since it is.
    """
    query = _query_about(address)
    rows = list(stream(client, _entries_sql(database, query), query.values))
    if not rows:
        return None
    (entry,) = rows
    query = Query(address.tenant_id)
    query.add(
        f"channel = {query.bind(address.channel, STRING)}",
        f"kind IN {query.bind(list(REFUSAL_KINDS), f'Array({STRING})')}",
        f"recipient = {query.bind(address.address, STRING)}",
        f"label = {query.bind(DECISION_LABEL, STRING)}",
        f"occurred_at >= {query.bind(entry['since'], TIME)}",
    )
    sql = (
        f"SELECT uniqExact(message_id) AS refused FROM {database}.{EVENTS.name} WHERE {query.where}"
    )
    return {**entry, "refused_since": next(stream(client, sql, query.values))["refused"]}


def find_entries(
    client: Client, database: str, tenant: str, addresses: Sequence[Address]
) -> dict[Address, dict[str, Any]]:
    """Return the entries of those of some addresses of a tenant that are suppressed now."""
    if not addresses:
        return {}
    query = Query(tenant)
    pairs = [(each.channel, each.address) for each in addresses]
    query.add(f"(channel, address) IN {query.bind_list(pairs, STRING, STRING)}")
    return {
        Address(tenant, row["channel"], row["address"]): row
        for row in stream(client, _entries_sql(database, query), query.values)
    }


def entry_history(client: Client, database: str, address: Address) -> list[dict[str, Any]]:
    """Return what was done to an address, the oldest first; also commands that were rejected."""
    query = _query_about(address)
    return list(stream(client, _history_sql(database, query), query.values))


def command_outcomes(
    client: Client, database: str, commands: Sequence[tuple[Address, str]]
) -> dict[str, dict[str, Any]]:
    """Return the rows of the history that commands led to, by their ids; those without none.

    Of several rows, one for each rule that a reset ended, the last.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    for tenant in sorted({address.tenant_id for address, _ in commands}):
        of_tenant = [(address, name) for address, name in commands if address.tenant_id == tenant]
        for start in range(0, len(of_tenant), MAX_COMMANDS_PER_QUERY):
            batch = of_tenant[start : start + MAX_COMMANDS_PER_QUERY]
            query = Query(tenant)
            # The addresses lead to the rows, the ids pick among them.
            addresses = sorted({address.address for address, _ in batch})
            query.add(f"address IN {query.bind_list(addresses, STRING)}")
            ids = [name for _, name in batch]
            query.add(f"cause_event_id IN {query.bind_list(ids, STRING)}")
            keys = {(address.channel, address.address, name) for address, name in batch}
            for row in stream(client, _history_sql(database, query), query.values):
                if (row["channel"], row["address"], row["cause_event_id"]) in keys:
                    outcomes[row["cause_event_id"]] = row
    return outcomes


class _AddressRange:
    """A part of a tenant's addresses, in their order: a page must not fold all of them."""

    def __init__(self, tenant: str, channel: Channel, start: str) -> None:
        self._tenant, self._channel = tenant, channel
        self._start, self._end = start, ""
        self.has_more = True

    def extend(self, client: Client, database: str, step: int) -> None:
        """Let it end after so many addresses that have a history, or with the last."""
        query = self.query()
        sql = (
            f"SELECT DISTINCT address FROM {database}.{HISTORY.name} WHERE {query.where} "
            f"ORDER BY address LIMIT 1 OFFSET {int(step) - 1}"
        )
        rows = list(stream(client, sql, query.values))
        self._end = rows[0]["address"] if rows else ""
        self.has_more = bool(rows)

    def query(self) -> Query:
        """Return the query about what is in it."""
        query = Query(self._tenant)
        query.add(
            f"channel = {query.bind(self._channel, STRING)}",
            f"address > {query.bind(self._start, STRING)}",
        )
        if self._end:
            query.add(f"address <= {query.bind(self._end, STRING)}")
        return query

    def advance(self) -> None:
        """Begin where it ended."""
        self._start, self._end = self._end, ""


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `QueryError` for a value that is none of the choices."""
    if value not in choices:
        raise QueryError(f"no {name} {value!r}; there are: {', '.join(choices)}")


def _query_about(address: Address) -> Query:
    query = Query(address.tenant_id)
    query.add(
        f"channel = {query.bind(address.channel, STRING)}",
        f"address = {query.bind(address.address, STRING)}",
    )
    return query


def _entries_sql(database: str, query: Query, *, limit: int | None = None) -> str:
    up_to = "" if limit is None else f" LIMIT {int(limit)}"
    return (
        f"SELECT * FROM {database}.{SUPPRESSIONS.name} WHERE {query.where} "
        f"ORDER BY channel, address{up_to}"
    )


def _history_sql(database: str, query: Query) -> str:
    return (
        f"SELECT {', '.join(HISTORY.columns)} FROM {database}.{HISTORY.name} FINAL "
        f"WHERE {query.where} ORDER BY occurred_at, recorded_at, event_id, cause_event_id"
    )
