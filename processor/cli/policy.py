"""`sendlog policy check|show|simulate`: the rules for retries and the blacklist, per tenant."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from processor.bounce_rules import bounce_rules_in_force
from processor.cli.options import ReportFormat
from processor.cli.times import parse_since
from processor.clickhouse import client_of, target_of
from processor.policy.config import (
    POLICY_VARIABLE,
    Policies,
    Policy,
    policies_in_force,
    read_policies,
)
from processor.policy.simulation import SimulationOutcome, compare_outcomes, simulate
from processor.settings import Settings, load
from projections.queries import policy_events

app = typer.Typer(help="The rules for retries and the blacklist, per tenant.", no_args_is_help=True)
_status = Console(stderr=True)


@app.command("check")
def check_policy(
    file: Annotated[
        Path | None, typer.Argument(help=f"A file of policies (TOML); else {POLICY_VARIABLE}.")
    ] = None,
) -> None:
    """Say whether a file of policies can be used; if not, which line is wrong."""
    policies = _read_or_in_force(file, load())
    names = ", ".join(sorted(policies.tenants)) or "none"
    print(f"{policies.file or 'built in'}: can be used; tenants with their own: {names}")


@app.command("show")
def show_policy(
    tenant: Annotated[str, typer.Option(help="Whose policy.")],
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help=f"Of this file; else of {POLICY_VARIABLE}.")
    ] = None,
) -> None:
    """Print the policy that goes for a tenant, as a file would have it."""
    policies = _read_or_in_force(file, load())
    note = "" if tenant in policies.tenants else ", which has none of its own"
    print(f"# {policies.file or 'built in'}, for {tenant}{note}")
    for name, value in _policy_keys(policies.of(tenant)).items():
        print(f"{name} = {json.dumps(value)}")


@app.command("simulate")
def simulate_policy(
    file: Annotated[Path, typer.Argument(help="The changed file of policies (TOML).")],
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant; else of all.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Of facts from this time on, UTC; else of all.")
    ] = None,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="table, or json: a line per tenant.")
    ] = ReportFormat.TABLE,
) -> None:
    """Say what other policies would have done in the past, beside those in force.

    The facts in the event store are put to both, in order of their own time: how many retries each
    would have asked for, how many messages given up, and which addresses listed, by which rule. A
    retry that was never made has no outcome here. Nothing is changed.
    """
    settings = load()
    current, changed = policies_in_force(settings), _read_or_in_force(file, settings)
    start, now = parse_since(since), datetime.now(UTC)
    client, target = client_of(settings), target_of(settings)
    comparisons: list[_Comparison] = []
    for name in [tenant] if tenant else policy_events.tenants_with_events(client, target, start):
        total = policy_events.count_needed(client, target, name, start)
        with _progress_bar() as bar:
            rows = policy_events.needed_events(client, target, name, start)
            tracked = bar.track(rows, total=total, description=name)
            outcomes = simulate(tracked, (current.of(name), changed.of(name)), now)
        comparisons.append(_Comparison(name, total, *outcomes))
    if form is ReportFormat.JSON:
        for comparison in comparisons:
            print(json.dumps(comparison.as_json(), ensure_ascii=False))
        return
    _print_comparisons(comparisons, current, changed)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """What two policies would have done for a tenant."""

    tenant: str
    event_count: int
    current: SimulationOutcome
    changed: SimulationOutcome

    @property
    def rows(self) -> list[tuple[str, int, int]]:
        return list(compare_outcomes([self.current, self.changed]))

    @property
    def spared(self) -> int:
        """How many addresses only the current policy suppresses."""
        return len(self.current.addresses - self.changed.addresses)

    @property
    def added(self) -> int:
        """How many addresses only the changed policy suppresses."""
        return len(self.changed.addresses - self.current.addresses)

    def as_json(self) -> dict[str, Any]:
        return {
            "tenant": self.tenant,
            "facts": self.event_count,
            "current": _outcome_as_json(self.current),
            "changed": _outcome_as_json(self.changed),
            "addresses_spared": self.spared,
            "addresses_listed_only_by_changed": self.added,
        }


def _outcome_as_json(outcome: SimulationOutcome) -> dict[str, Any]:
    return {
        "retries_asked": outcome.retries,
        "messages_given_up": outcome.exhausted,
        "addresses_listed": len(outcome.addresses),
        "listed_by": {
            rule: len(addresses) for rule, addresses in sorted(outcome.suppressed.items())
        },
    }


def _print_comparisons(
    comparisons: Sequence[_Comparison], current: Policies, changed: Policies
) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("tenant", "what", "in force", "changed", "difference"):
        table.add_column(name, justify="left" if name in {"tenant", "what"} else "right")
    for comparison in comparisons:
        for place, (label, first, second) in enumerate(comparison.rows):
            difference = f"{second - first:+,}" if second != first else ""
            tenant = "" if place else comparison.tenant
            table.add_row(tenant, label, f"{first:,}", f"{second:,}", difference)
        if comparison.spared:
            table.add_row("", "addresses spared", "", f"{comparison.spared:,}", "")
        if comparison.added:
            table.add_row("", "listed only if changed", "", f"{comparison.added:,}", "")
    print(f"in force: {current.file or 'built in'}; changed: {changed.file}")
    Console().print(table)
    event_count = sum(comparison.event_count for comparison in comparisons)
    _status.print(f"[dim]{event_count:,} facts of {len(comparisons)} tenants[/dim]")


def _read_or_in_force(file: Path | None, settings: Settings) -> Policies:
    if file is None:
        return policies_in_force(settings)
    version = bounce_rules_in_force(settings).rules.version
    return read_policies(file, "policy file", rules_version=version)


def _policy_keys(policy: Policy) -> dict[str, Any]:
    """Return a policy as the keys and values of a file."""
    keys = policy.model_dump(mode="json", exclude={"rules_version"})
    return {**keys, "blacklists": sorted(policy.blacklists)}


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), console=_status, transient=True)
