"""Which messages are about a customer record: an index that the engine keeps of every insert.

A message may be about another record by now: what the index has are candidates. They are found and
read by one query (E-003).
"""

from __future__ import annotations

from projections.clickhouse.ddl import KEY_HASH, RECORD_INDEX_TABLE
from projections.clickhouse.sql import Parameters, Query
from projections.queries.listing import Listing


def record_of(listing: Listing) -> str:
    """Return the record whose messages a listing asks for, or ''."""
    ids = (f for f in listing.filters if f.column == "record_id" and f.operator == "=")
    return next((filter_.value for filter_ in ids), "")


def indexed_messages(listing: Listing, database: str, parameters: Parameters, limit: int) -> str:
    """Return the SELECT of recipient and hash of up to `limit` messages of the record asked for."""
    bind = parameters.bind
    return (
        f"SELECT DISTINCT recipient, {KEY_HASH} FROM {database}.{RECORD_INDEX_TABLE} "
        f"WHERE tenant_id = {bind(listing.tenant, 'String')} "
        f"AND channel = {bind(listing.channel, 'String')} "
        f"AND record_id = {bind(record_of(listing), 'String')} LIMIT {limit}"
    )


def all_messages_of(listing: Listing, database: str, limit: int) -> tuple[str, Query]:
    """Return what to look for first, and the rest of a query about the record's messages.

    It has no rows if there are more than `limit` of them.
    """
    query = Query(listing.tenant)
    indexed = indexed_messages(listing, database, query, limit + 1)
    among = f"SELECT recipient, {KEY_HASH} FROM ({indexed})"
    # On a cluster they are on the servers that their states are on.
    first = f"(recipient, {KEY_HASH}) GLOBAL IN ({among} QUALIFY count() OVER () <= {limit})"
    return first, query
