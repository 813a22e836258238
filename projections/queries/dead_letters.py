"""Dead letters as the table has them: listed page by page, and one with its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.sql import Bound, stream
from projections.expressions import TIME
from projections.tables.dead_letters import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Raw bytes need not be text: they travel as base64.
_WHOLE: Final = "* REPLACE (base64Encode(raw) AS raw)"
_BRIEF: Final = "* EXCEPT (raw, headers), length(raw) AS size"


class Place(NamedTuple):
    """Where a dead letter came from; `element` is its place in a batch, -1 for the whole record."""

    topic: str
    partition: int
    offset: int
    element: int = -1


class Last(NamedTuple):
    """The last row of a page."""

    died_at: datetime
    place: Place


def listed(
    client: Client,
    database: str,
    *,
    topic: str = "",
    reason: str = "",
    replayed: bool = False,
    limit: int = 0,
    brief: bool = False,
    after: Last | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield dead letters, the newest first: those not replayed, or also the replayed.

    `topic` is exact, `reason` a part of it, `limit` 0 means all. `brief` ones have their `size`
    rather than bytes and headers. `after` is the last row of the page before.
    """
    bound = Bound()
    if topic:
        bound.conditions.append(f"source_topic = {bound.bind(topic, 'String')}")
    if reason:
        bound.conditions.append(
            f"positionCaseInsensitiveUTF8(reason, {bound.bind(reason, 'String')}) > 0"
        )
    if not replayed:
        bound.conditions.append("replayed_at IS NULL")
    if after is not None:
        died, place = bound.bind(after.died_at, TIME), _bound(bound, after.place)
        bound.conditions.append(
            f"(died_at < {died} OR (died_at = {died} AND {_place()} > {place}))"
        )
    where = f" WHERE {bound.where}" if bound.conditions else ""
    sql = (
        f"SELECT {_BRIEF if brief else _WHOLE} FROM {database}.{TABLE.name} FINAL{where} "
        f"ORDER BY died_at DESC, {', '.join(TABLE.order_by)}"
        f"{f' LIMIT {int(limit)}' if limit else ''}"
    )
    yield from stream(client, sql, bound.values)


def one(client: Client, database: str, place: Place) -> dict[str, Any] | None:
    """Return the dead letter of a place with its bytes in base64, or None."""
    bound = Bound()
    sql = (
        f"SELECT {_WHOLE}, length(letter.raw) AS size "
        f"FROM {database}.{TABLE.name} AS letter FINAL "
        f"WHERE {_place()} = {_bound(bound, place)}"
    )
    return next(iter(list(stream(client, sql, bound.values))), None)


def reasons(
    client: Client, database: str, *, replayed: bool = False, limit: int = 50
) -> list[dict[str, Any]]:
    """Return (topic, reason, letters, latest) of the commonest reasons, the commonest first."""
    where = "" if replayed else " WHERE replayed_at IS NULL"
    sql = (
        "SELECT source_topic AS topic, reason, count() AS letters, max(died_at) AS latest "
        f"FROM {database}.{TABLE.name} FINAL{where} "
        f"GROUP BY topic, reason ORDER BY letters DESC, topic, reason LIMIT {int(limit)}"
    )
    return list(stream(client, sql, {}))


def _place() -> str:
    return f"({', '.join(TABLE.order_by)})"


def _bound(bound: Bound, place: Place) -> str:
    kinds = ("String", "Int32", "Int64", "Int32")
    return f"({', '.join(map(bound.bind, place, kinds))})"
