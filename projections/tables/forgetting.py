"""What a run that forgets a person is at: it is empty when none is under way.

A change of a table names this table rather than the address, for the engine keeps the text of
changes.
"""

from __future__ import annotations

from typing import Final

from projections.tables import Table

TABLE: Final = Table(
    name="forgetting",
    comment="what is being forgotten now, by run: addresses, and keys of rows to change",
    columns={"run": "String", "scope": "LowCardinality(String)", "value": "String"},
    computed={},
    order_by=("run", "scope", "value"),
    version="",
)
