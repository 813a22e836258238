"""SQL under way: conditions with bound values; and rows as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


@dataclass(slots=True)
class Bound:
    """SQL under way: its conditions and the values bound to them."""

    conditions: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tenant: str) -> Bound:
        """Return a question about a tenant: its first condition."""
        bound = cls()
        bound.conditions.append(f"tenant_id = {bound.bind(tenant, 'String')}")
        return bound

    def bind(self, value: Any, kind: str) -> str:
        """Return the placeholder of a value."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    @property
    def where(self) -> str:
        """All conditions as one."""
        return " AND ".join(self.conditions)


def stream(client: Client, sql: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query as they come, in constant memory."""
    with client.query_rows_stream(sql, parameters=dict(values)) as rows:
        names = rows.source.column_names
        for row in rows:
            yield dict(zip(names, row, strict=True))
