"""`sendlog replay` and `sendlog upgrade`: history from raw records, by the installed adapters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor.bounce_rules import bounce_rules_in_force
from processor.cli.logs import LogName
from processor.cli.options import OptionError, ReportFormat
from processor.cli.rows import to_json_value
from processor.cli.times import parse_since
from processor.clickhouse import client_of
from processor.intake.decoder import Decoder
from processor.intake.identity import Identities
from processor.replay.message import ReplayedRow
from processor.replay.message import replay_message as rows_from_raw_records
from processor.replay.preview import Preview, PreviewProgress
from processor.settings import Settings, load
from projections.queries.listing import QueryError
from projections.tables import log_of
from schemas.addresses import shown_address
from schemas.events import Channel
from schemas.providers import adapters

_status = Console(stderr=True)


def replay_message(
    message_id: Annotated[str, typer.Argument(help="The message's id, as the log shows it.")],
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant; else of all.")] = None,
    channel: Annotated[LogName | None, typer.Option(help="Only this log; else both.")] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="table, or json: a line per row.")
    ] = ReportFormat.TABLE,
) -> None:
    """Derive a message's row again from its raw records, and say whether the log has the same.

    The installed adapters and the rules for bounces in force read the records, as intake would.
    Nothing is written. Exit code 1 if a row differs.
    """
    settings = load()
    client, decode = client_of(settings), decoder_of(settings)
    channels: list[Channel] = ["email", "sms"] if channel is None else [channel.value]
    rows = [
        row for each in channels
        for row in rows_from_raw_records(
            client, settings.clickhouse.database, decode, log_of(each), message_id, tenant
        )
    ]  # fmt: skip
    if not rows:
        raise QueryError(f"no row of message {message_id!r}")
    for row in rows:
        if form is ReportFormat.JSON:
            print(json.dumps(_row_as_json(row), ensure_ascii=False, default=to_json_value))
        else:
            _print_row(row)
    raise typer.Exit(0 if all(row.is_same for row in rows) else 1)


def preview_upgrade(
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what would change; write nothing.")
    ] = False,
    provider: Annotated[
        str | None, typer.Option(help="Only records of this provider's feed.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only records from this time on, UTC; else all.")
    ] = None,
    form: Annotated[ReportFormat, typer.Option("--format")] = ReportFormat.TABLE,
) -> None:
    """Decode history by the installed adapters, and say which facts and rows would be others.

    The rules for bounces in force are used, too. Nothing is written.
    """
    if not preview:
        raise OptionError("sendlog upgrade writes nothing to history: say --preview")
    if provider is not None and provider not in adapters():
        names = ", ".join(sorted(adapters()))
        raise OptionError(f"--provider {provider!r} is none; there are: {names}")
    start, settings = parse_since(since), load()
    outcome = Preview()
    steps = outcome.compare(
        client_of(settings), settings.clickhouse.database, decoder_of(settings),
        provider=provider, since=start,
    )  # fmt: skip
    _show_progress(steps)
    if form is ReportFormat.JSON:
        print(json.dumps(_preview_as_json(outcome), ensure_ascii=False))
    else:
        _print_preview(outcome)


def decoder_of(settings: Settings) -> Decoder:
    """Return the decoder of a worker with these settings, which feeds no policy.

    It goes by the edges that the database has now.
    """
    identities = Identities(partial(client_of, settings), settings.clickhouse.database)
    return Decoder(
        settings.intake,
        max_record_bytes=settings.kafka.max_record_bytes,
        rules=bounce_rules_in_force(settings).rules,
        policy_partitions=0,
        regions=settings.numbers.by_tenant,
        resolve=identities.resolve,
    )


def _print_row(row: ReplayedRow) -> None:
    title = f"{row.log}: {row.tenant}, {shown_address(row.key.recipient)}"
    verdict = "the same" if row.is_same else "another"
    print(f"{title}: {verdict}, by {row.events:,} facts from raw records")
    for name in row.columns:
        old, new = ((each or {}).get(name) for each in (row.stored, row.derived))
        print(f"  {name}: {_shown(old)} in the log, {_shown(new)} by raw records")
    for event in row.underived:
        why = "its raw record gives it no more" if event.has_record else "it has no raw record"
        print(f"  {event.kind} of {'/'.join(map(str, event.place))}: {why}")


def _row_as_json(row: ReplayedRow) -> dict[str, Any]:
    return {
        "log": row.log,
        "tenant_id": row.tenant,
        **row.key._asdict(),
        "same": row.is_same,
        "facts": row.events,
        "differing": {
            name: {"log": (row.stored or {}).get(name), "raw": (row.derived or {}).get(name)}
            for name in row.columns
        },
        "underived": [
            {**event._asdict(), "place": "/".join(map(str, event.place))} for event in row.underived
        ],
    }


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=to_json_value)


def _print_preview(outcome: Preview) -> None:
    for count in outcome.differences:
        columns = f" ({', '.join(count.columns)})" if count.columns else ""
        print(f"facts: {count.events:,} of {count.source} would be {count.change}{columns}")
    for each in outcome.examples:
        reason = f": {each.reason}" if each.reason else ""
        place = f"{each.topic}/{each.partition}/{each.offset}"
        print(f"  as {each.kind} of {place}: {each.change}{reason}")
    for change in outcome.rows:
        print(
            f"{change.log}: {change.rows:,} rows {change.before or '(none)'} → "
            f"{change.after or '(none)'} ({', '.join(change.columns)})"
        )
    for row in outcome.row_examples:
        recipient = shown_address(row.key.recipient)
        print(f"  as {row.key.message_id} to {recipient} of {row.tenant}: {row.log}")
    differing = sum(count.events for count in outcome.differences)
    rows = sum(change.rows for change in outcome.rows)
    print(
        f"of {outcome.records:,} raw records {outcome.events:,} facts are decoded: "
        f"{differing:,} differ, {rows:,} rows would change; nothing was written"
    )


def _preview_as_json(outcome: Preview) -> dict[str, Any]:
    return {
        "records": outcome.records,
        "facts": outcome.events,
        "differences": [
            {"source": each.source, "change": each.change, "columns": each.columns,
             "facts": each.events}
            for each in outcome.differences
        ],
        "examples": [each._asdict() for each in outcome.examples],
        "rows": [each._asdict() for each in outcome.rows],
        "row_examples": [
            {**each._asdict(), "key": each.key._asdict()} for each in outcome.row_examples
        ],
    }  # fmt: skip


def _show_progress(steps: Iterable[PreviewProgress]) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=_status, transient=True) as progress:
        tasks: dict[str, Any] = {}
        for step in steps:
            if step.step not in tasks:
                tasks[step.step] = progress.add_task(f"comparing {step.step}", total=step.total)
            progress.update(tasks[step.step], completed=step.done)
