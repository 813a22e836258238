"""Other policies run over history on the real engine, beside those in force."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta

import pyarrow as pa
import pytest

from processor.policy.config import Policy
from processor.policy.decide import State, decide
from processor.policy.outputs import announce
from processor.policy.simulation import simulate
from projections.clickhouse.client import connect
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import arrow_schema, insert
from projections.queries import policy_events
from projections.tables.events import TABLE as EVENTS
from projections.tables.events import ZEROS
from schemas.addresses import Address
from schemas.events import fingerprint
from tests.address_life import DAYS, HOURS, MINUTES, START, bounce, command, fact


def of(tenant, recipient, event):
    given = event.model_dump() | {"tenant_id": tenant, "recipient": recipient}
    return type(event).model_validate(given | {"event_id": fingerprint(given)})


def life(tenant, number):
    """Four addresses: five soft bounces; five with a delivery between; a hard one; one retried."""
    whom = [f"{name}{number}@example.com" for name in ("soft", "good", "hard", "retried")]
    for day in range(5):
        for who in whom[:2]:
            yield of(tenant, who, bounce("soft", START + day * DAYS, f"{who}-{day}"))
    yield of(tenant, whom[1], fact("delivery", START + 3 * DAYS + HOURS, "fine"))
    yield of(tenant, whom[2], bounce("hard", START, "bad"))
    yield of(tenant, whom[3], bounce("soft", START, "again"))
    yield of(tenant, whom[3], fact("sent", START + 17 * MINUTES, "again", attempt=2))
    yield of(tenant, whom[3], bounce("soft", START + 18 * MINUTES, "again", attempt=2))
    yield of(tenant, whom[3], fact("delivery", START + 20 * MINUTES, "again", attempt=2))


@pytest.fixture
def past(fresh_database):
    client = connect(fresh_database.url, user="default", password="")
    target = Target(fresh_database.name)
    list(migrate(client, target))

    def put(*events):
        rows = [
            {**ZEROS, **{n: v for n, v in each.model_dump(exclude_none=True).items() if n in ZEROS}}
            for each in events
        ]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(EVENTS))
        insert(client, fresh_database.name, EVENTS, table)

    facts = [each for tenant in ("acme", "other") for n in range(3) for each in life(tenant, n)]
    put(*facts)
    put(*facts[:20])  # copies, in another part
    environment = {
        **os.environ, "COLUMNS": "120", "SENDLOG_CLICKHOUSE__URL": fresh_database.url,
        "SENDLOG_CLICKHOUSE__DATABASE": fresh_database.name,
    }  # fmt: skip

    def run(*arguments, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "processor", "policy", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done

    run.put, run.client, run.target = put, client, target
    return run


def test_a_changed_policy_is_compared_with_the_one_in_force(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text("[default]\nretries = 1\n[tenant.acme]\nretries = 0\nsoft_threshold = 4\n")
    lines = past("simulate", str(file), "--format", "json").stdout.splitlines()
    acme, other = map(json.loads, lines)
    assert (acme["tenant"], other["tenant"]) == ("acme", "other")
    # Of each three: the fifth soft bounce lists; the delivery comes before the third retry is due.
    assert acme["current"] == {
        "retries_asked": 3 * (4 + 5 + 1), "messages_given_up": 0, "addresses_listed": 6,
        "listed_by": {"hard_bounce": 3, "soft_bounces": 3},
    }  # fmt: skip
    assert acme["changed"] == {
        "retries_asked": 0, "messages_given_up": 3 * (3 + 3 + 1),
        "addresses_listed": 9, "listed_by": {"hard_bounce": 3, "soft_bounces": 6},
    }  # fmt: skip
    assert acme["addresses_listed_only_by_changed"] == 3
    assert other["changed"]["retries_asked"] == 3 * (4 + 5 + 1)
    assert other["changed"]["messages_given_up"] == 3


def test_addresses_that_other_rules_spare_are_counted_and_shown(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text('[default]\nblacklists = ["hard_bounce"]\n')
    said = past("simulate", str(file), "--tenant", "acme").stdout
    words = " ".join(said.split())
    assert "listed by soft_bounces 3 0 -3" in words
    assert "addresses spared 3" in words
    assert " other " not in words


def test_history_begins_where_one_says(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text("")
    since = f"{START + 12 * HOURS:%Y-%m-%dT%H:%M}"
    [line] = past(
        "simulate", str(file), "--tenant", "acme", "--since", since, "--format", "json"
    ).stdout.splitlines()
    told = json.loads(line)
    assert told["current"] == told["changed"]
    assert told["current"]["addresses_listed"] == 0
    wrong = past("simulate", str(file), "--since", "monday", check=False)
    assert "--since 'monday' is no time" in wrong.stderr


def test_what_people_did_is_part_of_history(past):
    whose = Address("third", "email", "jo@example.com")
    state, facts = State(), [of(*whose[::2], bounce("hard", START))]
    for event in (facts[0], command("reset", START + HOURS), command("add", START + 2 * HOURS)):
        decisions, after = decide(state, event, START + 3 * HOURS, Policy())
        said = announce(whose, state, decisions, after).facts
        facts += (each.model_copy(update={"recorded_at": each.occurred_at}) for each in said)
        state = after
    past.put(*facts)
    rows = list(policy_events.facts(past.client, past.target, "third"))
    assert [row["kind"] for row in rows] == ["bounce", "reinstated", "suppressed"]
    now = START + timedelta(days=1)
    [outcome] = simulate(rows, (Policy(blacklists=frozenset({"hard_bounce"})),), now)
    assert set(outcome.listed) == {"hard_bounce", "by_hand"}


def test_a_wrong_file_is_refused_with_its_line(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text("[default]\n\nretries = 'three'\n")
    for arguments in (["check", str(file)], ["simulate", str(file)]):
        done = past(*arguments, check=False)
        assert done.returncode == 1
        assert f"policy file {file}, line 3: default.retries" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_policy_is_shown_as_a_file_would_have_it(past, tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('[tenant."acme"]\nretries = 1\n')
    shown = past("show", "--tenant", "acme", "--file", str(file)).stdout
    assert "retries = 1" in shown
    again = tmp_path / "again.toml"
    again.write_text(f"[default]\n{shown}")
    assert (
        past("show", "--tenant", "x", "--file", str(again)).stdout.splitlines()[1:]
        == (shown.splitlines()[1:])
    )
    assert past("check", str(file)).stdout.endswith("tenants with their own: acme\n")
    assert "built in" in past("check").stdout
