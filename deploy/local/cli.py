"""`sendlog up`, which `processor.cli` finds by its entry point: all of Sendlog on this machine."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from processor import settings


def up(
    demo: Annotated[bool, typer.Option("--demo", help="Also publish a made-up feed.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="How many workers to start.")] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Facts a second of the demo feed.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The demo feed is the same for a seed.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Start nothing; exit with 0 if the stack is up.")
    ] = False,
) -> None:
    """Start Kafka, ClickHouse, the web pages and the workers here, and stop them on Ctrl-C.

    Needs Java 17 and Maven. Listens at the addresses in SENDLOG_KAFKA__BOOTSTRAP,
    SENDLOG_CLICKHOUSE__URL and SENDLOG_API__PORT and keeps its data in SENDLOG_DATA_DIR, so that
    two stacks can run side by side. Prints `ready` on standard output when all is up; the parts'
    logs, and where to look with which key, go to standard error.
    """
    needed = ("chdb", "starlette", "uvicorn")
    if missing := [name for name in needed if not _there(name)]:
        typer.echo(
            f"sendlog up: {', '.join(missing)} is not installed: install Sendlog with its extra"
            " 'local' (pip install 'sendlog[local]')",
            err=True,
        )
        raise typer.Exit(2)
    # Only now: these need the extra.
    from deploy.local import stack  # noqa: PLC0415

    loaded = settings.load()
    if check:
        raise typer.Exit(stack.check(loaded))
    feed = None
    if demo:
        given = {"--rate": rate, "--seed": seed}
        feed = ["--disturb", "--broken"]
        for name, value in given.items():
            feed += [] if value is None else [name, str(value)]
    raise typer.Exit(stack.up(loaded, workers=workers, demo=feed))


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ImportError:
        return False
