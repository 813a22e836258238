"""The page of many resets: a list of addresses, what would happen to each, and what did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, cast

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from starlette.concurrency import run_in_threadpool

from projections.web.bulk_resets import (
    MAX_RESET_ADDRESSES,
    AddressReset,
    apply_resets,
    preview_resets,
    typed_addresses,
)
from projections.web.pages.auth import FormFields, PageCaller, TenantCaller
from projections.web.pages.labels import FATE_NAMES
from projections.web.pages.render import render_page, sentence
from projections.web.pages.suppressions import ReasonQuery
from projections.web.problems import ProblemError
from projections.web.suppressions import suppressions_page
from schemas.decisions import RuleName
from schemas.events import Channel

router = APIRouter(include_in_schema=False)


@router.get("/blacklist/resets")
def show_bulk_reset(
    caller: TenantCaller,
    reason: ReasonQuery = "",
    channel: Annotated[str, Query(pattern="^(|email|sms)$")] = "",
    rule: Annotated[str, Query(max_length=100)] = "",
    address: Annotated[str, Query(max_length=320)] = "",
) -> HTMLResponse:
    """Show the form; with a filter of the blacklist, the addresses of its first entries in it."""
    caller.check_scope("bulk_reset")
    if not (channel or rule or address):
        return _render(caller, {"reason": reason})
    rows, _ = suppressions_page(
        caller, channel=cast("Channel | None", channel or None),
        rule=cast("RuleName | None", rule or None), address=address, limit=MAX_RESET_ADDRESSES,
        cursor=None,
    )  # fmt: skip
    return _render(caller, {
        "reason": reason, "addresses": "\n".join(row["address"] for row in rows),
    })  # fmt: skip


@router.post("/blacklist/resets")
async def send_bulk_reset(caller: TenantCaller, fields: FormFields) -> HTMLResponse:
    """Show what would happen to each address of the form; or do it, and show what came of it.

    What cannot be done is said above the form, with what was typed.
    """
    caller.check_scope("bulk_reset")
    addresses = await run_in_threadpool(typed_addresses, caller, fields.get("addresses", ""))
    try:
        if fields.get("do") == "reset":
            resets = await apply_resets(caller, addresses, fields.get("reason", ""))
            return _render(caller, fields, resets, is_done=True)
        return _render(caller, fields, await run_in_threadpool(preview_resets, caller, addresses))
    except ProblemError as problem:
        return _render(caller, fields, problem=problem)


def _render(
    caller: PageCaller, fields: Mapping[str, str], resets: list[AddressReset] | None = None, *,
    is_done: bool = False, problem: ProblemError | None = None,
) -> HTMLResponse:  # fmt: skip
    fates = Counter(reset.fate for reset in resets or ())
    return render_page(
        "bulk_resets", caller, status=problem.status if problem else HTTPStatus.OK,
        problem=sentence(problem), addresses=fields.get("addresses", ""),
        reason=fields.get("reason", ""), resets=resets, is_done=is_done,
        counts={FATE_NAMES[fate]: count for fate, count in fates.items()},
        reset_count=fates["would_lift"], max_addresses=MAX_RESET_ADDRESSES,
        elsewhere=list(dict.fromkeys(
            text for reset in resets or () if is_done for text in reset.elsewhere
        )),
    )  # fmt: skip
