"""`sendlog demo`: publish the traffic of an invented business."""

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from processor import settings
from processor.demo.feed import FeedError, publish_records, with_progress
from processor.demo.plan import Plan, paced, planned_records, to_json_line
from processor.demo.render import FEED_TOPICS, DemoRecord


def run_demo(
    *,
    rate: Annotated[
        float, typer.Option(min=0, help="Records per second of live traffic; 0: no limit.")
    ] = 50,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same business and addresses.")
    ] = 1,
    count: Annotated[
        int, typer.Option(min=0, help="Messages in all, history included; 0: until stopped.")
    ] = 0,
    tenant: Annotated[str, typer.Option(help="The tenant that all messages belong to.")] = "demo",
    backlog: Annotated[
        int, typer.Option(min=0, help="Messages of the last 30 days, published at once first.")
    ] = 3000,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw/--facts",
            help="Providers' events as SES and Twilio push them, or as facts like the mailers'.",
        ),
    ] = True,
    disturb: Annotated[
        bool,
        typer.Option(
            "--disturb/--orderly",
            help="Repeat a tenth of the records, reorder all, and hold a hundredth back for long.",
        ),
    ] = False,
    broken: Annotated[
        bool, typer.Option("--broken", help="Add some twenty records that cannot be read.")
    ] = False,
    expected: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False,
            writable=True,
            help="Write here, as NDJSON, what the log must say of each message.",
        ),
    ] = None,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the records as NDJSON instead of publishing.")
    ] = False,
) -> None:
    """Publish the traffic of an invented dance school.

    First comes a backlog of the last 30 days, then live traffic, in which the
    days of a story pass in a minute. Ctrl-C begins no more messages and publishes
    the rest of those begun, so that --expected stays true; a second one stops.

    To look at: sendlog demo

    A load: sendlog demo --backlog 100000 --count 100000 --facts

    To check the log against:
    sendlog demo --backlog 500 --count 500 --disturb --expected expected.ndjson
    """
    plan = Plan(
        seed=seed, tenant=tenant, backlog=backlog, count=count, rate=rate, raw=raw,
        disturb=disturb, broken=broken,
    )  # fmt: skip
    stop = stop_on_signals()
    with expected.open("w", encoding="utf-8") if expected else nullcontext() as oracle:
        records = planned_records(plan, datetime.now(UTC), stop, oracle)
        if rate:
            records = paced(records, stop)
        if print_:
            _print_lines(to_json_line(record) for record in records)
            return
        console = Console(stderr=True)
        published = _publish(records, console)
    console.print(f"{published:,} records published")


def _publish(records: Iterable[DemoRecord], console: Console) -> int:
    try:
        kafka = settings.load().kafka
        return publish_records(with_progress(records, console), kafka, topics=FEED_TOPICS)
    except (FeedError, settings.SettingsError) as error:
        console.print(f"[red]{error}[/]", highlight=False)
        raise typer.Exit(1) from None


def stop_on_signals() -> Event:
    """Return an event that SIGINT and SIGTERM set; a second signal stops the program."""
    stop = Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.default_int_handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    return stop


def _print_lines(lines: Iterable[str]) -> None:
    """Print lines until the reader closes the output, as `head` does."""
    try:
        for line in lines:
            print(line, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
