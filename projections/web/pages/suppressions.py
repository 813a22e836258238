"""The pages of the blacklist: entries, one address with its history, and forms for commands."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, NamedTuple, cast, get_args
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from projections.queries.suppressions import entry_history, find_entry
from projections.web.pages.auth import FormFields, PageCaller, TenantCaller
from projections.web.pages.labels import CHANNEL_NAMES
from projections.web.pages.render import PAGE_ROWS, render_page, sentence
from projections.web.pages.url import PageUrl, build_url, local_url, shareable_url
from projections.web.params import ChannelPath, CursorQuery
from projections.web.problems import ProblemError
from projections.web.provider_lists import (
    read_removals,
    removals_value,
    remove_after_reset,
    remove_at_providers,
)
from projections.web.suppression_commands import (
    CommandName,
    apply_command,
    lifted_rules,
    outcome_of,
)
from projections.web.suppressions import suppressions_page
from projections.web.translation import translated
from schemas.addresses import Address, AddressError, parse_address
from schemas.decisions import MAX_REASON_LENGTH, RuleName
from schemas.events import Channel
from schemas.resets import ResetTerms

router = APIRouter(include_in_schema=False)
AddressQuery = Annotated[str, Query(min_length=1, max_length=320)]
#: What `removals_value` gives.
ListsQuery = Annotated[str, Query(max_length=512)]
ReasonQuery = Annotated[str, Query(max_length=MAX_REASON_LENGTH)]


@router.get("/blacklist")
def show_suppressions(
    request: Request,
    caller: TenantCaller,
    channel: Annotated[str, Query(pattern="^(|email|sms)$")] = "",
    rule: Annotated[str, Query(pattern=f"^(|{'|'.join(get_args(RuleName))})$")] = "",
    address: Annotated[str, Query(max_length=320)] = "",
    cursor: CursorQuery = None,
) -> HTMLResponse:
    """Show the blacklist, in order of channel and address."""
    return _render_suppressions(
        caller, shareable_url(request), channel=channel, rule=rule, address=address, cursor=cursor
    )


class RefusedEntry(NamedTuple):
    """What was typed to be listed by hand, and why it is no address."""

    channel: Channel
    address: str
    problem: str


def _render_suppressions(
    caller: PageCaller, url: PageUrl, *, channel: str = "", rule: str = "", address: str = "",
    cursor: str | None = None, refused: RefusedEntry | None = None,
) -> HTMLResponse:  # fmt: skip
    rows, next_cursor = suppressions_page(
        caller, channel=cast("Channel | None", channel or None),
        rule=cast("RuleName | None", rule or None), address=address, limit=PAGE_ROWS,
        cursor=cursor,
    )  # fmt: skip
    return render_page(
        "suppressions", caller, url=url, rows=rows, channel=channel, rule=rule, refused=refused,
        status=HTTPStatus.UNPROCESSABLE_ENTITY if refused else HTTPStatus.OK,
        address_part=address, is_filtered=bool(channel or rule or address),
        next_url=url.with_values(cursor=next_cursor) if next_cursor else None,
        is_later_page=cursor is not None,
    )  # fmt: skip


@router.get("/blacklist/{channel}")
def show_suppression(
    request: Request,
    caller: TenantCaller,
    channel: ChannelPath,
    address: AddressQuery,
    command: Annotated[str, Query(max_length=64)] = "",
    reason: ReasonQuery = "",
    lists: ListsQuery = "",
    *,
    add: bool = False,
) -> HTMLResponse:
    """Show whether and why an address is blacklisted, and the outcome of a command by its id.

    `lists` is what providers said about lists of their own. `reason` is one that was typed before;
    `add` opens the form to list the address by hand, and what is no address is then refused on the
    page where it was typed.
    """
    if add:
        try:
            parse_address(channel, address, caller.region)
        except AddressError as error:
            refused = RefusedEntry(channel, address, translated(error.args[0]))
            return _render_suppressions(caller, PageUrl(request.url.path, ()), refused=refused)
    of_tenant = caller.address_of(channel, address)
    caller.audit("look", "address", of_tenant.address)
    return render_suppression(
        caller, of_tenant, command_id=command, reason=reason, add=add, lists=lists
    )


@router.post("/blacklist/{channel}")
async def change_suppression(
    caller: TenantCaller, channel: ChannelPath, address: AddressQuery, fields: FormFields
) -> Response:
    """Publish the command of a form, wait for its outcome, and redirect to the page with it."""
    of_tenant = caller.address_of(channel, address)
    command_name: CommandName = "add" if fields.get("do") == "add" else "reset"
    back = local_url(fields.get("back", ""))
    if not back.startswith("/records/"):
        back = ""
    return await apply_form(caller, command_name, of_tenant, fields, back)


@router.post("/blacklist/{channel}/provider-lists")
async def change_provider_lists(
    caller: TenantCaller,
    channel: ChannelPath,
    address: AddressQuery,
    fields: FormFields,  # noqa: ARG001 - its token is checked
) -> Response:
    """Take an address off its providers' own lists, and redirect to the page that says so."""
    return await apply_to_providers(caller, caller.address_of(channel, address))


