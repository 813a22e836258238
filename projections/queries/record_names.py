"""How a customer record is called, and where the business application has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from projections.clickhouse.sql import Query, stream
from projections.column_types import STRING
from projections.queries.links import link_url
from projections.tables.record_names import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class RecordName(NamedTuple):
    """A record's name and http address, as its mailer last said; "" for what it did not."""

    name: str = ""
    url: str = ""


def find_record_name(
    client: Client, database: str, tenant: str, record_type: str, record_id: str
) -> RecordName:
    """Return the name of a record of a tenant. Raises ClickHouse's errors."""
    query = Query(tenant)
    query.add(
        f"record_type = {query.bind(record_type, STRING)}",
        f"record_id = {query.bind(record_id, STRING)}",
    )
    # Parts that are not merged yet, and shards, may each have a row.
    sql = (
        f"SELECT name, url FROM {database}.{TABLE.name} WHERE {query.where} "
        "ORDER BY occurred_at DESC, name DESC LIMIT 1"
    )
    row = next(stream(client, sql, query.values), None)
    if row is None:
        return RecordName()
    return RecordName(row["name"], link_url(row["url"]))
