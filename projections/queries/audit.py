"""The audit log: its lines, as they are stored and as they are asked for, page by page."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import pyarrow as pa

from projections.clickhouse.sql import Query, stream
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.column_types import STRING, TIME
from projections.queries.api_keys import ApiKey
from projections.tables.audit import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

AuditAction = Literal[
    "sign_in", "sign_out", "look", "export", "resend", "add", "reset", "bulk_reset",
    "publish", "provider_lists",
    "key_create", "key_rotate", "key_revoke", "embed_secret", "embed_token", "forget",
    "export_person",
]  # fmt: skip
#: How somebody came: by the API, by a page, by a page in another application, by a command.
AuditVia = Literal["api", "page", "embedded", "cli"]
AuditObject = Literal["", "address", "audit", "key", "log", "message", "record"]
#: `pending`: it was asked for, and nobody had dealt with it yet; `failed`: it could not be filter_.
AuditOutcome = Literal["done", "refused", "pending", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """Who (`actor`, by the key of `key_id`) did what, to what, and what came of it.

    `tenant_id` is "*" for what belongs to no single tenant. `detail` is a message's recipient, or
    the reason of a change; `client` the network address that somebody came from, "" if unknown.
    """

    tenant_id: str
    actor: str
    key_id: str = ""
    via: AuditVia
    action: AuditAction
    object_type: AuditObject = ""
    object: str = ""
    detail: str = ""
    outcome: AuditOutcome = "done"
    client: str = ""
    occurred_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    #: In the order in which they were made: a log has milliseconds.
    id: str = field(default_factory=lambda: f"{time_ns():016x}{secrets.token_hex(8)}")


class AuditFilter(NamedTuple):
    """Which lines: of an actor, by a part of the name; of an action; from and before a time.

    `object` is a part of what they are about, or of their detail. What is empty asks nothing.
    """

    actor: str = ""
    action: str = ""
    object: str = ""
    since: datetime | None = None
    until: datetime | None = None


class LastLine(NamedTuple):
    """The last line of a page."""

    occurred_at: datetime
    id: str


def store_audit_lines(client: Client, database: str, lines: Sequence[AuditLine]) -> None:
    """Store lines; once more does no harm. Raises as `clickhouse.store.insert_rows` does."""
    rows = [{name: _storable(value) for name, value in asdict(line).items()} for line in lines]
    insert_rows(client, database, TABLE, pa.Table.from_pylist(rows, schema=arrow_schema(TABLE)))


def _storable(value: object) -> object:
    """Return a text as the bytes of it; half a character, as a URL may have, is replaced."""
    return value.encode("utf-8", "replace") if isinstance(value, str) else value


def store_key_line(
    client: Client, database: str, key: ApiKey, actor: str, action: AuditAction, detail: str = ""
) -> None:
    """Store that a command of the command line is about to change a key: a line for each tenant.

    Raises as `store_audit_lines` does: what cannot be audited is not done then.
    """
    store_audit_lines(client, database, [
        AuditLine(
            tenant_id=tenant, actor=actor, key_id=key.id, via="cli", action=action,
            object_type="key", object=key.id, detail=detail or key.name,
        )
        for tenant in key.tenants
    ])  # fmt: skip


def audit_sql(
    database: str, tenant: str, filter_: AuditFilter, *, limit: int, after: LastLine | None = None
) -> tuple[str, Mapping[str, Any]]:
    """Return the query of a tenant's lines, the newest first, and its bound values."""
    query = Query(tenant)
    if filter_.actor:
        query.add(_has_part(query, "actor", filter_.actor))
    if filter_.action:
        query.add(f"action = {query.bind(filter_.action, STRING)}")
    if filter_.object:
        parts = (_has_part(query, name, filter_.object) for name in ("object", "detail"))
        query.add(f"({' OR '.join(parts)})")
    if filter_.since is not None:
        query.add(f"occurred_at >= {query.bind(filter_.since, TIME)}")
    if filter_.until is not None:
        query.add(f"occurred_at < {query.bind(filter_.until, TIME)}")
    if after is not None:
        place = f"({query.bind(after.occurred_at, TIME)}, {query.bind(after.id, STRING)})"
        query.add(f"(occurred_at, id) < {place}")
    sql = (
        f"SELECT {', '.join(TABLE.columns)} FROM {database}.{TABLE.name} FINAL "
        f"WHERE {query.where} ORDER BY occurred_at DESC, id DESC LIMIT {int(limit)}"
    )
    return sql, query.values


def list_audit_lines(
    client: Client, database: str, tenant: str, filter_: AuditFilter, *,
    limit: int, after: LastLine | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Yield at most `limit` lines of a tenant, the newest first, that follow the last of a page."""
    yield from stream(client, *audit_sql(database, tenant, filter_, limit=limit, after=after))


def _has_part(query: Query, column: str, part: str) -> str:
    return f"positionCaseInsensitiveUTF8({column}, {query.bind(part, STRING)}) > 0"


#: The texts of a line, for an export.
TEXT_COLUMNS: Final = tuple(name for name in TABLE.columns if name != "occurred_at")
