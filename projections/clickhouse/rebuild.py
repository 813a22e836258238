"""A log refolded from the event store, in SQL, into a fresh table that is swapped in atomically.

While it runs, a second folding view writes every new event into the fresh table too, so nothing
that arrives meanwhile is missed; what is folded twice does not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from projections.clickhouse.client import FatalError, scalar
from projections.clickhouse.ddl import (
    KEY_HASH,
    Target,
    fold_select,
    folding_view,
    log_select,
    state_table,
)
from projections.expressions import quote
from projections.tables import KEY, Projection

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Bounds the engine's memory for one statement, and gives progress to show.
MAX_SLICE_EVENTS = 4_000_000
#: What a run left that began so long ago is of a run that has died.
STALE_SECONDS: Final = 24 * 3600
#: Between the name of a table of states and what tells one run from another.
_RUN_SUFFIX: Final = "_fresh"
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


class Rebuild:
    """One run: a log folded into a table of its own, which takes the log's place at `swap`.

    Made by `begin`. Methods raise ClickHouse's errors.
    """

    def __init__(self, client: Client, target: Target, log: Projection, table: str) -> None:
        self.log = log
        #: Tables of other runs that were discarded for it.
        self.discarded: Sequence[str] = ()
        self._client, self._target, self._table = client, target, table
        self._uuid = _uuid_of(client, table)
        self._folded_keys = 0

    def fold(self, instead: Replacement | None = None) -> Iterator[RebuildProgress]:
        """Fold all events; then call `swap` or `discard`.

        `instead` replaces some events of the event store.
        """
        client, log = self._client, self.log
        events = self._target.stored("events")
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
                    f"INSERT INTO {self._table} ({columns}) {fold_select(log, source, where)}",
                    settings=_INSERT_SETTINGS,
                )
        self._folded_keys = self._count_keys()
        yield RebuildProgress(len(slices), len(slices), count)

    def row_changes(self) -> list[RowChange]:
        """Return what a swap would change in the log, the largest change first."""
        log = self.log
        names = [name for name in log.columns if name not in KEY]
        before = f"({log_select(log, f'{self._target.stored(log.state_table)} FINAL')})"
        after = f"({log_select(log, f'{self._table} FINAL')})"
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
            for old, new, rows, columns in self._client.query(sql).result_rows
        ]

    def swap(self) -> None:
        """Put the table in the log's place, atomically, and drop the old one.

        Raises `FatalError` if it is not the one that was folded, or has fewer messages.
        """
        if _uuid_of(self._client, self._table) != self._uuid:
            raise FatalError(
                f"another run has discarded this rebuild of {self.log.name}: nothing was changed"
            )
        if (keys := self._count_keys()) < self._folded_keys:
            raise FatalError(
                f"{self._table} has {keys:,} messages, and {self._folded_keys:,} were folded into "
                "it: nothing was changed"
            )
        stored = self._target.stored(self.log.state_table)
        self._client.command(f"EXCHANGE TABLES {stored} AND {self._table}{self._target.on_cluster}")
        self.discard()

    def discard(self) -> None:
        """Drop what the run made."""
        _discard(self._client, self._target, self._table)

    def _count_keys(self) -> int:
        return int(scalar(self._client, f"SELECT uniqExact({KEY_HASH}) FROM {self._table}"))


def begin(client: Client, target: Target, log: Projection, *, take_over: bool = False) -> Rebuild:
    """Begin to rebuild a log: from now on new events reach its fresh table, too.

    What a run left that began more than `STALE_SECONDS` ago is discarded; with `take_over` that of
    any other run. Else a run that is under way raises `FatalError`, as a cluster does.
    """
    refuse_cluster(target)
    left = _runs(client, target, log)
    for table, seconds in left:
        if not take_over and seconds < STALE_SECONDS:
            raise FatalError(
                f"another rebuild of {log.name} began {seconds // 60} minutes ago: wait for it, or "
                "if nobody runs it, take over (sendlog rebuild --take-over)"
            )
        _discard(client, target, table)
    table = f"{target.stored(log.state_table)}{_RUN_SUFFIX}_{uuid4().hex[:12]}"
    client.command(state_table(log, target, table))
    run = Rebuild(client, target, log, table)
    if len(_runs(client, target, log)) > 1:  # begun at once; the other may not know
        run.discard()
        raise FatalError(f"another rebuild of {log.name} has just begun: wait for it")
    client.command(folding_view(log, target, f"{table}_fold", table))
    wait_for_older_inserts(client, target)
    run.discarded = [name for name, _ in left]
    return run


def _runs(client: Client, target: Target, log: Projection) -> list[tuple[str, int]]:
    """Return the tables of runs, and how many seconds ago each was made."""
    name = target.stored(log.state_table).partition(".")[2]
    rows = client.query(
        "SELECT name, toUInt64(now() - metadata_modification_time) FROM system.tables "
        "WHERE database = {database:String} AND startsWith(name, {prefix:String}) "
        "AND engine != 'MaterializedView' ORDER BY name",
        parameters={"database": target.database, "prefix": f"{name}{_RUN_SUFFIX}"},
    ).result_rows
    return [(f"{target.database}.{name}", int(seconds)) for name, seconds in rows]


def _uuid_of(client: Client, table: str) -> str:
    """Return the UUID of a table, '' if there is none."""
    database, _, name = table.partition(".")
    rows = client.query(
        "SELECT toString(uuid) FROM system.tables "
        "WHERE database = {database:String} AND name = {name:String}",
        parameters={"database": database, "name": name},
    ).result_rows
    return str(rows[0][0]) if rows else ""


def _discard(client: Client, target: Target, table: str) -> None:
    """Drop what a run made; the view before the table it writes to."""
    client.command(f"DROP VIEW IF EXISTS {table}_fold{target.on_cluster} SYNC")
    client.command(f"DROP TABLE IF EXISTS {table}{target.on_cluster} SYNC")


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


def wait_for_older_inserts(client: Client, target: Target) -> None:
    """Wait for inserts that began before a new view or column existed: they do not feed it."""
    processes = "system.processes"
    if target.cluster:
        processes = f"clusterAllReplicas({quote(target.cluster)}, system.processes)"
    running = f"SELECT query_id FROM {processes} WHERE query_kind = 'Insert'"
    older = {row[0] for row in client.query(running).result_rows}
    while older & {row[0] for row in client.query(running).result_rows}:
        time.sleep(0.1)


def change_totals(changes: list[RowChange]) -> dict[str, Any]:
    """Return counts for a summary line: rows added, removed and changed."""
    return {
        "added": sum(c.rows for c in changes if not c.before),
        "removed": sum(c.rows for c in changes if not c.after),
        "changed": sum(c.rows for c in changes if c.before and c.after),
    }
