"""Keys of the HTTP API: whose, for which tenants and what for. Only a hash of each is kept."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="api_keys",
    comment="keys of the HTTP API by their SHA-256; tenant '*' means all; a revoked one stays so",
    columns={
        "id": "String",
        "name": "String",
        "hash": "String",
        "tenants": "Array(String)",
        "scopes": "Array(String)",
        "created_at": TIME,
        "revoked_at": f"Nullable({TIME})",
        "expires_at": f"Nullable({TIME})",
        "role": "String",
    },
    computed={
        # A revoked key stays revoked, whatever is written later.
        "version": "UInt64 MATERIALIZED toUInt64(ifNull(toUnixTimestamp64Milli(revoked_at), 0))",
    },
    order_by=("id",),
    version="version",
)
