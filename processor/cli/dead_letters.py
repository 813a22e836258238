"""`sendlog dead-letters list|replay`: records that could not be read."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from processor.cli.rows import RowFormat, print_rows
from processor.clickhouse import client_of
from processor.intake.dead_letters import mark_replayed, replay_headers
from processor.kafka.producer import sync_producer
from processor.settings import load
from projections.queries import dead_letters
from projections.tables.dead_letters import TABLE

app = typer.Typer(
    help="Records that could not be read: where, why, and again after a fix.", no_args_is_help=True
)
_TOPIC = typer.Option(help="Only of this topic.")
_REASON = typer.Option(help="Only with this in the reason.")
#: Published and marked as replayed together: after a crash at most so many are replayed again.
MAX_BATCH_DEAD_LETTERS = 500


@app.command("list")
def print_dead_letters(
    topic: Annotated[str, _TOPIC] = "",
    reason: Annotated[str, _REASON] = "",
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those replayed.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 for all.")] = 50,
    form: Annotated[
        RowFormat, typer.Option("--format", help="json and csv have the raw bytes.")
    ] = RowFormat.TABLE,
) -> None:
    """List dead letters, the newest first. In json and csv, `raw` is base64."""
    settings = load()
    rows = dead_letters.list_dead_letters(
        client_of(settings), settings.clickhouse.database,
        topic=topic, reason=reason, replayed=replayed, limit=limit,
    )  # fmt: skip
    rows_with_place = ({**row, "place": _place(row)} for row in rows)
    columns = list(TABLE.columns)
    print_rows(rows_with_place, form, columns=columns, table_columns=("died_at", "place", "reason"))


def _place(row: dict[str, Any]) -> str:
    """Return the origin of a dead letter: topic, partition, offset, and element of a batch."""
    parts = [row[f"source_{name}"] for name in ("topic", "partition", "offset")]
    return "/".join(map(str, parts if row["element"] < 0 else [*parts, row["element"]]))


@app.command("replay")
def replay_dead_letters(
    topic: Annotated[str, _TOPIC] = "",
    reason: Annotated[str, _REASON] = "",
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 for all.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how many.")] = False,
) -> None:
    """Publish dead letters again to the topic they came from, as they were.

    What is still broken becomes a dead letter again, at its new place.
    """
    settings = load()
    client, database = client_of(settings), settings.clickhouse.database
    rows = dead_letters.list_dead_letters(client, database, topic=topic, reason=reason, limit=limit)
    if dry_run:
        print(f"{sum(1 for _ in rows):,} dead letters would be replayed")
        return
    replayed = 0
    with sync_producer(settings.kafka) as send:
        pending = list(rows)
        for start in range(0, len(pending), MAX_BATCH_DEAD_LETTERS):
            batch: list[dict[str, Any]] = []
            for row in islice(pending, start, start + MAX_BATCH_DEAD_LETTERS):
                raw = base64.b64decode(row["raw"])
                send(row["source_topic"], raw, replay_headers(row))
                batch.append({**row, "raw": raw})
            send.flush()
            mark_replayed(client, database, batch)
            replayed += len(batch)
    Console(stderr=True).print("they are on their way through the worker")
    print(f"replayed {replayed:,} dead letters")
