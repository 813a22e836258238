"""What became of messages, and when an address last was good: what the policy looks up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.sql import Parameters, stream
from projections.tables import log_of
from projections.tables.email_log import (
    bounce,
    click_at,
    complaint_at,
    delivery_at,
    failure,
    invalid,
    machine_at,
    open_at,
    skipped,
)
from schemas.events import RETRY_ENDS

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: The folds that keep the events which end a retry, by their kind.
_FOLDS: Final = {
    "delivery": (delivery_at,),
    "open": (open_at, machine_at),
    "click": (click_at,),
    "complaint": (complaint_at,),
    "bounce": (bounce,),
    "invalid": (invalid,),
    "skipped": (skipped,),
    "failure": (failure,),
}
#: Those that keep a success.
_SUCCESSES: Final = (delivery_at, open_at, click_at)


class Outcome(NamedTuple):
    """What is known of one message: when it was first sent, and why it is finished, or ''."""

    first_at: datetime
    finished: str


def last_successes(
    client: Client, database: str, addresses: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], datetime]:
    """Return, by tenant and address, when an email was last delivered, opened or clicked there.

    Opens and clicks by machines do not count; of each message the first of each does.
    """
    parameters = Parameters()
    keys = parameters.bind_list(sorted(set(addresses)), "String", "String")
    # An empty time is no time: `greatest` of one is none.
    last = ", ".join(f"max({fold.name})" for fold in _SUCCESSES)
    sql = (
        f"SELECT tenant_id, recipient, arrayMax(arrayFilter(at -> at IS NOT NULL, [{last}])) AS at "
        f"FROM {_states(database)} WHERE (tenant_id, recipient) IN {keys} "
        "GROUP BY tenant_id, recipient HAVING at IS NOT NULL"
    )
    rows = stream(client, sql, parameters.values)
    return {(row["tenant_id"], row["recipient"]): row["at"] for row in rows}


def outcomes(
    client: Client, database: str, messages: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], Outcome]:
    """Return what is known of messages, by tenant, recipient and message."""
    parameters = Parameters()
    keys = parameters.bind_list(sorted(set(messages)), "String", "String", "String")
    cases = ", ".join(f"{_has_one_of(kind)}, '{why}'" for kind, why in RETRY_ENDS.items())
    sql = (
        "SELECT tenant_id, recipient, message_id, min(first_at) AS first, "
        f"multiIf({cases}, '') AS finished FROM {_states(database)} "
        f"WHERE (tenant_id, recipient, message_id) IN {keys} "
        "GROUP BY tenant_id, recipient, message_id"
    )
    return {
        _key(row): Outcome(row["first"], row["finished"])
        for row in stream(client, sql, parameters.values)
    }


def _has_one_of(kind: str) -> str:
    """Return the condition that partial states, taken together, keep an event of a kind."""
    return " OR ".join(
        f"max({fold.name}) > ''" if fold.is_packed else f"count({fold.name}) > 0"
        for fold in _FOLDS[kind]
    )


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["tenant_id"], row["recipient"], row["message_id"]


def _states(database: str) -> str:
    return f"{database}.{log_of('email').state_table}"
