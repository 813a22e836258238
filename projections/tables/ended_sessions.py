"""Sessions of the pages that people signed out of, until their cookies expire by themselves."""

from __future__ import annotations

from typing import Final

from projections.column_types import TIME
from projections.tables import Table

TABLE: Final = Table(
    name="ended_sessions",
    comment="sessions of the pages that people signed out of; their cookies are refused",
    columns={"nonce": "String", "expires_at": TIME},
    computed={},
    order_by=("nonce",),
    version="",
)
