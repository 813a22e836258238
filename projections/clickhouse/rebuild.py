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
    REBUILD_SUFFIX,
    SHARD_KEY,
    Target,
    distributed_table,
    fold_select,
    folding_view,
    log_select,
    state_table,
)
from projections.tables import KEY, Projection
from projections.tables.forgetting import TABLE as FORGETTING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Bounds the engine's memory for one statement, and gives progress to show.
MAX_SLICE_EVENTS = 4_000_000
#: What a run left that began so long ago is of a run that has died.
STALE_SECONDS: Final = 24 * 3600
#: Rows that are folded already are not folded again as they are written (E-058).
_INSERT_SETTINGS: Final = {
    "optimize_on_insert": 0,
    "max_insert_threads": 2,
    # Each shard inserts what it has selected into its own table.
    "parallel_distributed_insert_select": 2,
}


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


class Rebuild:
    """One run: a log folded into a table of its own, which takes the log's place at `swap`.

    Made by `begin`. Methods raise ClickHouse's errors.
    """

    def __init__(self, client: Client, target: Target, log: Projection, name: str) -> None:
        self.log = log
        #: Tables of other runs that were discarded for it.
        self.discarded: Sequence[str] = ()
        self._client, self._target, self._name = client, target, name
        self._table, self._stored = f"{target.database}.{name}", target.stored(name)
        self._uuids = _uuids_of(client, target, name)
        self._folded_keys: dict[int, int] = {}

    def fold(self, instead: Replacement | None = None) -> Iterator[RebuildProgress]:
        """Fold all events; then call `swap` or `discard`.

        `instead` replaces some events of the event store.
        """
        client, log = self._client, self.log
        events = f"{self._target.database}.events"
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
        sync_replicas(client, self._target, self._name)
        self._folded_keys = self._count_keys()
        yield RebuildProgress(len(slices), len(slices), count)

    def row_changes(self) -> list[RowChange]:
        """Return what a swap would change in the log, the largest change first."""
        log = self.log
        names = [name for name in log.columns if name not in KEY]
        sync_replicas(self._client, self._target, log.state_table)
        before = f"({log_select(log, f'{self._target.stored(log.state_table)} FINAL')})"
        after = f"({log_select(log, f'{self._stored} FINAL')})"
        # NULL compares as the empty text: SQL would not report a change from or to NULL.
        differs = {
            name: f"ifNull(toString(old.{name}), '') != ifNull(toString(new.{name}), '')"
            for name in names
        }
        differing = ", ".join(f"if({test}, '{name}', '')" for name, test in differs.items())
        # All of a recipient is on one shard: each compares what it has.
        changes = (
            "SELECT old.status AS before, new.status AS after, count() AS changed, "
            f"groupUniqArrayArray(arrayFilter(x -> x != '', [{differing}])) AS names "
            f"FROM {before} AS old FULL JOIN {after} AS new USING ({', '.join(KEY)}) "
            f"WHERE {' OR '.join(differs.values())} GROUP BY before, after"
        )
        sql = (
            "SELECT before, after, sum(changed), groupUniqArrayArray(names) "
            f"FROM {self._target.each_shard(changes)} GROUP BY before, after "
            "ORDER BY 3 DESC, before, after "
            "SETTINGS join_algorithm = 'full_sorting_merge', join_use_nulls = 0"
        )
        return [
            RowChange(old, new, int(rows), tuple(sorted(columns)))
            for old, new, rows, columns in self._client.query(sql).result_rows
        ]

    def swap(self) -> None:
        """Put the table in the log's place, atomically on each server, and drop the old one.

        Raises `FatalError` if it is not the one that was folded on every server, or has fewer
        messages on a shard.
        """
        if _uuids_of(self._client, self._target, self._name) != self._uuids:
            raise FatalError(
                f"another run has discarded this rebuild of {self.log.name}: nothing was changed"
            )
        keys = self._count_keys()
        for shard, folded in self._folded_keys.items():
            if keys.get(shard, 0) < folded:
                place = f" on shard {shard}" if self._target.cluster else ""
                raise FatalError(
                    f"{self._table} has {keys.get(shard, 0):,} messages{place}, and {folded:,} "
                    "were folded into it: nothing was changed"
                )
        stored = self._target.stored(self.log.state_table)
        self._client.command(
            f"EXCHANGE TABLES {stored} AND {self._stored}{self._target.on_cluster}"
        )
        self.discard()

    def discard(self) -> None:
        """Drop what the run made."""
        _discard(self._client, self._target, self._name)

    def _count_keys(self) -> dict[int, int]:
        """Return how many messages the table has, by the number of the shard."""
        shard = "_shard_num" if self._target.cluster else "0"
        sql = f"SELECT {shard} AS shard, uniqExact({KEY_HASH}) FROM {self._table} GROUP BY shard"
        return {int(number): int(keys) for number, keys in self._client.query(sql).result_rows}


