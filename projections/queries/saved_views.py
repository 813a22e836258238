"""Saved views: searches of a log that a key or person keeps under a name, in one tenant."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from projections.clickhouse.sql import Query, stream
from projections.clickhouse.store import arrow_schema, insert_rows, insert_settings
from projections.tables.saved_views import TABLE
from schemas.events import Channel

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewOwner:
    """Whose views: those of a key or person (`owner` is its id), of one log of a tenant."""

    tenant_id: str
    owner: str
    channel: Channel


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView:
    """A search under a name; `query` has the parameters of its page as a URL has them."""

    name: str
    query: str = ""
    is_deleted: bool = False


def list_views(client: Client, database: str, owner: ViewOwner) -> list[SavedView]:
    """Return the views of an owner in the order of their names. Raises ClickHouse's errors."""
    query = Query(owner.tenant_id)
    query.add(
        f"owner = {query.bind(owner.owner, 'String')}",
        f"channel = {query.bind(owner.channel, 'String')}",
        "NOT is_deleted",
    )
    sql = f"SELECT name, query FROM {database}.{TABLE.name} FINAL {query.clauses}"
    views = [SavedView(**row) for row in stream(client, sql, query.values)]
    return sorted(views, key=lambda view: (view.name.casefold(), view.name))


def store_view(client: Client, database: str, owner: ViewOwner, view: SavedView) -> None:
    """Store a view, or that it is deleted; an earlier one of the name is replaced.

    Raises as `projections.clickhouse.store.insert_rows` does.
    """
    row = {**asdict(owner), **asdict(view), "saved_at": datetime.now(UTC)}
    insert_rows(client, database, TABLE, pa.Table.from_pylist([row], schema=arrow_schema(TABLE)))


def copy_views(client: Client, database: str, owner: str, to: str) -> None:
    """Give an owner's views, of all its tenants, to another: to the key in place of one.

    Raises ClickHouse's errors.
    """
    columns = ", ".join(TABLE.columns)
    others = columns.replace("owner", "{to:String} AS owner")
    client.command(
        f"INSERT INTO {database}.{TABLE.name} ({columns}) SELECT {others} "
        f"FROM (SELECT * FROM {database}.{TABLE.name} FINAL "
        "WHERE owner = {owner:String} AND NOT is_deleted)",
        parameters={"owner": owner, "to": to},
        settings=insert_settings(client),
    )
