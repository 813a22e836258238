"""History judged again: bounces whose class follows from rules get the class of other rules.

What a bounce was judged by is in its fact (codes, diagnostic, label), so each distinct combination
is judged once. Beside the log come two work tables: `reclassified`, the verdict of each combination
that changes, and `events_reclassified`, the changed facts as they have to be. The logs are refolded
with these in place of the old ones; then they are stored, and the old ones deleted.

A fact's class is part of its key, so old and new are two rows. Whatever is broken off, at any step,
the next run ends as this one would have: it goes by what is in the event store, folding a fact
twice changes nothing, and only a fact whose replacement is stored is deleted. Facts may arrive
meanwhile: one that a worker judged by older rules stays, for the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import Target
from projections.clickhouse.rebuild import Instead, Progress, refuse_cluster
from projections.clickhouse.sql import stream
from projections.expressions import quote
from projections.tables import Projection
from projections.tables.events import TABLE as EVENTS
from schemas.providers import adapters, verdict

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from schemas.bounces import Rules

#: Bounces judged in one query, and facts deleted by one statement: bounds the engine's memory.
SLICE: Final = 1_000_000
#: Verdicts written at a time.
_BATCH: Final = 10_000
#: What the class of a bounce rests on; see `schemas.providers.verdict`.
_EVIDENCE: Final = (
    "provider", "smtp_code", "enhanced_status", "reason_code", "diagnostic", "label",
)  # fmt: skip
_COMBINATION: Final = f"hex(sipHash128({', '.join(_EVIDENCE)}))"
_OLD: Final = {
    "old_content": "UInt64",
    "old_class": "LowCardinality(String)",
    "old_classified_by": "LowCardinality(String)",
}


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How many facts go from one class to another, and what the old and the new rest on."""

    before: str
    before_by: str
    after: str
    after_by: str
    facts: int


def concerns(log: Projection) -> bool:
    """Tell whether a log is folded from bounces at all."""
    return "bounce" in log.kinds


def judge(
    client: Client, target: Target, rules: Rules, feeds: Mapping[str, str]
) -> Iterator[Progress]:
    """Find the facts that `rules` change, and put them beside the event store as they would be.

    `feeds` names the topic of each provider's raw feed. Only what came from there was judged by
    rules; a mailer's fact says its class itself and is left alone. What an earlier run left is
    discarded first. Raises ClickHouse's errors.
    """
    refuse_cluster(target)
    discard(client, target)
    client.command(
        f"CREATE TABLE {_verdicts(target)} (combination String, new_class String, "
        "new_classified_by String) ENGINE = MergeTree ORDER BY combination"
    )
    owned = _owned(feeds)
    bounces = int(scalar(client, f"SELECT count() FROM {target.stored('events')} WHERE {owned}"))
    slices = max(1, -(-bounces // SLICE))
    for done in range(slices):
        yield Progress(done, slices, bounces)
        part = f"cityHash64(diagnostic) % {slices} = {done}"
        changed: list[tuple[str, str, str]] = []
        for row in _changed(client, target, rules, f"{owned} AND {part}"):
            changed.append(row)
            if len(changed) == _BATCH:
                client.insert(_verdicts(target), changed)
                changed = []
        if changed:
            client.insert(_verdicts(target), changed)
    _collect(client, target, owned)
    yield Progress(slices, slices, bounces)


def changes(client: Client, target: Target) -> list[ClassChange]:
    """Return how many facts change, after `judge`; the most first."""
    sql = (
        "SELECT old_class, old_classified_by, bounce_class, classified_by, "
        f"uniqExact(event_id, occurred_at, old_content) FROM {_facts(target)} "
        "GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4"
    )
    return [ClassChange(*row) for row in client.query(sql).result_rows]


def instead(target: Target) -> Instead:
    """Return what a rebuild has to fold instead of the facts that change."""
    return Instead(facts=_facts(target), left_out=lambda part: _replaced(target, part))


def store(client: Client, target: Target) -> None:
    """Add the changed facts to the event store, beside those they replace."""
    columns = ", ".join(EVENTS.columns)
    client.command(
        f"INSERT INTO {target.stored('events')} ({columns}) SELECT {columns} FROM {_facts(target)}"
    )


def delete(client: Client, target: Target) -> None:
    """Delete the facts that were replaced; their replacements have to be stored."""
    count = int(scalar(client, f"SELECT count() FROM {_facts(target)}"))
    slices = -(-count // SLICE)
    for part in range(slices):
        replaced = _replaced(target, f"cityHash64(event_id) % {slices} = {part}")
        client.command(
            f"DELETE FROM {target.stored('events')} WHERE {replaced} "
            "SETTINGS lightweight_deletes_sync = 2"
        )


def discard(client: Client, target: Target) -> None:
    """Drop the work tables."""
    for table in (_verdicts(target), _facts(target)):
        client.command(f"DROP TABLE IF EXISTS {table} SYNC")


def _changed(
    client: Client, target: Target, rules: Rules, where: str
) -> Iterator[tuple[str, str, str]]:
    """Yield the new verdict of each combination of which a fact has another one."""
    sql = (
        f"SELECT {_COMBINATION} AS combination, {', '.join(_EVIDENCE)}, "
        "groupUniqArray((bounce_class, classified_by)) AS verdicts "
        f"FROM {target.stored('events')} WHERE {where} GROUP BY {', '.join(_EVIDENCE)}"
    )
    known = adapters()
    for row in stream(client, sql, {}):
        judged = verdict(known[row["provider"]], row, rules)
        new = (judged.bounce_class, judged.classified_by or "")
        if any(tuple(old) != new for old in row["verdicts"]):
            yield (row["combination"], *new)


def _collect(client: Client, target: Target, owned: str) -> None:
    """Write the facts that change, as they have to be."""
    columns = {**EVENTS.columns, **_OLD}
    declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    client.command(
        f"CREATE TABLE {_facts(target)} ({declared}) "
        "ENGINE = MergeTree ORDER BY (tenant_id, recipient, message_id)"
    )
    given = {
        "bounce_class": "new_class",
        "classified_by": "new_classified_by",
        "old_content": "content",
        "old_class": "bounce_class",
        "old_classified_by": "classified_by",
    }
    taken = ", ".join(given.get(name, name) for name in columns)
    client.command(
        f"INSERT INTO {_facts(target)} ({', '.join(columns)}) SELECT {taken} "
        f"FROM (SELECT *, content, {_COMBINATION} AS combination FROM {target.stored('events')} "
        f"WHERE {owned}) AS fact INNER JOIN {_verdicts(target)} AS judged USING (combination) "
        "WHERE (bounce_class, classified_by) != (new_class, new_classified_by)"
    )


def _owned(feeds: Mapping[str, str]) -> str:
    """Return the condition for bounces that rules have judged."""
    known = [name for name, adapter in adapters().items() if adapter.CHANNEL == "email"]
    pairs = ", ".join(f"({quote(name)}, {quote(feeds[name])})" for name in known if name in feeds)
    return f"channel = 'email' AND kind = 'bounce' AND (provider, source_topic) IN ({pairs})"


def _replaced(target: Target, part: str) -> str:
    """Return the condition for facts in the event store that are replaced, of a `part` of them."""
    where = f" WHERE {part}" if part else ""
    return (
        "channel = 'email' AND kind = 'bounce' AND (event_id, occurred_at, content) IN "
        f"(SELECT event_id, occurred_at, old_content FROM {_facts(target)}{where})"
    )


def _verdicts(target: Target) -> str:
    return target.stored("reclassified")


def _facts(target: Target) -> str:
    return target.stored("events_reclassified")
