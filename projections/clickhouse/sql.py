"""SQL under way: values bound to parameters, conditions about one tenant, and rows as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


class Condition(NamedTuple):
    """A condition in SQL. `is_search`: it searches texts, which costs more than all else."""

    sql: str
    is_search: bool = False


@dataclass(slots=True)
class Parameters:
    """The values bound to the parameters of a statement, by their names."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any, kind: str) -> str:
        """Return the placeholder of a value of a ClickHouse type."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"


class Query(Parameters):
    """A question about one tenant: its conditions, and the values bound to them."""

    def __init__(self, tenant: str) -> None:
        super().__init__()
        self.of_tenant = f"tenant_id = {self.bind(tenant, 'String')}"
        self.conditions: list[Condition] = []

    def add(self, *conditions: str | Condition) -> None:
        """Ask for more conditions."""
        self.conditions += (
            Condition(each) if isinstance(each, str) else each for each in conditions
        )

    @property
    def where(self) -> str:
        """All conditions as one, that of the tenant first."""
        return " AND ".join([self.of_tenant, *(condition.sql for condition in self.conditions)])

    @property
    def clauses(self) -> str:
        """The clauses that ask all conditions."""
        return where_clauses(self.of_tenant, self.conditions)


def where_clauses(of_tenant: str, conditions: Sequence[Condition]) -> str:
    """Return the clauses that ask conditions about a tenant; texts are searched last.

    The engine would begin with what is smallest on disk, which may be the texts (E-047).
    """
    searches = [condition.sql for condition in conditions if condition.is_search]
    others = [condition.sql for condition in conditions if not condition.is_search]
    if not searches or not others:
        return f"WHERE {' AND '.join([of_tenant, *(each.sql for each in conditions)])}"
    return f"PREWHERE {' AND '.join([*others, *searches])} WHERE {of_tenant}"


def stream(client: Client, sql: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query as they come, in constant memory."""
    with client.query_rows_stream(sql, parameters=dict(values)) as rows:
        names = rows.source.column_names
        for row in rows:
            yield dict(zip(names, row, strict=True))
