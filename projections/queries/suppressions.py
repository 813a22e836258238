"""Questions asked of the blacklist: who is on it and why, its history, and what retries became.

Every question is one tenant's. A row is a dict by the columns of what it is of: the views
`suppressions` and `retries`, the table `suppression_history`. Times are aware and UTC.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, get_args

from projections.clickhouse.sql import Bound, stream
from projections.expressions import TIME
from projections.queries.listing import QueryError
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.suppressions import VIEW as SUPPRESSIONS
from schemas.addresses import Address
from schemas.decisions import OURS, Rule
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: The kinds of fact by which a send was refused.
REFUSALS: Final = ("invalid", "skipped", "failed", "opt_out")
#: Commands that are asked after in one query: their ids and addresses travel in its URL.
_AT_ONCE: Final = 200
#: Addresses that are looked at for a page, at least.
_LEAST: Final = 500


def listed(
    client: Client,
    database: str,
    tenant: str,
    *,
    channel: Channel | None = None,
    rule: Rule | None = None,
    address: str = "",
    limit: int = 100,
    after: tuple[Channel, str] | None = None,
) -> list[dict[str, Any]]:
    """Return who of a tenant is blacklisted now, in order of channel and address.

    `rule` is one of those that hold, not only the strongest; `address` a part of it; `after` the
    channel and address of the last row of the page before. Raises `QueryError` for an unknown rule.
    """
    if rule is not None:
        _known("rule", rule, get_args(Rule))
    found: list[dict[str, Any]] = []
    for each in (channel,) if channel else sorted(get_args(Channel)):
        if after is not None and each < after[0]:
            continue
        span = _Span(tenant, each, after[1] if after is not None and each == after[0] else "")
        step = max(_LEAST, 2 * limit)
        while len(found) < limit and span.more:
            span.reach(client, database, step)
            bound = span.bound()
            if rule is not None:
                bound.conditions.append(f"has(rules, {bound.bind(rule, 'String')})")
            if address.strip():
                part = bound.bind(address.strip(), "String")
                bound.conditions.append(f"positionCaseInsensitiveUTF8(address, {part}) > 0")
            sql = _entries(database, bound, limit=limit - len(found))
            found += stream(client, sql, bound.values)
            span.pass_on()
            step *= 4
    return found


def exported(
    client: Client, database: str, tenant: str, *, channel: Channel | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the whole blacklist of a tenant, in order of channel and address."""
    bound = _of(tenant)
    if channel is not None:
        bound.conditions.append(f"channel = {bound.bind(channel, 'String')}")
    yield from stream(client, _entries(database, bound), bound.values)


def entry(client: Client, database: str, whose: Address) -> dict[str, Any] | None:
    """Return the entry of an address now, None if it is not blacklisted.

    `refused_since` is how many messages to it were refused since it is.
    """
    bound = _about(whose)
    found = list(stream(client, _entries(database, bound), bound.values))
    if not found:
        return None
    (row,) = found
    bound = _of(whose.tenant_id)
    bound.conditions += [
        f"channel = {bound.bind(whose.channel, 'String')}",
        f"kind IN {bound.bind(list(REFUSALS), 'Array(String)')}",
        f"recipient = {bound.bind(whose.address, 'String')}",
        f"label = {bound.bind(OURS, 'String')}",
        f"occurred_at >= {bound.bind(row['since'], TIME)}",
    ]
    sql = (
        f"SELECT uniqExact(message_id) AS refused FROM {database}.{EVENTS.name} WHERE {bound.where}"
    )
    return {**row, "refused_since": next(stream(client, sql, bound.values))["refused"]}


def history(client: Client, database: str, whose: Address) -> list[dict[str, Any]]:
    """Return what was done to an address, the oldest first; also commands that were refused."""
    bound = _about(whose)
    sql = _lines(database, bound)
    return list(stream(client, sql, bound.values))


