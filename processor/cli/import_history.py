"""`sendlog import`: publish the history that a provider or mail server has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from processor.bounce_rules import bounce_rules_in_force
from processor.cli.options import OptionError
from processor.cli.times import parse_since
from processor.clickhouse import client_of
from processor.imports.files import files_of
from processor.imports.history import (
    FindKnown,
    HistoryImport,
    ImportCounts,
    ImportRecord,
    none_known,
)
from processor.imports.list_layouts import LIST_LAYOUTS, list_names
from processor.imports.payloads import BadLine
from processor.imports.progress import ImportProgress
from processor.imports.reading import read_file
from processor.kafka.producer import SyncProducer, sync_producer
from processor.kafka.topics import feed_topic
from processor.settings import Settings, load
from projections.queries.known_events import EventMark, known_events
from schemas.providers import adapters

_status = Console(stderr=True)
#: Bad lines that are reported one by one.
MAX_NAMED_BAD_LINES: Final = 20
#: Items after which it is seen to that the broker has what was sent, and the state is written.
FLUSH_ITEMS: Final = 1_000
#: Records that a preview shows.
MAX_EXAMPLES: Final = 3


def import_history(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders; - for standard input.")],
    provider: Annotated[str, typer.Option(help="Whose exports: ses, sendgrid, twilio, reports, …")],
    tenant: Annotated[str, typer.Option(help="Whose history, whatever it says itself.")],
    list_name: Annotated[
        str, typer.Option("--list", help="The rows are a list that the provider keeps: bounces, …")
    ] = "",
    shared: Annotated[
        bool, typer.Option("--shared", help="Payloads may name tenants; --tenant has the others.")
    ] = False,
    since: Annotated[str | None, typer.Option(help="Leave out what was before.")] = None,
    until: Annotated[
        str | None, typer.Option(help="Leave out what was from then on, as the live feed has it.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="A file to keep what is done, for a run that goes on.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Only say what it would do.")] = False,
    ask_log: Annotated[
        bool, typer.Option("--ask-log/--no-ask-log", help="Leave out rows that the log has.")
    ] = True,
) -> None:
    """Publish a provider's history from its exports, beside the live feed or before it.

    Takes payloads as the provider pushes them, one a line or in any JSON, also compressed and in
    folders (SES by Firehose or S3); lists of its API (Mailgun, Postmark, Twilio, SendGrid); CSV of
    SendGrid and Twilio, and of others if its columns are the paths of a payload; records with their
    headers and times as `kcat -J` prints them; and of the provider "reports" mails and mailboxes.

    With --list the rows are what a provider refuses to send to, and each address is blacklisted by
    the rule and since the time that the list has: sendgrid bounces, invalid, spam-reports,
    unsubscribes; mailgun bounces, complaints, unsubscribes; postmark and ses suppressions; mandrill
    denylist, mailchimp-unsubscribed, mailchimp-cleaned. An address is blacklisted once.

    Bad lines are named, and the rest goes on: the command then ends with 1. What is imported twice,
    or was in the live feed, counts once.

    As: sendlog import exports/ --provider ses --tenant acme --preview
    """
    settings = load()
    bounce_rules_in_force(settings)  # a worker would fail on wrong ones, so fail before it does
    if provider not in adapters():
        names = ", ".join(sorted(adapters()))
        raise OptionError(f"--provider {provider!r} has no adapter; there are: {names}")
    if list_name and list_name not in LIST_LAYOUTS.get(provider, {}):
        raise OptionError(
            f"--list {list_name!r} of {provider} is unknown; there are {list_names()}"
        )
    if not tenant.strip():
        raise OptionError("--tenant names nobody")
    name = tenant.strip()
    history = HistoryImport(
        adapter=adapters()[provider], tenant=name, shared=shared,
        since=parse_since(since), until=parse_since(until, "--until"),
        regions=settings.numbers.by_tenant, max_record_bytes=settings.kafka.max_record_bytes,
        find_known=_log_of(settings, provider) if ask_log else none_known,
    )  # fmt: skip
    topic, files = feed_topic(history.adapter.CHANNEL, provider), files_of(paths)
    target = f"{topic} of {name}" + (f", {list_name}" if list_name else "")
    progress = None if preview else ImportProgress(state, target)
    with _sender(settings, topic, preview=preview) as send:
        _import_files(settings, files, history, send, progress, list_name)
    _print_preview(send.examples, topic)
    _print_counts(history.counts, preview=preview, is_list=bool(list_name))
    if history.counts.bad:
        raise typer.Exit(1)


class _Sender:
    """Publishes records to a topic; in a preview it only keeps the first of them."""

    def __init__(self, topic: str, send: SyncProducer | None) -> None:
        self._topic, self._send = topic, send
        self.examples: list[ImportRecord] = []

    def __call__(self, record: ImportRecord) -> None:
        if self._send is not None:
            self._send(self._topic, record.value, record.headers)
        elif len(self.examples) < MAX_EXAMPLES:
            self.examples.append(record)

    def flush(self) -> None:
        if self._send is not None:
            self._send.flush()


@contextmanager
def _sender(settings: Settings, topic: str, *, preview: bool) -> Iterator[_Sender]:
    if preview:
        yield _Sender(topic, None)
        return
    with sync_producer(settings.kafka) as send:
        yield _Sender(topic, send)


def _import_files(
    settings: Settings, files: Sequence[Path], history: HistoryImport, send: _Sender,
    progress: ImportProgress | None, list_name: str,
) -> None:  # fmt: skip
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=_status, transient=True, disable=not _status.is_terminal,
    )  # fmt: skip
    with bar:
        task = bar.add_task("importing", total=len(files))
        for file in files:
            done = progress.done(file) if progress else 0
            items = read_file(
                file, history.adapter.PROVIDER, list_name=list_name,
                max_bytes=settings.kafka.max_record_bytes,
                return_path_pattern=settings.gateway.verp,
            )  # fmt: skip
            for result in history.records(islice(items, done, None)):
                done += 1
                if isinstance(result, BadLine):
                    _report_bad(result, history.counts.bad)
                elif isinstance(result, ImportRecord):
                    send(result)
                if not done % FLUSH_ITEMS:
                    _settle(send, progress, file, done)
                    published = f"{history.counts.published:,} records"
                    bar.update(task, description=f"importing {file.name}, {published}")
            _settle(send, progress, file, done)
            bar.advance(task)


def _settle(send: _Sender, progress: ImportProgress | None, file: Path, done: int) -> None:
    """See to that the broker has what was sent, and only then write down that it is done."""
    send.flush()
    if progress:
        progress.set_done(file, done)


def _report_bad(line: BadLine, count: int) -> None:
    if count <= MAX_NAMED_BAD_LINES:
        _status.print(str(line), markup=False, highlight=False, soft_wrap=True)
    elif count == MAX_NAMED_BAD_LINES + 1:
        _status.print("… and more bad lines, which are only counted")


def _log_of(settings: Settings, provider: str) -> FindKnown:
    """Return what asks the log; it connects at the first question."""
    connect = cache(partial(client_of, settings))

    def find_known(marks: Sequence[EventMark], since: datetime, until: datetime) -> set[EventMark]:
        database = settings.clickhouse.database
        return known_events(connect(), database, provider, marks, since, until)

    return find_known


def _print_preview(examples: Sequence[ImportRecord], topic: str) -> None:
    for record in examples:
        kinds = ", ".join(event["kind"] for event in record.events)
        print(f"  as {record.source.file}, line {record.source.line}: {kinds} to {topic}")


def _print_counts(counts: ImportCounts, *, preview: bool, is_list: bool) -> None:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts.events.most_common())
    if counts.first_at and counts.last_at:
        print(
            f"events: {kinds}; {counts.first_at:%Y-%m-%d %H:%M} to {counts.last_at:%Y-%m-%d %H:%M}"
        )
    for why, count in counts.left_out.most_common():
        print(f"left out: {count:,} {why}")
    if counts.unmatched and not is_list:
        print(
            f"{counts.unmatched:,} events name no message of yours: they find it by the provider's"
            " id, if a sent or a note says it"
        )
    if is_list and counts.lenient_bounces:
        print(
            f"{counts.lenient_bounces:,} bounces are not hard by the rules here: they list nobody"
        )
    if counts.bad:
        print(f"bad: {counts.bad:,} lines")
    print(f"{'would publish' if preview else 'published'} {counts.published:,} records")
