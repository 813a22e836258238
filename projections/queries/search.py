"""The search box: rows that have all words of a text anywhere that people look for them.

First the newest rows (of the order asked for) are looked through: a common text fills a page from
them. A rarer one is looked for in the texts that partial states keep, and only those messages are
folded. That finds no text that only the rules' own words hold ("not opened"), nor codes put
together ("550 5.1.1"): for these, for exports and for a log as it was, every message is folded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, tzinfo
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from projections.clickhouse.ddl import KEY_HASH, log_select, merge_select
from projections.clickhouse.sql import Parameters, Query, stream
from projections.column_types import STRING
from projections.expressions import Expression, column
from projections.ordered_bytes import packed_texts
from projections.queries.days import ENGLISH_DAYS, DayWords, day_filters, day_of, plain_text
from projections.queries.listing import (
    Filter,
    Listing,
    has_address_part,
    listing_sql,
    searching_sql,
)
from projections.queries.page import MAX_PAGE_ROWS, read_listing
from projections.status import derived_columns
from projections.tables import Projection, log_of
from schemas.addresses import address_parts
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: What a message says, in its log.
BODY_COLUMNS: Final[Mapping[Channel, str]] = {"email": "subject", "sms": "text"}
#: Where a text is looked for, in upper or lower case alike.
SEARCHED_COLUMNS: Final[Mapping[Channel, tuple[str, ...]]] = {
    channel: (
        "recipient", body, "status", "status_reason", "message_id", "record_type", "record_id",
        "campaign", "provider_message_id", "diagnostic",
    )
    for channel, body in BODY_COLUMNS.items()
}  # fmt: skip
#: What rules put together of parts; a number of seven digits is a telephone number.
_CODE: Final = re.compile(r"(?!\d{7})[\d.,]*")
_QUOTED: Final = re.compile(r'"(.+)"')
_NUMBER: Final = re.compile(r"\+?[\d\s()./-]{7,}")
#: Other words for statuses.
_STATUS_WORDS: Final[Mapping[Channel, Mapping[str, str]]] = {
    "email": {
        "delivered": "Delivery", "opened": "Open", "clicked": "Click", "bounced": "Bounce",
    },
    "sms": {"delivery": "Delivered", "read": "Received", "not delivered": "Undelivered"},
}  # fmt: skip


class Search(NamedTuple):
    """What a text in the search box asks for: conditions on columns, and words to look for."""

    filters: tuple[Filter, ...]
    text: str


class TypedWords(NamedTuple):
    """Words that people type besides the English ones: for days, and for statuses of a log."""

    days: DayWords = ENGLISH_DAYS
    statuses: Mapping[Channel, Mapping[str, str]] = {"email": {}, "sms": {}}


ENGLISH_WORDS: Final = TypedWords()


def read_search(
    channel: Channel, text: str, today: date, zone: tzinfo = UTC,
    words: TypedWords = ENGLISH_WORDS,
) -> Search:  # fmt: skip
    """Return what a text asks for: a status or a day, if it is just that; or else its words.

    A day is one of the zone.
    """
    text = text.strip()
    if status := _status_of(channel, text, words):
        return Search((Filter("status", "=", status),), "")
    if day := day_of(text, today, words.days):
        return Search(day_filters("date", day, zone), "")
    return Search((), text)


def words_of(channel: Channel, text: str) -> list[str]:
    """Return the words to look for, each of which a row must have somewhere.

    What is in quotes is one, as it is; a telephone number is its digits, however it is written.
    """
    if quoted := _QUOTED.fullmatch(text):
        return [quoted[1]]
    if channel == "sms" and _NUMBER.fullmatch(text):
        digits = "".join(filter(str.isdigit, text))
        return [digits.lstrip("0") or text]
    return text.split() or [text]


def _status_of(channel: Channel, text: str, words: TypedWords) -> str:
    own = {rule.status.lower(): rule.status for rule in log_of(channel).rules}
    statuses = {**words.statuses[channel], **_STATUS_WORDS[channel], **own}
    return statuses.get(text.lower()) or statuses.get(plain_text(text), "")


def search_page(
    client: Client, database: str, listing: Listing, text: str, *, scan_limit: int = MAX_PAGE_ROWS
) -> list[dict[str, Any]]:
    """Return the rows of a page that have all words of a text; `scan_limit` are looked at first.

    Raises `QueryError` as `listing_sql` does, and ClickHouse's errors.
    """
    if listing.as_of is None and scan_limit:
        newest = list(read_listing(client, database, replace(listing, limit=scan_limit)))
        words = words_of(listing.channel, text)
        rows = [row for row in newest if all(_has(row, listing.channel, word) for word in words)]
        if len(rows) >= listing.limit or len(newest) < scan_limit:
            return rows[: listing.limit]
    return list(stream(client, *searched_rows(listing, text, database)))


def searched_rows(listing: Listing, text: str, database: str) -> tuple[str, dict[str, Any]]:
    """Return the query of `search_sql`, which looks only where the text may be, and its values."""
    source, log = None, log_of(listing.channel)
    if text and (word := _distinctive_word(log, text)):
        source = _rows_with(log, database, word)
    return search_sql(listing, text, database, source)


def search_sql(
    listing: Listing, text: str, database: str, source: Callable[[Query], str] | None = None
) -> tuple[str, dict[str, Any]]:
    """Return the query of a listing and its bound values, of the rows with all words of a text.

    Without a text that is the listing itself. `source` are rows to look in, rather than in all; of
    a log as it was it is not used. Raises `QueryError` as `listing_sql` does.
    """
    if not text:
        return listing_sql(listing, database)
    names = SEARCHED_COLUMNS[listing.channel]
    columns = [column(name, STRING) for name in names]
    words = words_of(listing.channel, text)

    def has_all(query: Query) -> str:
        return " AND ".join(_any_has(listing.channel, columns, word, query) for word in words)

    return searching_sql(listing, database, has_all, source)


def _any_has(
    channel: Channel, texts: Sequence[Expression], part: str, parameters: Parameters
) -> str:
    """Return the condition that one of some texts has a part, or the recipient in its own form."""
    value = parameters.bind(part, STRING)
    has = [f"positionCaseInsensitiveUTF8({text.sql}, {value}) > 0" for text in texts]
    return f"({' OR '.join([*has, has_address_part(channel, 'recipient', part, parameters)])})"


def _has(row: Mapping[str, Any], channel: Channel, text: str) -> bool:
    lowered = clickhouse_lower(text)
    return any(lowered in clickhouse_lower(row[name]) for name in SEARCHED_COLUMNS[channel]) or any(
        part in row["recipient"] for part in address_parts(channel, text)
    )


def clickhouse_lower(text: str) -> str:
    """Return a text in lower case, character by character, as ClickHouse compares.

    Python's `lower` turns some letters into two.
    """
    return "".join(low if len(low := one.lower()) == 1 else one for one in text)


def _distinctive_word(log: Projection, text: str) -> str:
    """Return the longest word of a text that cannot be one of a rule's own, or nothing.

    A row that has the text has this word in a text that one of its partial states keeps.
    """
    statuses = (rule.status for rule in log.rules)
    own = clickhouse_lower("\n".join([*statuses, *derived_columns(log)["status_reason"].texts]))
    words = re.split(r"[\s:]+", " ".join(words_of(log.channel, text)))
    distinctive = [w for w in words if clickhouse_lower(w) not in own and not _CODE.fullmatch(w)]
    return max(distinctive, key=len, default="")


def _rows_with(log: Projection, database: str, word: str) -> Callable[[Query], str]:
    """Return what makes the SELECT of the rows of which some partial state keeps a word."""
    states = f"{database}.{log.state_table}"

    def select(query: Query) -> str:
        has_word = _any_has(log.channel, list(_kept_texts(log)), word, query)
        hashes = f"SELECT {KEY_HASH} FROM {states} WHERE {query.of_tenant} AND {has_word}"
        where = f"{query.of_tenant} AND {KEY_HASH} IN ({hashes})"
        return log_select(log, f"({merge_select(log, states, where)})")

    return select


def _kept_texts(log: Projection) -> Iterator[Expression]:
    """Yield every text that a partial state keeps."""
    yield from (column(name, STRING) for name in ("recipient", "message_id"))
    for fold in log.folds:
        if fold.is_packed:
            yield from packed_texts(fold.state)
