"""The columns of a log's page: the usual ones, or those that its URL names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from projections.queries.search import BODY_COLUMNS
from projections.tables import log_of
from projections.web.pages.labels import column_name
from projections.web.problems import invalid_parameter
from projections.web.translation import gettext
from schemas.events import Channel
from schemas.words import Words


def usual_columns(channel: Channel) -> tuple[str, ...]:
    """Return the columns that a page has unless others are chosen."""
    return ("date", "recipient", BODY_COLUMNS[channel], "status", "status_reason")


def choosable_columns(channel: Channel) -> list[str]:
    """Return all columns that a page may have: the usual ones, then the others of the log."""
    names = (name for name in log_of(channel).columns if name != "tenant_id")
    return list(dict.fromkeys([*usual_columns(channel), *names]))


def chosen_columns(channel: Channel, names: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a page, in the order of the choice; without names the usual ones.

    Raises a 422 problem for a name that is no column.
    """
    there = choosable_columns(channel)
    if unknown := [name for name in names if name not in there]:
        detail = Words(
            "no column %(name)r; there are: %(names)s",
            name=unknown[0][:100],
            names=", ".join(there),
        )
        raise invalid_parameter("columns", detail)
    return tuple(name for name in there if name in names) or usual_columns(channel)


def column_headings(channel: Channel, names: Iterable[str]) -> dict[str, str]:
    """Return the headings of some columns by their names, in the same order."""
    own = {
        "recipient": gettext("Recipient") if channel == "email" else gettext("Number"),
        "status_reason": gettext("Reason"),
    }
    texts = {name: own.get(name) or column_name(name) for name in names}
    return {name: text[:1].upper() + text[1:] for name, text in texts.items()}


def cell_value(value: Any) -> Any:
    """Return a value as a cell shows it: yes and no, a list with commas; others stay."""
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, list):
        return ", ".join(value)
    return "" if value is None else value
