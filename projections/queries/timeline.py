"""Why a message has its status, and a page of its events with the part of each in it.

The status is read of the message's state, whatever number of events it has; events come page by
page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.ddl import merge_select, message_select
from projections.clickhouse.joining import ProviderId, edges_of
from projections.clickhouse.sql import Parameters, Query, stream
from projections.column_types import STRING, TIME
from projections.queries.links import link_url
from projections.queries.plain_reasons import plain_reason
from projections.status import explain, explanation_of, fold_message
from projections.tables import KEY, Projection, log_of, projections
from projections.tables.events import TABLE as EVENTS
from schemas.events import EPOCH, Channel
from schemas.identity import contradicting

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Events of a page, unless another number is asked for.
PAGE_EVENTS: Final = 500
_HOLDING: Final = "holding"


class EventPlace(NamedTuple):
    """The last event of a page: the next begins after it."""

    occurred_at: datetime
    event_id: str
    content: int


def tenants_with(client: Client, database: str, *, message_id: str, recipient: str) -> list[str]:
    """Return the tenants that have a message: for operators only."""
    parameters = Parameters()
    where = (
        f"recipient = {parameters.bind(recipient, STRING)} "
        f"AND message_id = {parameters.bind(message_id, STRING)}"
    )
    selects = (
        f"SELECT tenant_id FROM {database}.{log.state_table} WHERE {where}"
        for log in projections().values()
    )
    rows = client.query(" UNION DISTINCT ".join(selects), parameters=parameters.values).result_rows
    return sorted(row[0] for row in rows)


def explain_message(
    client: Client, database: str, *, channel: Channel, tenant: str, message_id: str,
    recipient: str, limit: int = PAGE_EVENTS, after: EventPlace | None = None,
) -> dict[str, Any] | None:  # fmt: skip
    """Return why a message has its status, and up to `limit` of its events, in order of time.

    None if there is no such message. An event's role is what it would make of the message alone:
    "decides" if that is the status it has, "lost" if it is another, "" if it says no more than
    that the message is under way. `edges` are what names messages for the ids that providers gave:
    one stands unless an earlier one names another message. `row` is the message in its log;
    `cause` is why it failed in plain words, None if it did not, and `advice` what to do;
    `preview_url` is where people can read it, as the events here say; `next` is the place after
    which there are more events, or None.
    """
    log, query = log_of(channel), Query(tenant)
    query.add(
        f"recipient = {query.bind(recipient, STRING)}",
        f"message_id = {query.bind(message_id, STRING)}",
    )
    row = _row_with_rules(client, database, log, query)
    if row is None:
        return None
    explanation = explanation_of(log, row["status_reason"], row.pop(_HOLDING))
    reason = plain_reason(channel, row)
    events = _events(client, database, log, query, limit + 1, after)
    has_more = len(events) > limit
    events = events[:limit]
    last = events[-1] if has_more else None
    ids = {event["provider_message_id"] for event in events} - {""}
    next_place = last and EventPlace(last["occurred_at"], last["event_id"], last["content"])
    return {
        **{name: row[name] for name in KEY},
        "channel": channel,
        "status": explanation.status,
        "status_reason": explanation.reason,
        "cause": reason.cause and reason.cause.model_dump(include={"name", "words"}),
        "advice": reason.advice,
        "rule": explanation.rule,
        "rule_place": explanation.place,
        "overruled": [{"status": status, "rule": rule} for status, rule in explanation.overruled],
        "row": row,
        "preview_url": _preview_url(events),
        "edges": _edges(
            client, database, [ProviderId(tenant, channel, each) for each in sorted(ids)]
        ),
        "facts": [_with_role(log, event, explanation.status) for event in events],
        "next": next_place,
    }


def _preview_url(events: Iterable[Mapping[str, Any]]) -> str:
    """Return the link that events in order of time say last, or ""."""
    links = [link_url(event["preview_url"]) for event in events]
    return next(filter(None, reversed(links)), "")


def _edges(client: Client, database: str, ids: Iterable[ProviderId]) -> list[dict[str, Any]]:
    """Return the edges of some ids in order of time, and whether they stand."""
    return [
        {
            "provider_message_id": provider_id.id, "message_id": edge.message_id,
            "recipient": edge.recipient, "attempt": edge.attempt, "provider": edge.provider,
            "occurred_at": EPOCH + timedelta(milliseconds=edge.at_ms),
            "stands": edge not in refuted,
        }
        for provider_id, edges in edges_of(client, database, ids).items()
        for refuted in [contradicting(edges)] for edge in sorted(edges, key=lambda each: each.at_ms)
    ]  # fmt: skip


def _row_with_rules(
    client: Client, database: str, log: Projection, query: Query
) -> dict[str, Any] | None:
    """Return a message as its log has it, and which rules hold of it, in their order."""
    merged = f"({merge_select(log, f'{database}.{log.state_table}', query.where)})"
    holding = ", ".join(rule.when.sql for rule in log.rules)
    sql = message_select(log, merged, more={_HOLDING: f"[{holding}]"})
    return next(stream(client, sql, query.values), None)


def _events(
    client: Client, database: str, log: Projection, query: Query, limit: int,
    after: EventPlace | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return distinct events of a message, the first recorded of copies, with their `content`."""
    place = "occurred_at, event_id, content"
    conditions = [query.where, f"channel = {query.bind(log.channel, STRING)}",
                  _when(client, database, log, query)]  # fmt: skip
    if after is not None:
        bound = (
            query.bind(after.occurred_at, TIME), query.bind(after.event_id, STRING),
            query.bind(after.content, "UInt64"),
        )  # fmt: skip
        conditions.append(f"({place}) > ({', '.join(bound)})")
    sql = (
        f"SELECT {', '.join(EVENTS.columns)}, content FROM {database}.{EVENTS.name} "
        f"WHERE {' AND '.join(conditions)} ORDER BY {place}, recorded_at "
        f"LIMIT 1 BY {place} LIMIT {int(limit)}"
    )
    return list(stream(client, sql, query.values))


def _when(client: Client, database: str, log: Projection, query: Query) -> str:
    """Return where in the events, which are in order of time, those of a message are.

    Its state knows the first and the last that count in the log; of the others there are few.
    """
    sql = (
        f"SELECT min(first_at), max(last_at) FROM {database}.{log.state_table} WHERE {query.where}"
    )
    first, last = client.query(sql, parameters=query.values).result_rows[0]
    kinds = f"kind IN {query.bind(sorted(log.kinds), f'Array({STRING})')}"
    start, end = query.bind(first, TIME), query.bind(last, TIME)
    return f"(({kinds} AND occurred_at >= {start} AND occurred_at <= {end}) OR NOT {kinds})"


def _with_role(log: Projection, event: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return what is set of an event, with its role in a message of a status."""
    under_way = log.rules[-1].status
    alone = explain(fold_message(log, [event])).status if event["kind"] in log.kinds else ""
    role = ""
    if alone not in ("", under_way):
        role = "decides" if alone == status else "lost"
    fields = {
        name: value for name, value in event.items()
        if name != "content" and value not in (None, "", 0, [])
    }  # fmt: skip
    return {**fields, "alone": alone, "role": role}
