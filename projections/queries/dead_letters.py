"""Dead letters as the table has them: listed page by page, and one with its bytes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.sql import Parameters, stream
from projections.column_types import STRING, TIME
from projections.tables.dead_letters import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Raw bytes need not be text: they travel as base64.
_WITH_BYTES: Final = "* REPLACE (base64Encode(raw) AS raw)"
_WITHOUT_BYTES: Final = "* EXCEPT (raw, headers), length(raw) AS size"
_PLACE: Final = f"({', '.join(TABLE.order_by)})"


class LetterPlace(NamedTuple):
    """Where a dead letter came from; `element` is its place in a batch, -1 for the whole record."""

    topic: str
    partition: int
    offset: int
    element: int = -1


class LastLetter(NamedTuple):
    """The last row of a page."""

    died_at: datetime
    place: LetterPlace


def list_dead_letters(
    client: Client,
    database: str,
    *,
    topic: str = "",
    reason: str = "",
    replayed: bool = False,
    limit: int = 0,
    brief: bool = False,
    after: LastLetter | None = None,
) -> Iterator[dict[str, Any]]:
    """Yield dead letters, the newest first: those not replayed, or also the replayed.

    `topic` is exact, `reason` a part of it, `limit` 0 means all. `brief` ones have their `size`
    rather than bytes and headers. `after` is the last row of the page before.
    """
    parameters, conditions = Parameters(), list[str]()
    if topic:
        conditions.append(f"source_topic = {parameters.bind(topic, STRING)}")
    if reason:
        part = parameters.bind(reason, STRING)
        conditions.append(f"positionCaseInsensitiveUTF8(reason, {part}) > 0")
    if not replayed:
        conditions.append("replayed_at IS NULL")
    if after is not None:
        died, place = parameters.bind(after.died_at, TIME), _bind_place(parameters, after.place)
        conditions.append(f"(died_at < {died} OR (died_at = {died} AND {_PLACE} > {place}))")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    sql = (
        f"SELECT {_WITHOUT_BYTES if brief else _WITH_BYTES} FROM {database}.{TABLE.name} "
        f"FINAL{where} ORDER BY died_at DESC, {', '.join(TABLE.order_by)}"
        f"{f' LIMIT {int(limit)}' if limit else ''}"
    )
    yield from stream(client, sql, parameters.values)


def find_dead_letter(client: Client, database: str, place: LetterPlace) -> dict[str, Any] | None:
    """Return the dead letter of a place with its bytes in base64, or None."""
    parameters = Parameters()
    sql = (
        f"SELECT {_WITH_BYTES}, length(letter.raw) AS size "
        f"FROM {database}.{TABLE.name} AS letter FINAL "
        f"WHERE {_PLACE} = {_bind_place(parameters, place)}"
    )
    return next(iter(list(stream(client, sql, parameters.values))), None)


def count_reasons(
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


def _bind_place(parameters: Parameters, place: LetterPlace) -> str:
    kinds = (STRING, "Int32", "Int64", "Int32")
    return f"({', '.join(map(parameters.bind, place, kinds))})"
