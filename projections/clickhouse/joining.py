"""Unmatched events are joined to their messages, as far as edges say which.

An event is joined by being inserted once more, as one of its message, beside an event `joined` that
hides the row of the provider's id. Nothing is deleted, and to do it twice changes nothing. Who
inserts edges or unmatched events looks for the others afterwards: of two workers that do so at the
same time at least one sees what the other has inserted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

import pyarrow as pa

from projections.clickhouse.ddl import fold_select
from projections.clickhouse.sql import Parameters, fetch_rows, stream
from projections.clickhouse.store import Insert, arrow_schema, insert_settings
from projections.tables import KEY, Table, projections
from projections.tables.edges import TABLE as EDGES
from projections.tables.events import TABLE as EVENTS
from projections.tables.events import ZEROS
from projections.tables.shared import IS_MAILERS
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.addresses import is_pseudonym
from schemas.events import JOINED_KIND, milliseconds
from schemas.identity import Edge, Identity, identity_of_event, joined_event_id, joined_fields
from schemas.pseudonyms import without_texts

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Events that are joined by one insert.
MAX_BATCH_EVENTS: Final = 5_000
#: Ids of the past that are joined together; what binds them stays far below a server's limits.
MAX_BATCH_IDS: Final = 1_000


class ProviderId(NamedTuple):
    """The id that a provider gave an attempt, within a tenant's channel."""

    tenant_id: str
    channel: str
    id: str


class _UnmatchedEvent(NamedTuple):
    """What is kept of an unmatched event, and the message that it is joined to, if any."""

    provider_id: ProviderId
    kind: str
    occurred_at: datetime
    event_id: str
    joined_id: str

    @property
    def key(self) -> tuple[str, str, str, datetime, str]:
        """Where it is in `events`."""
        tenant, channel, _ = self.provider_id
        return tenant, channel, self.kind, self.occurred_at, self.event_id


def edges_of(
    client: Client, database: str, ids: Iterable[ProviderId]
) -> Mapping[ProviderId, list[Edge]]:
    """Return the edges of some ids, of those that have any. Raises ClickHouse's errors."""
    edges: defaultdict[ProviderId, list[Edge]] = defaultdict(list)
    for row in _rows_of(client, f"{database}.{EDGES.name}", ids):
        edge = Edge(
            row["provider"], row["message_id"], row["recipient"],
            milliseconds(row["occurred_at"]), row["attempt"],
        )  # fmt: skip
        edges[_provider_id(row)].append(edge)
    return edges


class Joined(NamedTuple):
    """Events that were joined, as rows of `events`; and rows of `unmatched` that say so.

    The latter are for the caller to insert, when all that follows from the former is done.
    """

    events: list[dict[str, Any]]
    marks: pa.Table


NOTHING_JOINED: Final = Joined([], arrow_schema(UNMATCHED).empty_table())


def join(client: Client, database: str, ids: Iterable[ProviderId], insert: Insert) -> Joined:
    """Join the unmatched events of some ids. Raises as `insert` and ClickHouse do.

    What is joined already stays where it is, whatever else an edge may say since.
    """
    unmatched = [
        event for event in _unmatched_of(client, database, ids) if not event.joined_id
    ]  # fmt: skip
    if not unmatched:
        return NOTHING_JOINED
    edges = edges_of(client, database, {event.provider_id for event in unmatched})
    keys = sorted(event.key for event in unmatched if event.provider_id in edges)
    joined: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for start in range(0, len(keys), MAX_BATCH_EVENTS):
        batch = list(_identified(client, database, keys[start : start + MAX_BATCH_EVENTS], edges))
        events = [
            {**_joinable(event, identity), **joined_fields(event, identity)}
            for event, identity in batch
        ]
        insert(EVENTS, _table(EVENTS, [*events, *hiding_events(events)]))
        joined += events
        marks += (_mark(event, identity) for event, identity in batch)
    return Joined(joined, _table(UNMATCHED, marks))


def join_history(client: Client, database: str, insert: Insert) -> Iterator[int]:
    """Join all that is unmatched and has an edge; yield how many events, a batch after the other.

    Workers may go on meanwhile. Raises as `join` does: then the next run does the rest.
    """
    last = ("", "", 0, "")
    while ids := _ids_with_edges(client, database, last):
        _fold_own_events(client, database, [ProviderId(*each[:2], each[3]) for each in ids])
        joined = join(client, database, [ProviderId(*each[:2], each[3]) for each in ids], insert)
        insert(UNMATCHED, joined.marks)
        yield len(joined.events)
        last = ids[-1]


def _ids_with_edges(
    client: Client, database: str, last: tuple[str, str, int, str]
) -> list[tuple[str, str, int, str]]:
    """Return the next ids of unmatched events that an edge has, too."""
    key = "tenant_id, channel, id_hash, provider_message_id"
    parameters = Parameters()
    place = ", ".join(
        parameters.bind(value, kind)
        for value, kind in zip(last, ("String", "String", "UInt32", "String"), strict=True)
    )
    rows = fetch_rows(
        client,
        f"SELECT DISTINCT {key} FROM {database}.{UNMATCHED.name} WHERE ({key}) > ({place}) "
        f"AND ({key}) GLOBAL IN (SELECT {key} FROM {database}.{EDGES.name}) "
        f"ORDER BY {key} LIMIT {MAX_BATCH_IDS}",
        parameters.values,
    )
    return [(row[0], row[1], row[2], row[3]) for row in rows]


