"""`sendlog policy check|show|simulate`: the rules for retries and the blacklist, per tenant."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from processor import bounce_rules
from processor.clickhouse import client_of, target_of
from processor.policy.config import VARIABLE, Policies, Policy, in_force, read
from processor.policy.simulation import Outcome, compared, simulate
from processor.settings import Settings, load
from projections.queries import policy_events
from projections.queries.listing import QueryError

app = typer.Typer(help="The rules for retries and the blacklist, per tenant.", no_args_is_help=True)
_status = Console(stderr=True)


class Format(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"


@app.command()
def check(
    file: Annotated[
        Path | None, typer.Argument(help=f"A file of policies (TOML); else {VARIABLE}.")
    ] = None,
) -> None:
    """Say whether a file of policies can be used; if not, which line is wrong."""
    policies = _read(file, load())
    named = ", ".join(sorted(policies.tenants)) or "none"
    print(f"{policies.file or 'built in'}: can be used; tenants with their own: {named}")


@app.command()
def show(
    tenant: Annotated[str, typer.Option(help="Whose policy.")],
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Of this file; else of {VARIABLE}.")
    ] = None,
) -> None:
    """Print the policy that goes for a tenant, as a file would have it."""
    policies = _read(file, load())
    own = "" if tenant in policies.tenants else ", which has none of its own"
    print(f"# {policies.file or 'built in'}, for {tenant}{own}")
    for name, value in _keys(policies.of(tenant)).items():
        print(f"{name} = {json.dumps(value)}")


@app.command("simulate")
def simulate_(
    file: Annotated[Path, typer.Argument(help="The changed file of policies (TOML).")],
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant; else of all.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Of facts from this time on, UTC; else of all.")
    ] = None,
    form: Annotated[
        Format, typer.Option("--format", help="table, or json: a line per tenant.")
    ] = Format.TABLE,
) -> None:
    """Say what other policies would have done in the past, beside those in force.

    The facts in the event store are put to both, in order of their own time: how many retries each
    would have asked for, how many messages given up, and which addresses listed, by which rule. A
    retry that was never made has no outcome here. Nothing is changed.
    """
    settings = load()
    current, changed = in_force(settings), _read(file, settings)
    began, now = _time(since), datetime.now(UTC)
    client, target = client_of(settings), target_of(settings)
    compares: list[_Comparison] = []
    for name in [tenant] if tenant else policy_events.tenants(client, target, began):
        total = policy_events.count(client, target, name, began)
        with _bar() as bar:
            rows = policy_events.facts(client, target, name, began)
            watched = bar.track(rows, total=total, description=name)
            outcomes = simulate(watched, (current.of(name), changed.of(name)), now)
        compares.append(_Comparison(name, total, *outcomes))
    if form is Format.JSON:
        for each in compares:
            print(json.dumps(each.as_json(), ensure_ascii=False))
        return
    _print(compares, current, changed)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What two policies did for a tenant."""

    tenant: str
    facts: int
    current: Outcome
    changed: Outcome

    @property
    def lines(self) -> list[tuple[str, int, int]]:
        return list(compared([self.current, self.changed]))

    @property
    def spared(self) -> int:
        """Addresses that only the current policy lists."""
        return len(self.current.addresses - self.changed.addresses)

    @property
    def more(self) -> int:
        """Addresses that only the changed policy lists."""
        return len(self.changed.addresses - self.current.addresses)

    def as_json(self) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "facts": self.facts,
            "current": _told(self.current),
            "changed": _told(self.changed),
            "addresses_spared": self.spared,
            "addresses_listed_only_by_changed": self.more,
        }


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "retries_asked": outcome.retries,
        "messages_given_up": outcome.exhausted,
        "addresses_listed": len(outcome.addresses),
        "listed_by": {rule: len(whom) for rule, whom in sorted(outcome.listed.items())},
    }


def _print(compares: Iterable[_Comparison], current: Policies, changed: Policies) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("tenant", "what", "in force", "changed", "difference"):
        table.add_column(name, justify="left" if name in {"tenant", "what"} else "right")
    compares = list(compares)
    for each in compares:
        for place, (what, first, second) in enumerate(each.lines):
            difference = f"{second - first:+,}" if second != first else ""
            tenant = "" if place else each.tenant
            table.add_row(tenant, what, f"{first:,}", f"{second:,}", difference)
        if each.spared:
            table.add_row("", "addresses spared", "", f"{each.spared:,}", "")
        if each.more:
            table.add_row("", "listed only if changed", "", f"{each.more:,}", "")
    print(f"in force: {current.file or 'built in'}; changed: {changed.file}")
    Console().print(table)
    facts = sum(each.facts for each in compares)
    _status.print(f"[dim]{facts:,} facts of {len(compares)} tenants[/dim]")


def _read(file: Path | None, settings: Settings) -> Policies:
    if file is None:
        return in_force(settings)
    version = bounce_rules.in_force(settings).rules.version
    return read(file, "policy file", rules_version=version)


def _keys(policy: Policy) -> dict[str, Any]:
    """Return a policy by the keys of a file."""
    told = policy.model_dump(mode="json", exclude={"rules_version"})
    return {name: sorted(v) if name == "blacklists" else v for name, v in told.items()}


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=_status, transient=True)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"--since {text!r} is no time; write it as 2026-11-24T10:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
