"""What differs, kept in a file beside the memory: history may differ in every event."""

from __future__ import annotations

import pickle
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

from processor.replay.event_rows import EventRow, differing_columns, digest_of, value_of
from projections.queries.message_events import MessageKey
from projections.tables import log_of
from schemas.events import Channel

#: Whether an event would be another, was not there, or would not be there.
Change = Literal["other", "new", "gone"]
_SCHEMA: Final = """
CREATE TABLE difference (
    source TEXT, change TEXT, columns TEXT, kind TEXT, topic TEXT, partition INTEGER,
    place INTEGER, reason TEXT, before BLOB, after BLOB, UNIQUE (before, after)
);
CREATE TABLE event (
    channel TEXT, tenant TEXT, recipient TEXT, message_id TEXT, at INTEGER, added INTEGER,
    digest BLOB, event BLOB,
    PRIMARY KEY (channel, tenant, recipient, message_id, added, digest)
) WITHOUT ROWID;
"""
_KEY: Final = "channel, tenant, recipient, message_id"


class Difference(NamedTuple):
    """An event of a record as it is stored, and as it would be; None where there is none.

    `source` is the provider, or the topic of what no provider reports; `reason` is why the record,
    or a part of it, would be rejected.
    """

    source: str
    topic: str
    partition: int
    offset: int
    before: EventRow | None
    after: EventRow | None
    reason: str = ""

    @property
    def change(self) -> Change:
        """What it is."""
        if self.before is None:
            return "new"
        return "gone" if self.after is None else "other"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that differ, of an event that would be another."""
        if self.before is None or self.after is None:
            return ()
        return differing_columns(self.before, self.after)

    @property
    def kind(self) -> str:
        """The kind of the event, as it is or would be."""
        return str(value_of(self.before or self.after or (), "kind"))


class DifferenceCount(NamedTuple):
    """How many events differ in one way."""

    source: str
    change: Change
    columns: tuple[str, ...]
    events: int


class DifferenceExample(NamedTuple):
    """One of the events that differ, and where its record is."""

    source: str
    change: Change
    columns: tuple[str, ...]
    kind: str
    topic: str
    partition: int
    offset: int
    reason: str


class ChangedMessage(NamedTuple):
    """A row that may change: the events that go from it, by digest, and those that come."""

    key: MessageKey
    removed: frozenset[bytes]
    added: Sequence[EventRow]


class DifferenceStore:
    """Differences in a temporary file; each is kept once, however many copies of it there are."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="sendlog-")
        self._database = sqlite3.connect(Path(self._folder.name) / "differences", timeout=60)
        # It is of no use after a crash.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the file."""
        self._database.close()
        self._folder.cleanup()

    def add(self, differences: Sequence[Difference]) -> None:
        """Keep differences, and the events that rows would lose and get by them."""
        rows, events = list[tuple[object, ...]](), list[tuple[object, ...]]()
        for each in differences:
            before, after = digest_of(each.before), digest_of(each.after)
            rows.append((
                each.source, each.change, " ".join(each.columns), each.kind,
                each.topic, each.partition, each.offset, each.reason, before, after,
            ))  # fmt: skip
            for added, digest, event in ((0, before, each.before), (1, after, each.after)):
                if event is not None:
                    events += _counting(event, added, digest)
        insert = "INSERT OR IGNORE INTO"
        self._database.executemany(f"{insert} difference VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
        self._database.executemany(f"{insert} event VALUES (?,?,?,?,?,?,?,?)", events)

    def finish(self) -> None:
        """Leave out what would be new by one record, and is there by another already."""
        self._database.execute(
            "DELETE FROM difference WHERE change = 'new' AND after IN "
            "(SELECT after FROM difference WHERE change = 'other')"
        )

    def counts(self) -> list[DifferenceCount]:
        """Return how many events differ in each way, the commonest first."""
        rows = self._database.execute(
            "SELECT source, change, columns, count(*) FROM difference GROUP BY 1, 2, 3 "
            "ORDER BY 4 DESC, 1, 2, 3"
        )
        return [DifferenceCount(row[0], row[1], tuple(row[2].split()), row[3]) for row in rows]

    def examples(self, count: int) -> Iterator[DifferenceExample]:
        """Yield some events of each way in which any differ."""
        rows = self._database.execute(
            "SELECT source, change, columns, kind, topic, partition, place, reason FROM ("
            "SELECT *, row_number() OVER (PARTITION BY source, change, columns ORDER BY rowid) "
            "AS number, rowid AS line FROM difference) WHERE number <= ? ORDER BY line",
            (count,),
        )
        for source, change, columns, *rest in rows:
            yield DifferenceExample(source, change, tuple(columns.split()), *rest)

    def message_count(self) -> int:
        """Return how many rows may change."""
        sql = f"SELECT count(*) FROM (SELECT DISTINCT {_KEY} FROM event)"
        return int(self._database.execute(sql).fetchone()[0])

    def messages(self, size: int) -> Iterator[tuple[Channel, str, list[ChangedMessage]]]:
        """Yield the rows that may change: channel, tenant, and up to `size` of about one time."""
        batch: list[ChangedMessage] = []
        owner: tuple[Channel, str] = ("email", "")
        keys = self._database.execute(
            f"SELECT {_KEY} FROM event GROUP BY {_KEY} ORDER BY channel, tenant, min(at)"
        )
        for channel, tenant, recipient, message_id in keys:
            if batch and (len(batch) == size or owner != (channel, tenant)):
                yield *owner, batch
                batch = []
            owner = (channel, tenant)
            batch.append(self._message(channel, tenant, MessageKey(recipient, message_id)))
        if batch:
            yield *owner, batch

    def _message(self, channel: str, tenant: str, key: MessageKey) -> ChangedMessage:
        removed, added = set[bytes](), list[EventRow]()
        rows = self._database.execute(
            "SELECT added, digest, event FROM event WHERE channel = ? AND tenant = ? "
            "AND recipient = ? AND message_id = ?",
            (channel, tenant, *key),
        )
        for is_added, digest, event in rows:
            if is_added:
                added.append(pickle.loads(event))  # noqa: S301 - written by this process
            else:
                removed.add(digest)
        return ChangedMessage(key, frozenset(removed), added)


def _counting(event: EventRow, added: int, digest: bytes) -> Iterator[tuple[object, ...]]:
    """Yield the line of an event that counts in a row of a log."""
    names = ("channel", "tenant_id", "recipient", "message_id")
    channel, tenant, recipient, message_id = (value_of(event, name) for name in names)
    if recipient and message_id and value_of(event, "kind") in log_of(channel).kinds:
        at = int(value_of(event, "occurred_at").timestamp() * 1000)
        kept = pickle.dumps(event) if added else b""
        yield channel, tenant, recipient, message_id, at, added, digest, kept
