"""`sendlog`: the table of its commands, and the output of errors.

A command's module is imported when the command runs, so that `sendlog log` loads neither Faust nor
a web server (E-052). Other packages add commands by an entry point of the group `sendlog.commands`,
as the local stack does with `up`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from processor import logging, settings
from schemas.errors import ExplainedError


class _Command(NamedTuple):
    """Where a command is, as "module:attribute", and its heading in the help.

    The attribute is a function, or a Typer application with subcommands.
    """

    target: str
    panel: str


_ENTRY_POINTS: Final = "sendlog.commands"
_COMMANDS: Final = {
    "up": _Command("", "Run"),
    "worker": _Command("worker:run_worker_command", "Run"),
    "gateway": _Command("gateway:run_gateway_command", "Run"),
    "api": _Command("api:run_api_command", "Run"),
    "demo": _Command("demo:run_demo", "Run"),
    "mailer": _Command("mailer:run_mailer", "Run"),
    "status": _Command("status:print_status", "Run"),
    "publish": _Command("pipe:publish_file", "Feed"),
    "import": _Command("import_history:import_history", "Feed"),
    "normalise": _Command("pipe:normalise_payloads", "Feed"),
    "log": _Command("logs:print_log", "Read"),
    "explain": _Command("logs:explain_message", "Read"),
    "classify": _Command("classify:app", "Read"),
    "providers": _Command("providers:print_providers", "Read"),
    "unmatched": _Command("unmatched:print_unmatched", "Read"),
    "dead-letters": _Command("dead_letters:app", "Read"),
    "suppressions": _Command("suppressions:app", "Read"),
    "retries": _Command("retries:app", "Read"),
    "audit": _Command("audit:print_audit", "Read"),
    "resend": _Command("resend:request_resend", "Read"),
    "migrate": _Command("upkeep:migrate_database", "Upkeep"),
    "backup": _Command("backup:back_up_database", "Upkeep"),
    "restore": _Command("backup:restore_backup", "Upkeep"),
    "rebuild": _Command("rebuild:rebuild_logs", "Upkeep"),
    "replay": _Command("replay:replay_message", "Upkeep"),
    "upgrade": _Command("replay:preview_upgrade", "Upkeep"),
    "export-person": _Command("export_person:export_person", "Read"),
    "forget": _Command("forget:forget_person", "Upkeep"),
    "topics": _Command("upkeep:topics_app", "Upkeep"),
    "policy": _Command("policy:app", "Upkeep"),
    "keys": _Command("keys:app", "Upkeep"),
    "schemas": _Command("schemas:app", "Upkeep"),
}


class _Commands(TyperGroup):
    """The commands; each is imported when it runs."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - click's signature
        """Return their names, in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - click's signature
        """Return what the help says of a command, or None if there is no such command."""
        place = _place_of(cmd_name)
        if place is None:
            return None
        return TyperCommand(
            cmd_name, help=_summary(*place), rich_help_panel=_COMMANDS[cmd_name].panel,
            callback=lambda: None,
        )  # fmt: skip

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command to run, the command itself, and its arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        place = _place_of(name) if name else None
        return name, _loaded(name, *place) if name and place else command, rest


def _place_of(name: str) -> tuple[str, str] | None:
    """Return the module and attribute of a command; None if there is none, or no such package."""
    command = _COMMANDS.get(name)
    if command is None:
        return None
    if command.target:
        module, _, attribute = command.target.partition(":")
        return f"processor.cli.{module}", attribute
    [*points] = entry_points(group=_ENTRY_POINTS, name=name)
    return (points[0].module, points[0].attr) if points else None


def _loaded(name: str, module: str, attribute: str) -> Any:
    loaded = getattr(import_module(module), attribute)
    # A Typer application is a group, even with a single command.
    is_group = isinstance(loaded, typer.Typer)
    command = get_group(loaded) if is_group else get_command(_as_application(loaded))
    command.name = name
    return command


def _summary(module: str, attribute: str) -> str:
    """Return the first paragraph of a command's help, read from its module without importing it.

    The help of all commands would import a web server and Faust otherwise.
    """
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    for node in ast.parse(Path(spec.origin).read_bytes()).body:
        match node:
            case ast.FunctionDef(name=name) if name == attribute:
                return (ast.get_docstring(node) or "").partition("\n\n")[0]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(keywords=options)) if (
                name == attribute
            ):
                return next(str(ast.literal_eval(o.value)) for o in options if o.arg == "help")
    raise LookupError(f"no {attribute} in {module}")


def _as_application(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(function)
    return app


app = typer.Typer(
    name="sendlog",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings are environment variables, SENDLOG_…: see the README.",
)


@app.callback(help="The delivery log of everything a business mails and texts.")
def sendlog(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True,
            callback=lambda is_set: _print_version() if is_set else None,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:  # fmt: skip
    """Do nothing; a callback gives the group its help and its options."""


def _print_version() -> None:
    print(f"sendlog {version('sendlog')}")
    raise typer.Exit


def main() -> None:
    """Run a command. An explained error is a line on standard error, with exit code 1."""
    try:
        current = settings.load()
        logging.configure(current.log_level, current.log_format)
        app()
    except BrokenPipeError:
        sys.exit(0)  # the reader of our output, like head or less, has closed it
    except Exception as error:
        explanation = _explanation(error)
        if explanation is None:
            raise
        print(f"sendlog: {explanation}", file=sys.stderr)
        sys.exit(1)


def _explanation(error: Exception) -> str | None:
    """Return the line that explains an error, or None for an unexpected one."""
    if isinstance(error, ExplainedError):
        return str(error)
    if type(error).__module__.startswith("clickhouse_connect."):
        from projections.clickhouse.client import classify_error  # noqa: PLC0415 - loaded by then

        return str(classify_error(error))
    return None
