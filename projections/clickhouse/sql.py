"""SQL under way: values bound to parameters, conditions about one tenant, and rows as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clickhouse_connect.driver.external import ExternalData

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

#: A server refuses a bound value of over 128 KiB (`http_max_field_value_size`), or all
#: together over 1 MiB (`http_max_uri_size`). A longer list travels as a table.
MAX_BOUND_LIST_BYTES: Final = 65_536


class Condition(NamedTuple):
    """A condition in SQL. `is_search`: it searches texts, which costs more than all else."""

    sql: str
    is_search: bool = False


class ListTable(NamedTuple):
    """A long list of values as a table that comes with the query: its columns' types, its rows."""

    kinds: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]

    def data(self, name: str) -> dict[str, Any]:
        """Return the table as the client sends it, by a name."""
        rows = (json.dumps(row, ensure_ascii=False) for row in self.rows)
        return {
            "file_name": name,
            "data": "\n".join(rows).encode(),
            "fmt": "JSONCompactEachRow",
            "structure": [f"c{number} {kind}" for number, kind in enumerate(self.kinds)],
        }


@dataclass(slots=True)
class Parameters:
    """The values bound to the parameters of a statement, by their names."""

    values: dict[str, Any] = field(default_factory=dict)

    def bind(self, value: Any, kind: str) -> str:
        """Return the placeholder of a value of a ClickHouse type."""
        name = f"p{len(self.values)}"
        self.values[name] = value
        return f"{{{name}:{kind}}}"

    def bind_list(self, values: Sequence[Any], *kinds: str) -> str:
        """Return what stands right of `IN`: a list, however long, of values or tuples of `kinds`.

        Only for statements that `fetch_rows` or `stream` runs.
        """
        rows = values if len(kinds) > 1 else [(value,) for value in values]
        # What quotes and commas add is at most as much again.
        if sum(len(str(value).encode()) for row in rows for value in row) <= MAX_BOUND_LIST_BYTES:
            return self.bind(values, f"Array({kinds[0] if len(kinds) == 1 else _tuple(kinds)})")
        name = f"p{len(self.values)}"
        self.values[name] = ListTable(kinds, rows)
        return name


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


def fetch_rows(client: Client, sql: str, values: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Return the rows of a query, whose bound values may be lists of any length."""
    return client.query(sql, **sent_along(values)).result_rows


def stream(client: Client, sql: str, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a query as they come, in constant memory."""
    with client.query_rows_stream(sql, **sent_along(values)) as rows:
        names = rows.source.column_names
        for row in rows:
            yield dict(zip(names, row, strict=True))


def sent_along(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the client's arguments for bound values: parameters, and tables beside the query."""
    lists = {name: value for name, value in values.items() if isinstance(value, ListTable)}
    if not lists:
        return {"parameters": dict(values)}
    tables = ExternalData()
    for name, table in lists.items():
        tables.add_file(**table.data(name))
    parameters = {name: value for name, value in values.items() if name not in lists}
    return {"parameters": parameters, "external_data": tables}


def _tuple(kinds: Sequence[str]) -> str:
    return f"Tuple({', '.join(kinds)})"
