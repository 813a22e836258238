"""`sendlog dead-letters list|replay`."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Annotated, Any

import typer
from rich.console import Console

from processor.cli.logs import Format, print_rows
from processor.clickhouse import client_of
from processor.intake.dead_letters import mark_replayed, replay_headers
from processor.kafka.producer import producer
from processor.settings import load
from projections.queries import dead_letters
from projections.tables.dead_letters import TABLE

app = typer.Typer(
    help="Records that could not be read: where, why, and again after a fix.", no_args_is_help=True
)
_TOPIC = typer.Option(help="Only of this topic.")
_REASON = typer.Option(help="Only with this in the reason.")
_BATCH = 500


@app.command("list")
def list_(
    topic: Annotated[str, _TOPIC] = "",
    reason: Annotated[str, _REASON] = "",
    replayed: Annotated[bool, typer.Option("--replayed", help="Also those replayed.")] = False,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 for all.")] = 50,
    form: Annotated[
        Format, typer.Option("--format", help="json and csv have the raw bytes.")
    ] = Format.TABLE,
) -> None:
    """List dead letters, the newest first. In json and csv, `raw` is base64."""
    settings = load()
    rows = dead_letters.listed(
        client_of(settings), settings.clickhouse.database,
        topic=topic, reason=reason, replayed=replayed, limit=limit,
    )  # fmt: skip
    placed = ({**row, "place": _place(row)} for row in rows)
    columns = list(TABLE.columns)
    print_rows(placed, form, columns=columns, shown=("died_at", "place", "reason"))


def _place(letter: dict[str, Any]) -> str:
    """Return where a dead letter came from: topic, partition, offset, and element of a batch."""
    parts = [letter[f"source_{name}"] for name in ("topic", "partition", "offset")]
    return "/".join(map(str, parts if letter["element"] < 0 else [*parts, letter["element"]]))


@app.command()
def replay(
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
    found = dead_letters.listed(client, database, topic=topic, reason=reason, limit=limit)
    if dry_run:
        print(f"{sum(1 for _ in found):,} dead letters would be replayed")
        return
    done = 0
    with producer(settings.kafka) as send:
        pending = list(found)
        for start in range(0, len(pending), _BATCH):
            batch: list[dict[str, Any]] = []
            for letter in islice(pending, start, start + _BATCH):
                raw = base64.b64decode(letter["raw"])
                send(letter["source_topic"], raw, replay_headers(letter))
                batch.append({**letter, "raw": raw})
            send.flush()
            mark_replayed(client, database, batch)
            done += len(batch)
    Console(stderr=True).print("they are on their way through the worker")
    print(f"replayed {done:,} dead letters")
