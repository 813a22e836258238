"""Reclassify the bounces of the event store by new rules.

An event keeps what its class rests on (codes, diagnostic, label), so each distinct combination is
classified once. Two work tables are made: `reclassified`, the new verdict of each combination that
changes, and `events_reclassified`, the changed events. The logs are refolded with these in place of
the old ones; then they are stored, and the old ones deleted.

The class is part of an event's key, so the old and the new event are two rows. A run that is
interrupted at any step is completed by the next one: that starts from the event store, folding an
event twice changes nothing, and an event is deleted only when its replacement is stored. Events may
arrive meanwhile: one that a worker classified by older rules is left to the next run.

On a cluster a changed event is on the shard of the event it replaces: it has the same recipient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from projections.clickhouse.client import scalar
from projections.clickhouse.ddl import SHARD_KEY, Target, distributed_table
from projections.clickhouse.mutations import UNWAITED, wait_for_mutations
from projections.clickhouse.rebuild import RebuildProgress, Replacement, sync_replicas
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_settings
from projections.expressions import quote
from projections.tables import Projection
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.tables.suppressions import VIEW as SUPPRESSIONS
from schemas.addresses import FORGOTTEN_DOMAIN, Address
from schemas.providers import adapters, verdict

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from schemas.bounces import BounceRules

#: Bounces classified by one query, or deleted by one statement: bounds the engine's memory.
MAX_SLICE_BOUNCES: Final = 1_000_000
BATCH_VERDICTS: Final = 10_000
#: Columns that the class of a bounce rests on (`schemas.providers.verdict`).
EVIDENCE: Final = (
    "provider", "smtp_code", "enhanced_status", "reason_code", "diagnostic", "label",
)  # fmt: skip
_COMBINATION: Final = f"hex(sipHash128({', '.join(EVIDENCE)}))"
#: The work tables: the new verdict of each combination, and the changed events.
_VERDICTS: Final = "reclassified"
_REPLACEMENTS: Final = "events_reclassified"
_OLD_COLUMNS: Final = {
    "old_content": "UInt64",
    "old_class": "LowCardinality(String)",
    "old_classified_by": "LowCardinality(String)",
}


@dataclass(frozen=True, slots=True)
class ClassChange:
    """How many events change from one class to another, and what each class rests on."""

    before: str
    before_by: str
    after: str
    after_by: str
    events: int


@dataclass(frozen=True, slots=True)
class MistakenEntry:
    """An entry of the blacklist for a bounce that is not hard any more.

    `rules` are all by which the address is listed.
    """

    address: Address
    since: datetime
    rules: tuple[str, ...]


def holds_bounces(log: Projection) -> bool:
    """Tell whether a log is folded from bounces."""
    return "bounce" in log.kinds


def classify_history(
    client: Client, target: Target, rules: BounceRules, feeds: Mapping[str, str]
) -> Iterator[RebuildProgress]:
    """Write the events whose class `rules` change into a work table, with their new class.

    `feeds` names the topic of each provider's raw feed. Only bounces from there were classified by
    rules; a mailer's event states its class itself and stays. What an earlier run left is discarded
    first. Raises ClickHouse's errors.
    """
    discard_work_tables(client, target)
    _create_work_tables(client, target)
    classified = classified_by_rules(feeds)
    bounces = int(
        scalar(client, f"SELECT count() FROM {target.database}.events WHERE {classified}")
    )
    slices = max(1, -(-bounces // MAX_SLICE_BOUNCES))
    for done in range(slices):
        yield RebuildProgress(done, slices, bounces)
        part = f"{classified} AND cityHash64(diagnostic) % {slices} = {done}"
        changed: list[tuple[str, str, str]] = []
        for row in _changed_verdicts(client, target, rules, part):
            changed.append(row)
            if len(changed) == BATCH_VERDICTS:
                client.insert(_verdicts(target), changed, settings=insert_settings(client))
                changed = []
        if changed:
            client.insert(_verdicts(target), changed, settings=insert_settings(client))
        sync_replicas(client, target, _VERDICTS)
        _write_replacements(client, target, part)
    sync_replicas(client, target, _REPLACEMENTS)
    yield RebuildProgress(slices, slices, bounces)


def class_changes(client: Client, target: Target) -> list[ClassChange]:
    """Return how many events change, after `classify_history`; the largest change first."""
    sql = (
        "SELECT old_class, old_classified_by, bounce_class, classified_by, "
        f"uniqExact(event_id, occurred_at, old_content) FROM {_replacements(target)} "
        "GROUP BY 1, 2, 3, 4 ORDER BY 5 DESC, 1, 2, 3, 4"
    )
    return [ClassChange(*row) for row in client.query(sql).result_rows]


def mistaken_entries(client: Client, target: Target) -> list[MistakenEntry]:
    """Return whom only bounces that are not hard any more have blacklisted as hard bounces.

    To be asked after `classify_history`, while its work tables are there.
    """
    softened = (
        f"SELECT tenant_id, recipient, event_id FROM {_replacements(target)} "
        "WHERE old_class = 'hard' AND bounce_class != 'hard'"
    )
    still_hard = (
        f"SELECT tenant_id, recipient FROM {target.database}.{EVENTS.name} "
        "WHERE channel = 'email' AND kind = 'bounce' AND bounce_class = 'hard' "
        f"AND (tenant_id, recipient, event_id) GLOBAL NOT IN ({softened})"
    )
    sql = (
        "SELECT tenant_id, address, min(history.since) AS since, any(entry.rules) AS rules "
        f"FROM {target.database}.{HISTORY.name} AS history "
        f"GLOBAL INNER JOIN {target.database}.{SUPPRESSIONS.name} AS entry "
        "USING (tenant_id, channel, address) "
        "WHERE channel = 'email' AND history.rule = 'hard_bounce' "
        "AND history.change IN ('added', 'extended') AND has(entry.rules, 'hard_bounce') "
        f"AND (tenant_id, address, history.cause_event_id) GLOBAL IN ({softened}) "
        f"AND (tenant_id, address) GLOBAL NOT IN ({still_hard}) "
        "GROUP BY tenant_id, address ORDER BY tenant_id, address"
    )
    return [
        MistakenEntry(Address(row["tenant_id"], "email", row["address"]), row["since"],
                      tuple(row["rules"]))
        for row in stream(client, sql, {})
    ]  # fmt: skip


def replacement(target: Target) -> Replacement:
    """Return what a rebuild folds in place of the changed events."""
    return Replacement(
        events=_replacements(target), replaced=lambda part: _replaced_events(target, part)
    )


def store_replacements(client: Client, target: Target) -> None:
    """Add the changed events to the event store, beside those they replace."""
    columns = ", ".join(EVENTS.columns)
    client.command(
        f"INSERT INTO {target.database}.events ({columns}) "
        f"SELECT {columns} FROM {_replacements(target)}",
        settings=insert_settings(client),
    )


def delete_replaced(client: Client, target: Target) -> None:
    """Delete the replaced events; their replacements have to be stored."""
    count = int(scalar(client, f"SELECT count() FROM {_replacements(target)}"))
    slices = -(-count // MAX_SLICE_BOUNCES)
    for part in range(slices):
        replaced = _replaced_events(target, f"cityHash64(event_id) % {slices} = {part}")
        client.command(
            f"DELETE FROM {target.stored('events')}{target.on_cluster} WHERE {replaced}",
            settings=UNWAITED | {"allow_nondeterministic_mutations": 1},
        )
        for _ in wait_for_mutations(client, target, EVENTS.name):
            pass


def discard_work_tables(client: Client, target: Target) -> None:
    """Drop the work tables."""
    for name in (_VERDICTS, _REPLACEMENTS):
        for table in dict.fromkeys([f"{target.database}.{name}", target.stored(name)]):
            client.command(f"DROP TABLE IF EXISTS {table}{target.on_cluster} SYNC")


def _create_work_tables(client: Client, target: Target) -> None:
    columns = ", ".join(
        f"{name} {kind}" for name, kind in {**EVENTS.columns, **_OLD_COLUMNS}.items()
    )
    for name, declared, order, shard_key in (
        (_VERDICTS, "combination String, new_class String, new_classified_by String",
         "combination", "cityHash64(combination)"),
        (_REPLACEMENTS, columns, "(tenant_id, recipient, message_id)", SHARD_KEY),
    ):  # fmt: skip
        client.command(
            f"CREATE TABLE {target.stored(name)}{target.on_cluster} ({declared}) "
            f"ENGINE = {target.engine('MergeTree')} ORDER BY {order}"
        )
        for statement in distributed_table(name, target, shard_key):
            client.command(statement)


def _changed_verdicts(
    client: Client, target: Target, rules: BounceRules, where: str
) -> Iterator[tuple[str, str, str]]:
    """Yield the new verdict of each combination for which an event has a different one."""
    sql = (
        f"SELECT {_COMBINATION} AS combination, {', '.join(EVIDENCE)}, "
        "groupUniqArray((bounce_class, classified_by)) AS verdicts "
        f"FROM {target.database}.events WHERE {where} GROUP BY {', '.join(EVIDENCE)}"
    )
    for row in stream(client, sql, {}):
        outcome = verdict(adapters()[row["provider"]], row, rules)
        new = (outcome.bounce_class, outcome.classified_by or "")
        if any(tuple(old) != new for old in row["verdicts"]):
            yield (row["combination"], *new)


def _write_replacements(client: Client, target: Target, classified: str) -> None:
    sources = {
        "bounce_class": "new_class",
        "classified_by": "new_classified_by",
        "old_content": "content",
        "old_class": "bounce_class",
        "old_classified_by": "classified_by",
    }
    columns = [*EVENTS.columns, *_OLD_COLUMNS]
    selected = ", ".join(sources.get(name, name) for name in columns)
    client.command(
        f"INSERT INTO {_replacements(target)} ({', '.join(columns)}) SELECT {selected} "
        f"FROM {target.database}.events AS event "
        # The verdicts go to each shard: any of them may concern any event.
        f"GLOBAL INNER JOIN {_verdicts(target)} AS verdict "
        f"ON {_COMBINATION} = verdict.combination "
        f"WHERE {classified} AND (bounce_class, classified_by) != (new_class, new_classified_by)",
        settings=insert_settings(client),
    )


def classified_by_rules(feeds: Mapping[str, str]) -> str:
    """Return the condition for bounces that rules have classified."""
    providers = [name for name, adapter in adapters().items() if adapter.CHANNEL == "email"]
    pairs = ", ".join(
        f"({quote(name)}, {quote(feeds[name])})" for name in providers if name in feeds
    )
    # Of who was forgotten there is no text left to judge by.
    is_known = f"NOT endsWith(recipient, {quote(f'@{FORGOTTEN_DOMAIN}')})"
    of_feeds = f"(provider, source_topic) IN ({pairs})"
    return f"channel = 'email' AND kind = 'bounce' AND {of_feeds} AND {is_known}"


def _replaced_events(target: Target, part: str) -> str:
    """Return the condition for replaced events of the event store, in a `part` of them."""
    where = f" WHERE {part}" if part else ""
    return (
        "channel = 'email' AND kind = 'bounce' AND (event_id, occurred_at, content) IN "
        "(SELECT event_id, occurred_at, old_content "
        f"FROM {target.stored(_REPLACEMENTS)}{where})"
    )


def _verdicts(target: Target) -> str:
    return f"{target.database}.{_VERDICTS}"


def _replacements(target: Target) -> str:
    return f"{target.database}.{_REPLACEMENTS}"
