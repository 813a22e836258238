"""How many rows a listing has: counted up to a bound, by as little of a fold as that takes.

The engine folds messages in the order of their table and stops at the bound, so of what many
messages have it reads the beginning; of what few have, only their states.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from projections.clickhouse.client import classify_error
from projections.clickhouse.sql import sent_along
from projections.presence import with_presence_bits
from projections.queries.candidates import Candidates
from projections.queries.listing import Listing, filter_condition
from projections.queries.pruned_select import pruned_select
from projections.queries.search import searched_rows
from projections.queries.tuning import DEFAULT_TUNING, Tuning
from projections.tables import log_of

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Rows are counted up to here.
MAX_COUNTED_ROWS: Final = 10_000
#: ClickHouse's code for a query that takes longer than it may.
_TIMEOUT_CODE: Final = 159


class RowTotal(NamedTuple):
    """How many rows a listing has; if not `is_exact`, it has more."""

    rows: int
    is_exact: bool

    @property
    def words(self) -> str:
        """The number for people: "837", or "over 10,000"."""
        return f"{'' if self.is_exact else 'over '}{self.rows:,}"


def count_rows(
    client: Client,
    database: str,
    listing: Listing,
    text: str = "",
    *,
    seconds: float | None = None,
    tuning: Tuning = DEFAULT_TUNING,
) -> RowTotal | None:
    """Return how many rows a listing has, or how many of them have all words of a text.

    Wherever a page begins. None: that takes longer than `seconds`. Raises `QueryError` as
    `listing_sql` does, and ClickHouse's errors.
    """
    whole = replace(listing, after=None, backward=False, limit=MAX_COUNTED_ROWS + 1)
    if text or listing.as_of is not None:
        rows, values = searched_rows(whole, text, database)
    else:
        rows, values = _rows(client, database, whole, tuning)
    # Small blocks: it is at the bound sooner.
    settings: dict[str, Any] = {"optimize_aggregation_in_order": 1, "max_block_size": 8192}
    if seconds is not None:
        settings["max_execution_time"] = seconds
    try:
        sql = f"SELECT count() FROM ({rows})"
        [[count]] = client.query(sql, **sent_along(values), settings=settings).result_rows
    except ClickHouseError as error:
        if seconds is not None and classify_error(error).code == _TIMEOUT_CODE:
            return None
        raise
    return RowTotal(min(count, MAX_COUNTED_ROWS), count <= MAX_COUNTED_ROWS)


def _rows(
    client: Client, database: str, listing: Listing, tuning: Tuning
) -> tuple[str, dict[str, Any]]:
    """Return the SELECT of the first rows of a listing in any order, without their columns."""
    log = log_of(listing.channel)
    candidates = Candidates(client=client, database=database, listing=listing, tuning=tuning)
    query = candidates.query_of_few()
    names = dict.fromkeys(filter_.column for filter_ in listing.filters)
    states = pruned_select(log, names, candidates.states, query.where)
    kept = [f"NOT {with_presence_bits(log, log.hidden).sql}"]
    kept += [filter_condition(log, filter_, query).sql for filter_ in listing.filters]
    rows = f"SELECT 1 FROM ({states}) WHERE {' AND '.join(kept)} LIMIT {listing.limit}"
    return rows, query.values
