"""Every event of a message, and why it has its status: the rule, and each event's part in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from projections.clickhouse.sql import Parameters, Query, stream
from projections.column_types import STRING, TIME
from projections.status import explain, fold_message, read_row
from projections.tables import KEY, Projection, log_of, projections
from projections.tables.events import TABLE as EVENTS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def timeline(
    client: Client, database: str, *, message_id: str, recipient: str, tenant: str | None = None
) -> list[dict[str, Any]]:
    """Return every distinct event of one message and recipient, in order of time.

    Without a `tenant` the events of all tenants are returned: for operators only.
    """
    parameters = Parameters() if tenant is None else Query(tenant)
    conditions = [parameters.of_tenant] if isinstance(parameters, Query) else []
    conditions.append(f"recipient = {parameters.bind(recipient, STRING)}")
    conditions.append(f"message_id = {parameters.bind(message_id, STRING)}")
    of_message = " AND ".join(conditions)
    when = " OR ".join(
        _when(client, database, log, of_message, parameters) for log in projections().values()
    )
    sql = (
        f"SELECT {', '.join(EVENTS.columns)} FROM {database}.{EVENTS.name} FINAL "
        f"WHERE {of_message} AND ({when}) ORDER BY occurred_at, recorded_at, event_id"
    )
    return list(stream(client, sql, parameters.values))


def _when(
    client: Client, database: str, log: Projection, of_message: str, parameters: Parameters
) -> str:
    """Return where in the events, which are in order of time, those of a message are.

    Its state knows the first and the last that count in the log; of the others there are few.
    """
    sql = f"SELECT min(first_at), max(last_at) FROM {database}.{log.state_table} WHERE {of_message}"
    first, last = client.query(sql, parameters=parameters.values).result_rows[0]
    kinds = f"kind IN {parameters.bind(sorted(log.kinds), f'Array({STRING})')}"
    within = "false"
    if first is not None:
        start, end = parameters.bind(first, TIME), parameters.bind(last, TIME)
        within = f"{kinds} AND occurred_at >= {start} AND occurred_at <= {end}"
    channel = parameters.bind(log.channel, STRING)
    return f"(channel = {channel} AND ({within} OR NOT {kinds}))"


def explain_events(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return why a message has its status, of its events, at least one, in order of time.

    An event's role is what it would make of the message alone: "decides" if that is the status it
    has, "lost" if it is another, "" if it says no more than that the message is under way. `row`
    is the message in its log.
    """
    channel = events[0]["channel"]
    log = log_of(channel)
    state = fold_message(log, events)
    explanation = explain(state)
    key = {name: events[0][name] for name in KEY}
    return {
        **key,
        "channel": channel,
        "status": explanation.status,
        "status_reason": explanation.reason,
        "rule": explanation.rule,
        "rule_place": explanation.place,
        "overruled": [{"status": status, "rule": rule} for status, rule in explanation.overruled],
        "row": read_row(log, key, state),
        "facts": [_with_role(log, event, explanation.status) for event in events],
    }


def _with_role(log: Projection, event: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return what is set of an event, with its role in a message of a status."""
    under_way = log.rules[-1].status
    alone = explain(fold_message(log, [event])).status if event["kind"] in log.kinds else ""
    role = ""
    if alone not in ("", under_way):
        role = "decides" if alone == status else "lost"
    fields = {name: value for name, value in event.items() if value not in (None, "", 0, [])}
    return {**fields, "alone": alone, "role": role}
