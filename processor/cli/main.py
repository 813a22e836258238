"""`sendlog`: which commands there are, and how their errors are shown.

A command's module is imported when that command runs, so `sendlog log` loads neither Faust nor a
web server. Other packages add commands by an entry point of the group `sendlog.commands`; `up`,
the local stack, comes in that way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from processor import logging, settings
from schemas.errors import ExplainedError


class _Command(NamedTuple):
    """Where a command is, "module:attribute", and under which heading the help has it.

    The attribute is a function, or a Typer application of further commands.
    """

    target: str
    panel: str


_ENTRY_POINTS: Final = "sendlog.commands"
_COMMANDS: Final = {
    "up": _Command("", "Run"),
    "worker": _Command("worker:worker", "Run"),
    "gateway": _Command("gateway:gateway", "Run"),
    "api": _Command("api:api", "Run"),
    "demo": _Command("demo:demo", "Run"),
    "mailer": _Command("mailer:mailer", "Run"),
    "publish": _Command("pipe:publish", "Feed"),
    "normalise": _Command("pipe:normalise", "Feed"),
    "log": _Command("logs:log", "Read"),
    "explain": _Command("logs:explain", "Read"),
    "dead-letters": _Command("dead_letters:app", "Read"),
    "suppressions": _Command("suppressions:app", "Read"),
    "retries": _Command("retries:app", "Read"),
    "classify": _Command("classify:classify", "Read"),
    "providers": _Command("providers:providers", "Read"),
    "migrate": _Command("upkeep:migrate", "Upkeep"),
    "rebuild": _Command("rebuild:rebuild", "Upkeep"),
    "topics": _Command("upkeep:topics_app", "Upkeep"),
    "policy": _Command("policy:app", "Upkeep"),
    "keys": _Command("keys:app", "Upkeep"),
    "schemas": _Command("schemas:app", "Upkeep"),
}


class _Commands(TyperGroup):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """Return their names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        """Return a command by its name, None if there is none."""
        if cmd_name not in _COMMANDS:
            return None
        target, panel = _COMMANDS[cmd_name]
        found = _loaded(target) if target else _plugged_in(cmd_name)
        if found is None:
            return None
        # A Typer application is a group even if it has a single command.
        group = isinstance(found, typer.Typer)
        command = get_group(found) if group else get_command(_alone(found))
        command.name = cmd_name
        command.rich_help_panel = panel  # type: ignore[attr-defined]
        return command


def _loaded(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(import_module(f"processor.cli.{module}"), attribute)


def _plugged_in(name: str) -> Any:
    [*found] = entry_points(group=_ENTRY_POINTS, name=name)
    return found[0].load() if found else None


def _alone(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app


app = typer.Typer(
    name="sendlog",
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables, SENDLOG_…: see the README.",
)


@app.callback(help="The delivery log of everything a business mails and texts.")
def sendlog() -> None:
    """Do what every command needs first: nothing."""


def main() -> None:
    """Run a command; a known error is a line on standard error and exit code 1."""
    try:
        loaded = settings.load()
        logging.configure(loaded.log_level, loaded.log_format)
        app()
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output (head, less) has seen enough
    except Exception as error:
        explanation = _explanation(error)
        if explanation is None:
            raise
        print(f"sendlog: {explanation}", file=sys.stderr)
        sys.exit(1)


def _explanation(error: Exception) -> str | None:
    """Return the line that says what is wrong, None for an error that nobody foresaw."""
    if isinstance(error, ExplainedError):
        return str(error)
    if type(error).__module__.startswith("clickhouse_connect."):
        from projections.clickhouse.client import classify  # noqa: PLC0415 - loaded by then

        return str(classify(error))
    return None
