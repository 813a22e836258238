"""The search box: rows that have a text anywhere that people look for it.

First the newest rows (of the order asked for) are looked through: a common text fills a page from
them. A rarer one is looked for in the texts that partial states keep, and only the messages found
so are folded. That finds no text that only the rules' own words hold ("not opened"), nor codes put
together ("550 5.1.1"): for these, for exports and for a log as it was, every message is folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from projections.clickhouse.ddl import HASH, merging_select, reading_select
from projections.clickhouse.sql import stream
from projections.ordered_bytes import texts_of
from projections.queries.listing import Listing, listing_sql
from projections.queries.page import LARGEST_PAGE
from projections.queries.page import listing as listed
from projections.status import steps
from projections.tables import Projection, log_of
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: Where a text is looked for, in upper or lower case alike.
SEARCHED: Final[Mapping[Channel, tuple[str, ...]]] = {
    "email": ("recipient", "subject", "status_reason", "message_id", "record_type", "record_id",
              "campaign", "provider_message_id", "diagnostic"),
    "sms": ("recipient", "text", "status_reason", "message_id", "record_type", "record_id",
            "campaign", "provider_message_id", "diagnostic"),
}  # fmt: skip
_QUOTED: Final = re.compile(r"'((?:[^'\\]|\\.)*)'")
_CODE: Final = re.compile(r"[\d.,]*")


def searched(
    client: Client, database: str, wanted: Listing, text: str, *, look: int = LARGEST_PAGE
) -> list[dict[str, Any]]:
    """Return the rows of a page that have a text in them; `look` at so many before all.

    Raises `QueryError` as `listing_sql` does, and ClickHouse's errors.
    """
    if wanted.as_of is None and look:
        first = list(listed(client, database, replace(wanted, limit=look)))
        found = [row for row in first if _has(row, wanted.channel, _lowered(text))]
        if len(found) >= wanted.limit or len(first) < look:
            return found[: wanted.limit]
    sql, values = searching_sql(wanted, text, database)
    word = _telling(log_of(wanted.channel), text)
    if wanted.as_of is None and word:
        whole = f"FROM {database}.{log_of(wanted.channel).name} WHERE "
        few, more = _few(log_of(wanted.channel), database, wanted.tenant, word)
        assert whole in sql
        sql, values = sql.replace(whole, f"FROM ({few}) WHERE ", 1), values | more
    return list(stream(client, sql, values))


def searching_sql(listing: Listing, text: str, database: str) -> tuple[str, dict[str, Any]]:
    """Return the query of a listing and its bound values, of the rows with a text in them.

    Without a text that is the listing itself. Raises `QueryError` as `listing_sql` does.
    """
    sql, values = listing_sql(listing, database)
    if not text:
        return sql, values
    found = " OR ".join(_contains(name, "searched") for name in SEARCHED[listing.channel])
    # The order ends the statement and holds no words of the asker's: its last mention is its own.
    asked, order, rest = sql.rpartition(" ORDER BY ")
    return f"{asked} AND ({found}){order}{rest}", {**values, "searched": text}


def _contains(column: str, parameter: str) -> str:
    return f"positionCaseInsensitiveUTF8({column}, {{{parameter}:String}}) > 0"


def _has(row: Mapping[str, Any], channel: Channel, lowered: str) -> bool:
    return any(lowered in _lowered(row[name]) for name in SEARCHED[channel])


def _lowered(text: str) -> str:
    """Return a text in lower case, character by character, as ClickHouse compares."""
    return "".join(low if len(low := one.lower()) == 1 else one for one in text)


def _telling(log: Projection, text: str) -> str:
    """Return the longest word of a text that cannot be one of a rule's own, or nothing.

    A row that has the text has this word in a text that one of its partial states keeps.
    """
    own = _lowered("\n".join(_QUOTED.findall(steps(log)["status_reason"].sql)))
    words = re.split(r"[\s:]+", text)
    telling = [w for w in words if _lowered(w) not in own and not _CODE.fullmatch(w)]
    return max(telling, key=len, default="")


def _few(log: Projection, database: str, tenant: str, word: str) -> tuple[str, dict[str, Any]]:
    """Return the SELECT of the rows of which some partial state keeps a word, and its values."""
    states = f"{database}.{log.state_table}"
    mine = "tenant_id = {searched_tenant:String}"
    shown = " OR ".join(_contains(column, "searched_word") for column in _texts(log))
    within = f"{mine} AND {HASH} IN (SELECT {HASH} FROM {states} WHERE {mine} AND ({shown}))"
    rows = reading_select(log, f"({merging_select(log, states, within)})")
    return rows, {"searched_tenant": tenant, "searched_word": word}


def _texts(log: Projection) -> Iterator[str]:
    """Yield every text that a partial state keeps."""
    yield from ("recipient", "message_id")
    for fold in log.folds:
        if fold.is_packed:
            yield from texts_of(fold.name, fold.kind)
