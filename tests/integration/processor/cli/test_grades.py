"""`sendlog classify grade` on the real engine: the rules against what became of addresses."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.tables.events import TABLE as EVENTS
from projections.tables.events import ZEROS
from schemas.bounces import BounceRules, default_rules
from schemas.events import fingerprint
from tests import clickhouse
from tests.clickhouse import connect_to

START = datetime(2026, 11, 2, 9, tzinfo=UTC)


def event(kind, recipient, days, tenant="acme", **fields):
    values = {
        "channel": "email", "kind": kind, "tenant_id": tenant, "recipient": recipient,
        "message_id": f"{recipient}-{days}", "provider": "postal",
        "occurred_at": START + timedelta(days=days), "recorded_at": START + timedelta(days=days),
        "source_topic": "email.events.postal", **fields,
    }  # fmt: skip
    return {**ZEROS, **values, "event_id": fingerprint(values)}


def bounce(recipient, days, diagnostic, smtp, enhanced="", **fields):
    return event(
        "bounce", recipient, days, diagnostic=diagnostic, smtp_code=smtp, enhanced_status=enhanced,
        bounce_class="hard", classified_by="code", **fields,
    )  # fmt: skip


def history():
    """Six addresses called hard of which five are fine; five that are refused for good; others."""
    for n in range(6):
        yield bounce(f"fine{n}@example.com", 0, "550 5.1.3 no", 550, "5.1.3")
        if n:
            yield event("delivery", f"fine{n}@example.com", 3)
    for n in range(5):
        for days in (0, 9):
            text = f"550 <gone{n}@example.com>: moved out of the village"
            yield bounce(f"gone{n}@example.com", days, text, 550)
        yield event("open", f"gone{n}@example.com", 10, machine=True)
    yield bounce("else@example.com", 0, "550 5.1.3 no", 550, "5.1.3", tenant="other")
    # What a mailer says itself is no verdict of the rules.
    yield bounce("own@example.com", 0, "550 5.1.3 no", 550, "5.1.3", source_topic="email.sends")


def test_rules_are_graded_and_better_ones_proposed_that_can_be_used(fresh_database, tmp_path):
    client, target = connect_to(fresh_database.url), Target(fresh_database.name)
    list(migrate(client, target))
    table = pa.Table.from_pylist(list(history()), schema=arrow_schema(EVENTS))
    insert_rows(client, fresh_database.name, EVENTS, table)
    environment = {
        **os.environ, **clickhouse.environment(fresh_database.url),
        "SENDLOG_CLICKHOUSE__DATABASE": fresh_database.name,
    }  # fmt: skip

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "processor", "classify", "grade", *arguments],
            env=environment, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    output = run("--tenant", "acme")
    table, _, rules = output.partition("\n\n")
    assert [line.split() for line in table.splitlines()[1:]] == [
        ["hard", "6", "5", "0", "5.1.3"],
        ["block", "5", "0", "5", '"moved', "out", "of", "the", 'village"'],
    ]
    file = tmp_path / "rules.toml"
    file.write_text(rules, "utf-8")
    parsed = BounceRules.parse(rules, default_rules())
    assert parsed.version == default_rules().version + 1
    assert ["hard", "7", "5", "0", "5.1.3"] in [line.split() for line in run().splitlines()]
    assert "proposed" not in run("--tenant", "acme", "--rules", str(file)).lower()
    assert run("--since", "2026-12-24").splitlines()[1:] == []
