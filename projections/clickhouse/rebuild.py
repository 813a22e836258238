"""A log refolded from the event store, in SQL, into a fresh table that is swapped in atomically.

While it runs, a second folding view writes every new event into the fresh table too, so nothing
that arrives meanwhile is missed; what is folded twice does not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.client import FatalError, scalar
from projections.clickhouse.ddl import (
    Target,
    fold_select,
    folding_view,
    log_select,
    state_table,
)
from projections.tables import KEY, Projection

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Bounds the engine's memory for one statement, and gives progress to show.
MAX_SLICE_EVENTS = 4_000_000
#: Rows that are folded already are not folded again as they are written (E-058).
_INSERT_SETTINGS: Final = {"optimize_on_insert": 0, "max_insert_threads": 2}


@dataclass(frozen=True, slots=True)
class RebuildProgress:
    """How far a rebuild is: `done` of `total` slices, and the number of all events."""

    done: int
    total: int
    events: int


@dataclass(frozen=True, slots=True)
class Replacement:
    """Events to fold in place of others.

    `events` is the table that holds them. `replaced` returns the condition on the event store for
    those they replace, within a slice of time (a condition on `occurred_at`, or '').
    """

    events: str
    replaced: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class RowChange:
    """How many rows differ, by their status before and after ('' where there was no row)."""

    before: str
    after: str
    rows: int
    columns: tuple[str, ...]  # columns that differ in at least one of them


def refuse_cluster(target: Target) -> None:
    """Raise `FatalError` if the database is on a cluster."""
    if target.cluster:
        raise FatalError(
            f"a rebuild works on one server, and this database is on cluster {target.cluster}: "
            "nothing was changed"
        )


def refold(
    client: Client, target: Target, log: Projection, instead: Replacement | None = None
) -> Iterator[RebuildProgress]:
    """Fold all events into a fresh table beside the log's; then call `swap` or `discard`.

    `instead` replaces some events of the event store. What an interrupted rebuild left is discarded
    first. Raises ClickHouse's errors.
    """
    refuse_cluster(target)
    discard_fresh(client, target, log)
    fresh = _fresh(log, target)
    client.command(state_table(log, target, fresh))
    client.command(folding_view(log, target, f"{fresh}_fold", fresh))
    wait_for_older_inserts(client)
    events = target.stored("events")
    count = int(
        scalar(
            client,
            f"SELECT count() FROM {events} WHERE channel = {{channel:String}}",
            {"channel": log.channel},
        )
    )
    slices = _time_slices(client, events, log, max(1, -(-count // MAX_SLICE_EVENTS)))
    columns = ", ".join([*KEY, *(fold.name for fold in log.folds)])
    for done, time_slice in enumerate(slices):
        yield RebuildProgress(done, len(slices), count)
        sources = {events: time_slice}
        if instead is not None:
            kept = f"NOT ({instead.replaced(time_slice)})"
            sources = {
                events: f"{time_slice} AND {kept}" if time_slice else kept,
                instead.events: time_slice,
            }
        for source, where in sources.items():
            client.command(
                f"INSERT INTO {fresh} ({columns}) {fold_select(log, source, where)}",
                settings=_INSERT_SETTINGS,
            )
    yield RebuildProgress(len(slices), len(slices), count)


def _time_slices(client: Client, events: str, log: Projection, count: int) -> list[str]:
    """Return conditions that cut all events of a log into slices of about the same size.

    Cut by time, because events of a kind lie in order of time: a slice reads only
    its own part. A message with events in two slices gets two partial states.
    """
    if count == 1:
        return [""]
    levels = ", ".join(str(number / count) for number in range(1, count))
    result = client.query(
        f"SELECT quantiles({levels})(toUnixTimestamp64Milli(occurred_at)) FROM {events} "
        "WHERE channel = {channel:String}",
        parameters={"channel": log.channel},
    )
    cuts = [f"fromUnixTimestamp64Milli({int(each)}, 'UTC')" for each in result.result_rows[0][0]]
    begins = ["", *(f"occurred_at >= {cut}" for cut in cuts)]
    ends = [*(f"occurred_at < {cut}" for cut in cuts), ""]
    return [" AND ".join(filter(None, each)) for each in zip(begins, ends, strict=True)]


def row_changes(client: Client, target: Target, log: Projection) -> list[RowChange]:
    """Return what a swap would change in the log, the largest change first."""
    names = [name for name in log.columns if name not in KEY]
    before = f"({log_select(log, f'{target.stored(log.state_table)} FINAL')})"
    after = f"({log_select(log, f'{_fresh(log, target)} FINAL')})"
    # NULL compares as the empty text: SQL would not report a change from or to NULL.
    differs = {
        name: f"ifNull(toString(old.{name}), '') != ifNull(toString(new.{name}), '')"
        for name in names
    }
    differing = ", ".join(f"if({test}, '{name}', '')" for name, test in differs.items())
    sql = (
        "SELECT old.status, new.status, count(), "
        f"groupUniqArrayArray(arrayFilter(x -> x != '', [{differing}])) "
        f"FROM {before} AS old FULL JOIN {after} AS new USING ({', '.join(KEY)}) "
        f"WHERE {' OR '.join(differs.values())} "
        "GROUP BY 1, 2 ORDER BY 3 DESC "
        "SETTINGS join_algorithm = 'full_sorting_merge', join_use_nulls = 0"
    )
    return [
        RowChange(old, new, int(rows), tuple(sorted(columns)))
        for old, new, rows, columns in client.query(sql).result_rows
    ]


def swap(client: Client, target: Target, log: Projection) -> None:
    """Put the fresh table in the log's place, atomically, and drop the old one."""
    stored, fresh = target.stored(log.state_table), _fresh(log, target)
    client.command(f"EXCHANGE TABLES {stored} AND {fresh}{target.on_cluster}")
    discard_fresh(client, target, log)


def discard_fresh(client: Client, target: Target, log: Projection) -> None:
    """Drop what a rebuild left; the view before the table it writes to."""
    fresh = _fresh(log, target)
    client.command(f"DROP VIEW IF EXISTS {fresh}_fold{target.on_cluster} SYNC")
    client.command(f"DROP TABLE IF EXISTS {fresh}{target.on_cluster} SYNC")


def wait_for_older_inserts(client: Client) -> None:
    """Wait for inserts that began before a new view or column existed: they do not feed it."""
    running = "SELECT query_id FROM system.processes WHERE query_kind = 'Insert'"
    older = {row[0] for row in client.query(running).result_rows}
    while older & {row[0] for row in client.query(running).result_rows}:
        time.sleep(0.1)


def _fresh(log: Projection, target: Target) -> str:
    return f"{target.stored(log.state_table)}_fresh"


def change_totals(changes: list[RowChange]) -> dict[str, Any]:
    """Return counts for a summary line: rows added, removed and changed."""
    return {
        "added": sum(c.rows for c in changes if not c.before),
        "removed": sum(c.rows for c in changes if not c.after),
        "changed": sum(c.rows for c in changes if c.before and c.after),
    }
