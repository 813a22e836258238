"""What a row of a log becomes by other events: folded in Python, before and after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from processor.replay.event_rows import EventRow, as_event, digest_of, rows_of, value_of
from projections.queries.message_events import MessageKey, events_of_messages
from projections.status import fold_message, read_row
from projections.tables import KEY, Projection
from schemas.events import milliseconds

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from processor.replay.differences import ChangedMessage

Row = Mapping[str, Any]


class ChangedRow(NamedTuple):
    """A row that would be another: its status before and after, '' for none, and its columns."""

    log: str
    tenant: str
    key: MessageKey
    before: str
    after: str
    columns: tuple[str, ...]


def row_of(
    log: Projection, tenant: str, key: MessageKey, events: Iterable[EventRow]
) -> dict[str, Any] | None:
    """Return the row of a message's events; None if none counts."""
    counting = [row for row in events if value_of(row, "kind") in log.kinds]
    if not counting:
        return None
    named = dict(zip(KEY, (tenant, *key), strict=True))
    return read_row(log, named, fold_message(log, map(as_event, counting)))


def changed_columns(before: Row | None, after: Row | None) -> tuple[str, ...]:
    """Return the columns in which two rows differ; all if there is but one."""
    old, new = before or {}, after or {}
    names = [name for name in {**old, **new} if name not in KEY]
    return tuple(
        name for name in names
        if name not in old or name not in new or comparable(old[name]) != comparable(new[name])
    )  # fmt: skip


def changed_rows(
    client: Client, database: str, log: Projection, tenant: str, messages: Sequence[ChangedMessage]
) -> Iterator[ChangedRow]:
    """Yield those rows of messages that their changed events would change."""
    keys = [message.key for message in messages]
    stored: dict[MessageKey, list[EventRow]] = {key: [] for key in keys}
    for row in rows_of(events_of_messages(client, database, log, tenant, keys)):
        stored[key_of(row)].append(row)
    for message in messages:
        old = stored[message.key]
        new = [row for row in old if digest_of(row) not in message.removed] + [*message.added]
        before, after = (row_of(log, tenant, message.key, events) for events in (old, new))
        if columns := changed_columns(before, after):
            was, is_now = (str((row or {}).get("status", "")) for row in (before, after))
            yield ChangedRow(log.name, tenant, message.key, was, is_now, columns)


def key_of(row: EventRow) -> MessageKey:
    """Return the row of its log that an event counts in."""
    return MessageKey(value_of(row, "recipient"), value_of(row, "message_id"))


def comparable(value: Any) -> Any:
    """Return a value of a row by which it equals the same from the engine."""
    if isinstance(value, datetime):
        return milliseconds(value)
    return list(value) if isinstance(value, tuple) else value
