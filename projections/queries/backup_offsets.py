"""The offsets that belong to backups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from projections.clickhouse.client import classified_errors
from projections.clickhouse.sql import Parameters, fetch_rows
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables.backup_offsets import TABLE

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


def store_offsets(
    client: Client, database: str, backup: str, offsets: Mapping[tuple[str, int], int]
) -> None:
    """Store where the workers are as a backup begins, by topic and partition.

    Raises as `insert_rows` does.
    """
    rows = [
        {"backup": backup, "topic": topic, "partition": partition, "offset": offset}
        for (topic, partition), offset in sorted(offsets.items())
    ]
    insert_rows(client, database, TABLE, pa.Table.from_pylist(rows, schema=arrow_schema(TABLE)))


def read_offsets(client: Client, database: str, backup: str) -> dict[tuple[str, int], int]:
    """Return where the workers were as a backup began, by topic and partition.

    Raises `ClassifiedError`.
    """
    parameters = Parameters()
    with classified_errors():
        rows = fetch_rows(
            client,
            f"SELECT topic, partition, offset FROM {database}.{TABLE.name} "
            f"WHERE backup = {parameters.bind(backup, 'String')}",
            parameters.values,
        )
    return {(topic, partition): offset for topic, partition, offset in rows}
