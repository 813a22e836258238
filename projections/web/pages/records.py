"""The page of a customer record: its addresses, how each stands, and its messages."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from projections.queries.suppressions import entry_history
from projections.web.auth import RecordKey
from projections.web.pages.auth import PageCaller, TenantCaller
from projections.web.pages.render import PAGE_ROWS, render_page
from projections.web.pages.suppressions import ListsQuery
from projections.web.params import RecordPath
from projections.web.provider_lists import read_removals
from projections.web.records import customer_record
from projections.web.suppression_commands import lifted_rules, outcome_of
from schemas.addresses import Address
from schemas.events import Channel
from schemas.resets import ResetTerms

router = APIRouter(include_in_schema=False)


@router.get("/records/{record_type}/{record_id:path}")
def show_record(
    caller: TenantCaller,
    record_type: RecordPath,
    record_id: RecordPath,
    command: Annotated[str, Query(max_length=64)] = "",
    channel: Annotated[Channel, Query()] = "email",
    address: Annotated[str, Query(max_length=320)] = "",
    lists: ListsQuery = "",
) -> HTMLResponse:
    """Show a record; after a reset from here (`command` for an address), also what came of it."""
    changed = caller.address_of(channel, address) if command and address else None
    return render_record(caller, RecordKey(record_type, record_id), changed, command, lists)


def render_record(
    caller: PageCaller, key: RecordKey, changed: Address | None = None, command: str = "",
    lists: str = "",
) -> HTMLResponse:  # fmt: skip
    """Return the page of a record, and what came of a command for an address that it changes.

    `lists` is what providers said about lists of their own.
    """
    record_type, record_id = key
    record = customer_record(caller, record_type, record_id, limit=PAGE_ROWS)
    return render_page(
        "record", caller, record_type=record_type, record_id=record_id, rows=record.rows,
        called=record.name, standings=record.standings,
        listed=sum(each.entry is not None for each in record.standings),
        changed=changed, **_result(caller, changed, command),
        removals=read_removals(caller, changed.tenant_id, lists) if changed else [],
        channels=sorted({row["channel"] for row in record.rows}), max_rows=PAGE_ROWS,
    )  # fmt: skip


def _result(caller: PageCaller, address: Address | None, command_id: str) -> dict[str, Any]:
    """Return the outcome of a command, None if there is none yet, and what else is to be done."""
    history: list[dict[str, Any]] = []
    if address is not None:
        database = caller.state.database
        with database.client() as client:
            history = entry_history(client, database.name, address)
    return {
        "outcome": outcome_of(history, command_id),
        "done": ResetTerms.of(lifted_rules(history, command_id)),
    }
