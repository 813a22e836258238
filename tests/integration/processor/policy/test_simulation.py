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
from processor.policy.decide import decide
from processor.policy.outputs import to_outputs
from processor.policy.simulation import simulate
from processor.policy.state import AddressState
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.queries import policy_events
from projections.tables.events import TABLE as EVENTS
from projections.tables.events import ZEROS
from schemas.addresses import Address
from schemas.events import fingerprint
from tests import clickhouse
from tests.address_life import DAYS, HOURS, MINUTES, START, bounce, command, message_event
from tests.clickhouse import connect_to


def event_of(tenant, recipient, event):
    fields = event.model_dump() | {"tenant_id": tenant, "recipient": recipient}
    return type(event).model_validate(fields | {"event_id": fingerprint(fields)})


def four_addresses(tenant, number):
    """Five soft bounces; five with a delivery between; a hard one; one that is retried."""
    soft, good, hard, retried = (
        f"{name}{number}@example.com" for name in ("soft", "good", "hard", "retried")
    )
    for day in range(5):
        for address in (soft, good):
            event = bounce("soft", START + day * DAYS, f"{address}-{day}")
            yield event_of(tenant, address, event)
    yield event_of(tenant, good, message_event("delivery", START + 3 * DAYS + HOURS, "fine"))
    yield event_of(tenant, hard, bounce("hard", START, "bad"))
    for event in (
        bounce("soft", START, "again"),
        message_event("sent", START + 17 * MINUTES, "again", attempt=2),
        bounce("soft", START + 18 * MINUTES, "again", attempt=2),
        message_event("delivery", START + 20 * MINUTES, "again", attempt=2),
    ):
        yield event_of(tenant, retried, event)


@pytest.fixture
def past(fresh_database):
    client = connect_to(fresh_database.url)
    target = Target(fresh_database.name)
    list(migrate(client, target))

    def insert(*events):
        dumped = [event.model_dump(exclude_none=True) for event in events]
        rows = [
            {**ZEROS, **{name: value for name, value in fields.items() if name in ZEROS}}
            for fields in dumped
        ]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(EVENTS))
        insert_rows(client, fresh_database.name, EVENTS, table)

    events = [
        event for tenant in ("acme", "other") for n in range(3)
        for event in four_addresses(tenant, n)
    ]  # fmt: skip
    insert(*events)
    insert(*events[:20])  # copies, in another part
    environment = {
        **os.environ, "COLUMNS": "120", **clickhouse.environment(fresh_database.url),
        "SENDLOG_CLICKHOUSE__DATABASE": fresh_database.name,
    }  # fmt: skip

    def run(*arguments, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "processor", "policy", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done

    run.insert, run.client, run.target = insert, client, target
    return run


def test_a_changed_policy_is_compared_with_the_one_in_force(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text("[default]\nretries = 1\n[tenant.acme]\nretries = 0\nsoft_threshold = 4\n")
    lines = past("simulate", str(file), "--format", "json").stdout.splitlines()
    acme, other = map(json.loads, lines)
    assert (acme["tenant"], other["tenant"]) == ("acme", "other")
    # Of each three: the fifth soft bounce suppresses; the delivery comes before the third retry.
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


def test_addresses_that_another_policy_spares_are_counted_and_shown(past, tmp_path):
    file = tmp_path / "changed.toml"
    file.write_text('[default]\nblacklists = ["hard_bounce"]\n')
    printed = past("simulate", str(file), "--tenant", "acme").stdout
    words = " ".join(printed.split())
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
    outcome = json.loads(line)
    assert outcome["current"] == outcome["changed"]
    assert outcome["current"]["addresses_listed"] == 0
    wrong = past("simulate", str(file), "--since", "someday", check=False)
    assert "--since 'someday' is no time" in wrong.stderr


def test_what_people_did_is_part_of_history(past):
    address = Address("third", "email", "jo@example.com")
    hard_bounce = event_of(address.tenant_id, address.address, bounce("hard", START))
    state, events = AddressState(), [hard_bounce]
    for input_ in (hard_bounce, command("reset", START + HOURS), command("add", START + 2 * HOURS)):
        decisions, after = decide(state, input_, START + 3 * HOURS, Policy())
        published = to_outputs(address, state, decisions, after).events
        events += (
            event.model_copy(update={"recorded_at": event.occurred_at}) for event in published
        )
        state = after
    past.insert(*events)
    rows = list(policy_events.needed_events(past.client, past.target, "third"))
    assert [row["kind"] for row in rows] == ["bounce", "reinstated", "suppressed"]
    now = START + timedelta(days=1)
    [outcome] = simulate(rows, (Policy(blacklists=frozenset({"hard_bounce"})),), now)
    assert set(outcome.suppressed) == {"hard_bounce", "by_hand"}


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
    keys = past("show", "--tenant", "acme", "--file", str(file)).stdout
    assert "retries = 1" in keys
    again = tmp_path / "again.toml"
    again.write_text(f"[default]\n{keys}")
    assert (
        past("show", "--tenant", "x", "--file", str(again)).stdout.splitlines()[1:]
        == (keys.splitlines()[1:])
    )
    assert past("check", str(file)).stdout.endswith("tenants with their own: acme\n")
    assert "built in" in past("check").stdout