def _fold_own_events(client: Client, database: str, ids: Sequence[ProviderId]) -> None:
    """Fold what mailers say by some ids once more: states from before do not show that they did.

    To fold an event again changes nothing.
    """
    for log in projections().values():
        own = [(each.tenant_id, each.id) for each in ids if each.channel == log.channel]
        if not own:
            continue
        parameters = Parameters()
        # Bound, not sent along: the client has no other way for a statement that inserts.
        tenants = parameters.bind(sorted({tenant for tenant, _ in own}), "Array(String)")
        names = parameters.bind([name for _, name in own], "Array(String)")
        where = f"tenant_id IN {tenants} AND message_id IN {names} AND {IS_MAILERS.sql}"
        columns = ", ".join([*KEY, *(fold.name for fold in log.folds)])
        client.command(
            f"INSERT INTO {database}.{log.state_table} ({columns}) "
            f"{fold_select(log, f'{database}.{EVENTS.name}', where)}",
            parameters=parameters.values,
            settings=insert_settings(client),
        )


def _identified(
    client: Client,
    database: str,
    keys: Sequence[tuple[Any, ...]],
    edges: Mapping[ProviderId, Sequence[Edge]],
) -> Iterator[tuple[dict[str, Any], Identity]]:
    """Yield the events of some keys of which edges say what they are of."""
    for event in _events(client, database, keys):
        identity = identity_of_event(event, edges[_provider_id(event)])
        if identity is not None:
            yield event, identity


def _joinable(event: dict[str, Any], identity: Identity) -> dict[str, Any]:
    """Return an event as it may be joined: of who was forgotten without what tells of a person."""
    return without_texts(event) if is_pseudonym(identity.recipient) else event


def _mark(event: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
    """Return the row of `unmatched` that says what an event is joined to."""
    named = {name: event[name] for name in UNMATCHED.columns if name in event}
    joined = {"joined_id": identity.message_id, "joined_recipient": identity.recipient}
    return {**named, **joined, "version": 1}


def hiding_events(joined: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what hides the rows that events had before they were joined: one for each row."""
    rows = {
        (event["tenant_id"], event["channel"], event["other_id"], event["recipient"]): event
        for event in joined
    }
    for (tenant, channel, other_id, recipient), event in sorted(rows.items()):
        identity = Identity(event["message_id"], recipient)
        yield {
            **ZEROS,
            "tenant_id": tenant, "channel": channel, "kind": JOINED_KIND,
            "message_id": other_id, "recipient": recipient, "other_id": identity.message_id,
            "occurred_at": event["occurred_at"], "recorded_at": event["recorded_at"],
            "event_id": joined_event_id(f"{tenant}\x1f{channel}\x1f{other_id}", identity),
        }  # fmt: skip


def _unmatched_of(
    client: Client, database: str, ids: Iterable[ProviderId]
) -> Iterator[_UnmatchedEvent]:
    latest: dict[tuple[Any, ...], tuple[int, _UnmatchedEvent]] = {}
    for row in _rows_of(client, f"{database}.{UNMATCHED.name}", ids):
        event = _UnmatchedEvent(
            _provider_id(row), row["kind"], row["occurred_at"], row["event_id"], row["joined_id"]
        )
        version, _ = latest.get(event.key, (-1, event))
        if row["version"] > version:
            latest[event.key] = row["version"], event
    return (event for _, event in latest.values())


def _rows_of(client: Client, table: str, ids: Iterable[ProviderId]) -> Iterator[dict[str, Any]]:
    values = [(each.tenant_id, each.channel, crc32(each.id.encode()), each.id) for each in ids]
    if not values:
        return iter(())
    parameters = Parameters()
    among = parameters.bind_list(values, "String", "String", "UInt32", "String")
    return stream(
        client,
        f"SELECT * FROM {table} "
        f"WHERE (tenant_id, channel, id_hash, provider_message_id) IN {among}",
        parameters.values,
    )


def _events(
    client: Client, database: str, keys: Sequence[tuple[Any, ...]]
) -> Iterator[dict[str, Any]]:
    """Yield the events of some keys as they came."""
    parameters = Parameters()
    values = [
        (tenant, channel, kind, milliseconds(at), event_id)
        for tenant, channel, kind, at, event_id in keys
    ]  # fmt: skip
    among = parameters.bind_list(values, "String", "String", "String", "Int64", "String")
    times = [milliseconds(key[3]) for key in keys]
    start, end = (parameters.bind(each, "Int64") for each in (min(times), max(times)))
    columns = ", ".join(EVENTS.columns)
    return stream(
        client,
        f"SELECT {columns} FROM {database}.{EVENTS.name} "
        f"WHERE occurred_at >= fromUnixTimestamp64Milli({start}, 'UTC') "
        f"AND occurred_at <= fromUnixTimestamp64Milli({end}, 'UTC') AND "
        "(tenant_id, channel, kind, toUnixTimestamp64Milli(occurred_at), event_id) "
        f"IN {among} AND other_id = ''",
        parameters.values,
    )


def _provider_id(row: Mapping[str, Any]) -> ProviderId:
    return ProviderId(row["tenant_id"], row["channel"], row["provider_message_id"])


def _table(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=arrow_schema(table))
