"""The command line: `sendlog`, also `python -m processor`."""

from __future__ import annotations

import sys

import typer
from clickhouse_connect.driver.exceptions import ClickHouseError

from processor import app as worker_app
from processor import logging, policies, rules, settings, topics
from processor.cli import (
    api,
    dead_letters,
    demo,
    gateway,
    keys,
    logs,
    mailer,
    pipe,
    policy,
    providers,
    rebuild,
    retries,
    schemas,
    suppressions,
    up,
    upkeep,
    worker,
)
from processor.cli import classify as classifying
from processor.commands import UnansweredError
from processor.demo.feed import FeedError
from processor.suppression_files import FileError
from projections.queries import QueryError
from projections.store import BadRowsError, FatalError, TransientError
from projections.store import classify as cause_of
from schemas.providers import UnreadableError

app = typer.Typer(
    name="sendlog",
    help="The delivery log of everything a business mails and texts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables, SENDLOG_…: see the README.",
)
app.command(rich_help_panel="Run")(up.up)
app.command(rich_help_panel="Run")(worker.worker)
app.command(rich_help_panel="Run")(gateway.gateway)
app.command(rich_help_panel="Run")(api.api)
app.command(rich_help_panel="Run")(demo.demo)
app.command(rich_help_panel="Run")(mailer.mailer)
app.command(rich_help_panel="Feed")(pipe.publish)
app.command(rich_help_panel="Feed")(pipe.normalise)
app.command(rich_help_panel="Read")(logs.log)
app.command(rich_help_panel="Read")(logs.explain)
app.add_typer(dead_letters.app, name="dead-letters", rich_help_panel="Read")
app.add_typer(suppressions.app, name="suppressions", rich_help_panel="Read")
app.add_typer(retries.app, name="retries", rich_help_panel="Read")
app.command(rich_help_panel="Read")(classifying.classify)
app.command(rich_help_panel="Read")(providers.providers)
app.command(rich_help_panel="Upkeep")(upkeep.migrate)
app.command(rich_help_panel="Upkeep")(rebuild.rebuild)
app.add_typer(upkeep.topics_app, name="topics", rich_help_panel="Upkeep")
app.add_typer(policy.app, name="policy", rich_help_panel="Upkeep")
app.add_typer(keys.app, name="keys", rich_help_panel="Upkeep")
app.add_typer(schemas.app, name="schemas", rich_help_panel="Upkeep")

#: Errors whose text says all there is to say: shown as a line, without a traceback.
PLAIN = (
    BadRowsError, FatalError, FeedError, FileError, QueryError, TransientError, UnansweredError,
    UnreadableError, classifying.OptionError, policies.PolicyError, rules.RulesError,
    settings.SettingsError, topics.BrokerError, worker_app.StartError,
)  # fmt: skip


def main() -> None:
    """Run a command; a known error is a line on standard error and exit code 1."""
    try:
        loaded = settings.load()
        logging.configure(loaded.log_level, loaded.log_format)
        app()
    except PLAIN as error:
        print(f"sendlog: {error}", file=sys.stderr)
        sys.exit(1)
    except ClickHouseError as error:
        print(f"sendlog: {cause_of(error)}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output (head, less) has seen enough
