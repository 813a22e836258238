"""What the log knows of addresses and messages, for the rules of retries to go by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.sql import Bound, stream
from projections.tables import log_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What a state shows of a message that needs no further attempt, and that in words.
_OVER: Final = {
    "count(delivery_at) > 0": "it was delivered",
    "count(open_at) > 0 OR count(machine_at) > 0": "it was opened",
    "count(click_at) > 0": "it was clicked",
    "count(complaint_at) > 0": "its recipient complained",
    "max(bounce_packed) > ''": "it bounced for good",
    "max(invalid_packed) > ''": "it was refused",
    "max(skipped_packed) > ''": "it was skipped",
    "max(failure_packed) > ''": "it failed",
}


class Told(NamedTuple):
    """What is known of one message: when it was first sent, and why it is over ("" if not)."""

    first_at: datetime
    over: str


def good(
    client: Client, database: str, addresses: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], datetime]:
    """Return, by tenant and address, when an email was last delivered, opened or clicked there.

    Opens and clicks by machines do not count; of each message the first of each does.
    """
    bound = Bound()
    whose = bound.bind(sorted(set(addresses)), "Array(Tuple(String, String))")
    # An empty time is no time: `greatest` of one is none.
    last = ", ".join(f"max({name})" for name in ("delivery_at", "open_at", "click_at"))
    sql = (
        f"SELECT tenant_id, recipient, arrayMax(arrayFilter(at -> at IS NOT NULL, [{last}])) AS at "
        f"FROM {_states(database)} WHERE (tenant_id, recipient) IN {whose} "
        "GROUP BY tenant_id, recipient HAVING at IS NOT NULL"
    )
    found = stream(client, sql, bound.values)
    return {(row["tenant_id"], row["recipient"]): row["at"] for row in found}


def told(
    client: Client, database: str, messages: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], Told]:
    """Return what is known of messages, by tenant, recipient and message."""
    bound = Bound()
    which = bound.bind(sorted(set(messages)), "Array(Tuple(String, String, String))")
    cases = ", ".join(f"{when}, '{why}'" for when, why in _OVER.items())
    sql = (
        "SELECT tenant_id, recipient, message_id, min(first_at) AS first, "
        f"multiIf({cases}, '') AS over FROM {_states(database)} "
        f"WHERE (tenant_id, recipient, message_id) IN {which} "
        "GROUP BY tenant_id, recipient, message_id"
    )
    return {_key(row): Told(row["first"], row["over"]) for row in stream(client, sql, bound.values)}


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["tenant_id"], row["recipient"], row["message_id"]


def _states(database: str) -> str:
    return f"{database}.{log_of('email').state_table}"
