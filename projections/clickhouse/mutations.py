"""Waiting for mutations in short requests: a large table takes longer than a request may."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from projections.clickhouse.client import FatalError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from projections.clickhouse.ddl import Target

POLL_INTERVAL_SECONDS: Final = 0.2
REPORT_INTERVAL_SECONDS: Final = 10.0
#: A mutation is begun only: `wait_for_mutations` waits.
UNWAITED: Final = {"mutations_sync": 0, "lightweight_deletes_sync": 0}


@dataclass(frozen=True, slots=True)
class Mutation:
    """A mutation that is not done on a node: the parts that are left, and why it failed last."""

    command: str
    parts: int
    failure: str


def unfinished_mutations(client: Client, target: Target, table: str) -> list[Mutation]:
    """Return the mutations of a table that are not done, of every node."""
    rows = client.query(
        f"SELECT command, parts_to_do, latest_fail_reason FROM {target.system('mutations')} "
        "WHERE database = {database:String} AND table = {table:String} "
        "AND NOT is_done AND NOT is_killed",
        parameters={
            "database": target.database, "table": target.stored(table).partition(".")[2],
        },
    ).result_rows  # fmt: skip
    return [Mutation(str(command), int(parts), str(why)) for command, parts, why in rows]


def wait_for_mutations(client: Client, target: Target, table: str) -> Iterator[str]:
    """Wait until all mutations of a table are done on every node; yield a line now and then.

    Raises `FatalError` if one fails: the server goes on trying, and another call goes on waiting.
    """
    report_at = time.monotonic() + REPORT_INTERVAL_SECONDS
    while running := unfinished_mutations(client, target, table):
        for mutation in running:
            if mutation.failure:
                raise FatalError(f"{mutation.command} of {table} fails: {mutation.failure}")
        if time.monotonic() >= report_at:
            parts = sum(mutation.parts for mutation in running)
            yield f"waiting for {table}: {parts:,} parts are left to be rewritten"
            report_at = time.monotonic() + REPORT_INTERVAL_SECONDS
        time.sleep(POLL_INTERVAL_SECONDS)
