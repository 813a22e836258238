"""The pages of one message with all its events, and of all messages to an address."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from projections.queries.plain_reasons import plain_reason
from projections.queries.retries import list_retries
from projections.queries.suppressions import entry_history, find_entry
from projections.web.message_explanation import explained_message
from projections.web.pages.auth import FormFields, PageCaller, TenantCaller
from projections.web.pages.labels import event_details, event_notes, event_title
from projections.web.pages.render import PAGE_ROWS, render_page, sentence
from projections.web.params import ChannelPath, CursorQuery
from projections.web.problems import ProblemError
from projections.web.recipient_messages import recipient_page
from projections.web.resends import (
    MAX_IDEMPOTENCY_CHARACTERS,
    MessageResend,
    find_resend,
    refusal_of,
    resend_message,
)
from schemas.decisions import DECISION_LABEL
from schemas.events import DECISION_KINDS, Channel

router = APIRouter(include_in_schema=False)
MessageIdQuery = Annotated[str, Query(min_length=1, max_length=512)]
RecipientQuery = Annotated[str, Query(min_length=1, max_length=320)]
CommandQuery = Annotated[str, Query(max_length=64)]
#: Columns that are at the top of the page, or mean nothing to people.
_COLUMNS_ABOVE: Final = frozenset({
    "tenant_id", "recipient", "subject", "text", "status", "status_reason", "date",
})  # fmt: skip


@router.get("/messages/{channel}")
def show_message(
    caller: TenantCaller,
    channel: ChannelPath,
    message_id: MessageIdQuery,
    recipient: RecipientQuery,
    cursor: CursorQuery = None,
    command: CommandQuery = "",
) -> HTMLResponse:
    """Show a message to one recipient: why it has its status, and its events, page by page.

    `command` is one by which it was to be sent again: then also what came of that.
    """
    return render_message(caller, channel, message_id, recipient, cursor, command_id=command)


@router.post("/messages/{channel}")
async def send_again(
    caller: TenantCaller,
    channel: ChannelPath,
    message_id: MessageIdQuery,
    recipient: RecipientQuery,
    fields: FormFields,
) -> Response:
    """Have a message sent again, and redirect to its page with what came of that."""
    return await apply_resend(caller, channel, message_id, recipient, fields)


async def apply_resend(
    caller: PageCaller, channel: Channel, message_id: str, recipient: str,
    fields: Mapping[str, str],
) -> Response:  # fmt: skip
    """Have a message sent again as a form says, and return a redirect to its page.

    What was not done, or refused, the page says at once, with what was typed. Raises a 403 problem
    without the scope, 404 without such a message.
    """
    if not caller.has_scope("reset"):
        raise ProblemError(HTTPStatus.FORBIDDEN, "this needs the scope 'reset'")
    resend = MessageResend(
        channel=channel, message_id=message_id, recipient=recipient,
        reason=fields.get("reason", ""),
        idempotency_key=fields.get("once", "")[:MAX_IDEMPOTENCY_CHARACTERS],
    )  # fmt: skip
    try:
        command_id, outcome = await resend_message(caller, resend)
    except ProblemError as problem:
        if problem.status == HTTPStatus.NOT_FOUND:
            raise
        return await run_in_threadpool(
            render_message, caller, channel, message_id, recipient, None,
            problem=problem, reason=resend.reason,
        )  # fmt: skip
    if refusal_of(outcome):
        return await run_in_threadpool(
            render_message, caller, channel, message_id, recipient, None,
            command_id=command_id, reason=resend.reason, status=HTTPStatus.CONFLICT,
        )  # fmt: skip
    place = {"message_id": message_id, "recipient": recipient}
    url = caller.link(f"/messages/{channel}", **place, command=command_id)
    return RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER)


def render_message(
    caller: PageCaller, channel: Channel, message_id: str, recipient: str, cursor: str | None, *,
    command_id: str = "", problem: ProblemError | None = None, reason: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:  # fmt: skip
    """Return the page of a message, its events from a cursor on, and what came of a resend.

    `reason` stands in the form by which it is sent again.
    """
    explanation = explained_message(caller, channel, message_id, recipient, cursor=cursor)
    place = {"message_id": message_id, "recipient": recipient}
    next_url = caller.link(f"/messages/{channel}", **place, cursor=explanation["next"])
    row = explanation["row"]
    resent = find_resend(caller, channel, recipient, command_id) if command_id else None
    other_values = [
        (name, value) for name, value in row.items()
        if name not in _COLUMNS_ABOVE and value not in (None, "", 0, [], False)
    ]  # fmt: skip
    return render_page(
        "message", caller, status=problem.status if problem else status, channel=channel,
        explanation=explanation, row=row, reason=plain_reason(channel, row),
        problem=sentence(problem), command_id=command_id, resent=resent,
        resend_refusal=refusal_of(resent), typed_reason=reason, once=secrets.token_urlsafe(12),
        resend_url=caller.form_link(f"/messages/{channel}", **place),
        events=[_event_context(event) for event in explanation["facts"]],
        other_values=other_values, is_later_page=cursor is not None,
        first_url=caller.link(f"/messages/{channel}", **place),
        next_url=next_url if explanation["next"] else None,
        body=row.get("subject") if channel == "email" else row.get("text"),
        retries=_retries(caller, explanation) if channel == "email" else [],
    )  # fmt: skip


def _event_context(event: dict[str, Any]) -> dict[str, Any]:
    """Return what the template shows of an event."""
    source = (event.get(f"source_{name}", 0) for name in ("topic", "partition", "offset"))
    return {
        "occurred_at": event["occurred_at"],
        "recorded_at": event["recorded_at"],
        "title": event_title(event),
        "kind": event["kind"],
        "role": event["role"],
        "alone": event["alone"],
        "notes": list(event_notes(event)),
        "details": list(event_details(event)),
        "is_decision": event["kind"] in DECISION_KINDS or event.get("label") == DECISION_LABEL,
        "source": "/".join(map(str, source)),
    }


def _retries(caller: PageCaller, explanation: dict[str, Any]) -> list[dict[str, Any]]:
    database = caller.state.database
    with database.client() as client:
        return list_retries(
            client, database.name, caller.tenant, message_id=explanation["message_id"],
            recipient=explanation["recipient"],
        )  # fmt: skip


@router.get("/addresses")
def show_address(
    caller: TenantCaller,
    address: Annotated[str, Query(min_length=1, max_length=320)],
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show the messages to an address in both logs, and whether it is blacklisted."""
    channel: Channel = "email" if "@" in address else "sms"
    rows, next_cursor = recipient_page(caller, address, limit=PAGE_ROWS, cursor=cursor)
    next_url = caller.link("/addresses", address=address, cursor=next_cursor)
    return render_page(
        "address", caller, address=caller.address_of(channel, address).address, rows=rows,
        suppressions=_suppressions(caller, address),
        next_url=next_url if next_cursor else None, is_later_page=cursor is not None,
    )  # fmt: skip


def _suppressions(caller: PageCaller, address: str) -> list[dict[str, Any]]:
    """Return the entry of an address on each channel where it has a history."""
    database = caller.state.database
    channels: tuple[Channel, ...] = get_args(Channel)
    addresses = [caller.address_of(channel, address) for channel in channels]
    with database.client() as client:
        return [
            {"address": target, "entry": find_entry(client, database.name, target)}
            for target in addresses
            if entry_history(client, database.name, target)
        ]