def begin(client: Client, target: Target, log: Projection, *, take_over: bool = False) -> Rebuild:
    """Begin to rebuild a log: from now on new events reach its fresh table, too.

    What a run left that began more than `STALE_SECONDS` ago is discarded; with `take_over` that of
    any other run. Else a run that is under way raises `FatalError`.
    """
    left = _runs(client, target, log)
    for name, seconds in left:
        if not take_over and seconds < STALE_SECONDS:
            raise FatalError(
                f"another rebuild of {log.name} began {seconds // 60} minutes ago: wait for it, or "
                "if nobody runs it, take over (sendlog rebuild --take-over)"
            )
        _discard(client, target, name)
    name = f"{log.state_table}{REBUILD_SUFFIX}_{uuid4().hex[:12]}"
    client.command(state_table(log, target, target.stored(name)))
    for statement in distributed_table(name, target, SHARD_KEY):
        client.command(statement)
    run = Rebuild(client, target, log, name)
    if len(_runs(client, target, log)) > 1:  # begun at once; the other may not know
        run.discard()
        raise FatalError(f"another rebuild of {log.name} has just begun: wait for it")
    if scalar(client, f"SELECT count() FROM {target.database}.{FORGETTING.name}"):
        run.discard()  # it would bring back whom its events were folded of before
        raise FatalError(
            "a person is being forgotten: wait for it, or run it again if it broke off"
        )
    fold = f"{target.database}.{name}_fold"
    client.command(folding_view(log, target, fold, target.stored(name)))
    wait_for_older_inserts(client, target)
    sync_replicas(client, target, "events")
    run.discarded = [f"{target.database}.{name}" for name, _ in left]
    return run


def _runs(client: Client, target: Target, log: Projection) -> list[tuple[str, int]]:
    """Return the tables of runs on any node, and how many seconds ago each was made."""
    rows = client.query(
        "SELECT replaceRegexpOne(name, '_local$', '') AS run, "
        "toUInt64(max(now() - metadata_modification_time)) "
        f"FROM {target.system('tables')} "
        "WHERE database = {database:String} AND startsWith(name, {prefix:String}) "
        "AND engine != 'MaterializedView' GROUP BY run ORDER BY run",
        parameters={"database": target.database, "prefix": f"{log.state_table}{REBUILD_SUFFIX}"},
    ).result_rows
    return [(str(name), int(seconds)) for name, seconds in rows]


def _uuids_of(client: Client, target: Target, table: str) -> list[str]:
    """Return the UUIDs of a stored table, one of each node that has it."""
    rows = client.query(
        f"SELECT toString(uuid) AS id FROM {target.system('tables')} "
        "WHERE database = {database:String} AND name = {name:String} ORDER BY id",
        parameters={
            "database": target.database, "name": target.stored(table).partition(".")[2],
        },
    ).result_rows  # fmt: skip
    return [str(row[0]) for row in rows]


def _discard(client: Client, target: Target, name: str) -> None:
    """Drop what a run made; the view before the table it writes to."""
    table = f"{target.database}.{name}"
    client.command(f"DROP VIEW IF EXISTS {table}_fold{target.on_cluster} SYNC")
    for each in dict.fromkeys([table, target.stored(name)]):
        client.command(f"DROP TABLE IF EXISTS {each}{target.on_cluster} SYNC")


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
    running = f"SELECT query_id FROM {target.system('processes')} WHERE query_kind = 'Insert'"
    older = {row[0] for row in client.query(running).result_rows}
    while older & {row[0] for row in client.query(running).result_rows}:
        time.sleep(0.1)


def sync_replicas(client: Client, target: Target, table: str) -> None:
    """Wait until every replica has what was inserted into a table before, as any may be read."""
    if target.cluster:
        client.command(f"SYSTEM SYNC REPLICA{target.on_cluster} {target.stored(table)} LIGHTWEIGHT")


def change_totals(changes: list[RowChange]) -> dict[str, Any]:
    """Return counts for a summary line: rows added, removed and changed."""
    return {
        "added": sum(c.rows for c in changes if not c.before),
        "removed": sum(c.rows for c in changes if not c.after),
        "changed": sum(c.rows for c in changes if c.before and c.after),
    }