async def apply_to_providers(caller: PageCaller, address: Address) -> Response:
    """Take an address off its providers' lists; return a redirect to the page that says so.

    Raises a 403 problem if the caller's key lacks the scope.
    """
    caller.check_scope("reset")
    lists = removals_value(await remove_at_providers(caller, address))
    url = caller.link(f"/blacklist/{address.channel}", address=address.address, lists=lists)
    return RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER)


async def apply_form(
    caller: PageCaller, command_name: CommandName, address: Address, fields: Mapping[str, str],
    back: str,
) -> Response:  # fmt: skip
    """Publish the command of a form, wait for its outcome, and return a redirect to where it shows.

    `back` is the URL of a record, or "" for the page of the address. What was not done, or refused,
    the page of the address says, with what was typed. Raises a 403 problem if the caller's key
    lacks the scope.
    """
    caller.check_scope("reset")
    reason = fields.get("reason", "")
    try:
        command_id, outcome = await apply_command(
            caller, command_name, address, reason,
            confirmed_complaint=fields.get("confirmed") == "yes",
        )  # fmt: skip
    except ProblemError as problem:
        return await run_in_threadpool(
            render_suppression, caller, address, reason=reason, add=command_name == "add",
            problem=problem,
        )  # fmt: skip
    if outcome and outcome["change"] == "refused":
        return await run_in_threadpool(
            render_suppression, caller, address, command_id=command_id, reason=reason,
            add=command_name == "add", status=HTTPStatus.CONFLICT,
        )  # fmt: skip
    is_reset = outcome is not None and command_name == "reset"
    asks_providers = is_reset and bool(caller.provider_names)
    lists = await _lists_after(caller, address, command_id) if asks_providers else ""
    shown = {"address": address.address, "command": command_id}
    if lists:
        shown["lists"] = lists
    url = caller.link(f"/blacklist/{address.channel}", **shown)
    if back:
        path, _, query = back.partition("?")
        url = build_url(path, [*parse_qsl(query), ("channel", address.channel), *shown.items()])
    return RedirectResponse(url, status_code=HTTPStatus.SEE_OTHER)


async def _lists_after(caller: PageCaller, address: Address, command_id: str) -> str:
    """Take an address that was reset off its providers' lists; return what they said."""
    lifted = await run_in_threadpool(_lifted_rules, caller, address, command_id)
    return removals_value(await remove_after_reset(caller, address, lifted))


def _lifted_rules(caller: PageCaller, address: Address, command_id: str) -> list[RuleName]:
    database = caller.state.database
    with database.client() as client:
        return lifted_rules(entry_history(client, database.name, address), command_id)


def render_suppression(
    caller: PageCaller, address: Address, *, command_id: str = "",
    problem: ProblemError | None = None, reason: str = "", add: bool = False,
    lists: str = "", status: HTTPStatus = HTTPStatus.OK,
) -> HTMLResponse:  # fmt: skip
    """Return the page of an address: its entry, its history, and the outcome of a command.

    `reason` stands in the form; `add` opens that to list the address by hand. `lists` is what
    providers said about lists of their own.
    """
    database = caller.state.database
    with database.client() as client:
        entry = find_entry(client, database.name, address)
        history = entry_history(client, database.name, address)
    outcome = outcome_of(history, command_id) if command_id else None
    return render_page(
        "suppression", caller, status=problem.status if problem else status,
        terms=ResetTerms.of(entry["rules"]) if entry else None, add=add,
        done=ResetTerms.of(lifted_rules(history, command_id)),
        address=address, entry=entry, history=history, command_id=command_id, outcome=outcome,
        removals=read_removals(caller, address.tenant_id, lists),
        problem=sentence(problem), reason=reason,
        title=f"Blacklist: {CHANNEL_NAMES[address.channel]}",
    )  # fmt: skip
