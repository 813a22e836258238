"""The suppression entries of a tenant, page by page."""

from __future__ import annotations

from typing import Any, cast

from projections.queries.suppressions import list_entries
from projections.web.auth import Caller
from projections.web.cursor import decode_cursor, encode_cursor
from schemas.decisions import RuleName
from schemas.events import Channel


def suppressions_page(
    caller: Caller,
    *,
    channel: Channel | None,
    rule: RuleName | None,
    address: str,
    limit: int,
    cursor: str | None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the entries of a page, and the cursor of the next or None.

    `address` is a part of the address. Raises `ProblemError`, also for a cursor of another query.
    """
    identity, after = (caller.tenant, channel, rule, address), None
    if cursor is not None:
        last_channel, last_address = decode_cursor(identity, cursor, (str, str))
        after = (cast("Channel", last_channel), str(last_address))
    database = caller.state.database
    with database.client() as client:
        entries = list_entries(
            client, database.name, caller.tenant,
            channel=channel, rule=rule, address=address, limit=limit + 1, after=after,
        )  # fmt: skip
    if len(entries) <= limit:
        return entries, None
    last = entries[limit - 1]
    return entries[:limit], encode_cursor(identity, [last["channel"], last["address"]])