def outcome(
    client: Client, database: str, whose: Address, command_id: str
) -> dict[str, Any] | None:
    """Return the line of history that a command led to, None if there is none yet.

    Of several, one for each rule that a reset ended, the last.
    """
    return outcomes(client, database, [(whose, command_id)]).get(command_id)


def outcomes(
    client: Client, database: str, asked: Sequence[tuple[Address, str]]
) -> dict[str, dict[str, Any]]:
    """Return the `outcome` of many commands by their ids; those without one are left out."""
    found: dict[str, dict[str, Any]] = {}
    for tenant in sorted({whose.tenant_id for whose, _ in asked}):
        theirs = [(whose, name) for whose, name in asked if whose.tenant_id == tenant]
        for start in range(0, len(theirs), _AT_ONCE):
            some = theirs[start : start + _AT_ONCE]
            bound = _of(tenant)
            # The addresses lead to the rows, the ids pick among them.
            addresses = bound.bind(sorted({whose.address for whose, _ in some}), "Array(String)")
            ids = bound.bind([name for _, name in some], "Array(String)")
            bound.conditions += [f"address IN {addresses}", f"cause_event_id IN {ids}"]
            rows = stream(client, _lines(database, bound), bound.values)
            wanted = {(whose.channel, whose.address, name) for whose, name in some}
            for row in rows:
                if (row["channel"], row["address"], row["cause_event_id"]) in wanted:
                    found[row["cause_event_id"]] = row
    return found


class _Span:
    """A part of a tenant's addresses, in their order: a page must not fold all of them."""

    def __init__(self, tenant: str, channel: Channel, begin: str) -> None:
        self._tenant, self._channel = tenant, channel
        self._begin, self._end = begin, ""
        self.more = True

    def reach(self, client: Client, database: str, step: int) -> None:
        """Let it end after so many addresses that have a history, or with the last."""
        bound = self.bound()
        sql = (
            f"SELECT DISTINCT address FROM {database}.{HISTORY.name} WHERE {bound.where} "
            f"ORDER BY address LIMIT 1 OFFSET {int(step) - 1}"
        )
        rows = list(stream(client, sql, bound.values))
        self._end = rows[0]["address"] if rows else ""
        self.more = bool(rows)

    def bound(self) -> Bound:
        """Return the conditions of being in it."""
        bound = _of(self._tenant)
        bound.conditions += [
            f"channel = {bound.bind(self._channel, 'String')}",
            f"address > {bound.bind(self._begin, 'String')}",
        ]
        if self._end:
            bound.conditions.append(f"address <= {bound.bind(self._end, 'String')}")
        return bound

    def pass_on(self) -> None:
        """Begin where it ended."""
        self._begin, self._end = self._end, ""


def _of(tenant: str) -> Bound:
    """Return the beginning of every question: whose rows may be seen."""
    bound = Bound()
    bound.conditions.append(f"tenant_id = {bound.bind(tenant, 'String')}")
    return bound


def _about(whose: Address) -> Bound:
    bound = _of(whose.tenant_id)
    bound.conditions += [
        f"channel = {bound.bind(whose.channel, 'String')}",
        f"address = {bound.bind(whose.address, 'String')}",
    ]
    return bound


def _entries(database: str, bound: Bound, *, limit: int | None = None) -> str:
    most = "" if limit is None else f" LIMIT {int(limit)}"
    return (
        f"SELECT * FROM {database}.{SUPPRESSIONS.name} WHERE {bound.where} "
        f"ORDER BY channel, address{most}"
    )


def _lines(database: str, bound: Bound) -> str:
    return (
        f"SELECT {', '.join(HISTORY.columns)} FROM {database}.{HISTORY.name} FINAL "
        f"WHERE {bound.where} ORDER BY occurred_at, recorded_at, event_id, cause_event_id"
    )


def _known(what: str, value: str, there_are: Sequence[str]) -> None:
    if value not in there_are:
        raise QueryError(f"no {what} {value!r}; there are: {', '.join(there_are)}")
