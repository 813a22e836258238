"""Where the rows of a page are among all: "51-100 of 837"."""

from __future__ import annotations

from typing import Final, NamedTuple

from projections.queries.totals import RowTotal
from projections.web.log_query import LogRows
from projections.web.translation import gettext, number_text

#: How long rows are counted for somebody who has not asked for it.
UNASKED_COUNT_SECONDS: Final = 1.0


class PagePosition(NamedTuple):
    """The places of the first and the last row, from 1, and how many there are in words, or ""."""

    first: int
    last: int
    total: str


def page_position(shown: LogRows, total: RowTotal | None) -> PagePosition | None:
    """Return where the rows of a page are; None if it has none, or nobody knows.

    On the last page that says how many there are, whether they have been counted or not.
    """
    if not shown.rows or shown.before is None:
        return None
    last = shown.before + len(shown.rows)
    if shown.next is None:
        total = RowTotal(last, is_exact=True)
    return PagePosition(shown.before + 1, last, total_text(total, last))


def total_text(total: RowTotal | None, last: int) -> str:
    """Return how many rows there are in words; "" if that is unknown.

    Or if it is less than the place of the last row on the page: then rows went while pages were
    turned, and places and total are of different moments.
    """
    if total is None or (total.is_exact and total.rows < last):
        return ""
    number = number_text(max(total.rows, last))
    return number if total.is_exact else gettext("over %(number)s", number=number)
