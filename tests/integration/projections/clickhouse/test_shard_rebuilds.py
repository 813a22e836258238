"""Rebuilds of two shards: each folds its own events, and the outcome is that of one server."""

from __future__ import annotations

import threading

import pytest

from deploy.local.database import CLUSTER
from processor.cli import rebuild as command
from projections.clickhouse import rebuild, reclassify
from projections.clickhouse.client import FatalError
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.tables import projections
from schemas.bounces import BounceRules, default_rules
from tests import clickhouse
from tests.clickhouse import ClusterClient, connect_to
from tests.integration.projections.clickhouse.test_migrate import event, put
from tests.integration.projections.clickhouse.test_reclassify import (
    OTHER,
    REPORTED,
    SAID,
    History,
    put_entry,
)  # fmt: skip

LOG = projections()["email_log"]
EVENTS = [event(number, recipient=f"p{number % 40}@example.com") for number in range(200)]


def rows(client, target):
    sql = f"SELECT * FROM {target.database}.{LOG.name} ORDER BY tenant_id, recipient, message_id"
    return client.query(sql).result_rows


def names(client, target):
    """Return the tables of a run on any node."""
    return {
        name for node in client.clients
        for (name,) in node.query(f"SHOW TABLES FROM {target.database}").result_rows
        if "fresh" in name or "reclassified" in name
    }  # fmt: skip


def test_each_shard_refolds_its_own_events(cluster_database, monkeypatch):
    monkeypatch.setattr(rebuild, "MAX_SLICE_EVENTS", 30)
    client, target = cluster_database
    later = [event(300 + n, recipient=f"p{n % 40}@example.com", message_id=f"m{n}",
                   kind="delivery") for n in range(50)]  # fmt: skip
    put(client, target.database, *EVENTS, *later)
    before = rows(client, target)
    for node in client.clients:  # what a log lost, and what no event says
        node.command(
            f"DELETE FROM {target.stored(LOG.state_table)} WHERE recipient = 'p3@example.com'"
        )
    assert len(rows(client, target)) == len(before) - 5
    run = rebuild.begin(client, target, LOG)
    steps = list(run.fold())
    assert len(steps) == 10
    assert steps[-1].events == 250
    for node in client.clients:
        fresh = f"{target.database}.{min(n for n in names(client, target) if '_local' in n)}"
        states = {
            table: node.query(f"SELECT DISTINCT recipient FROM {table}").result_set
            for table in (fresh, target.stored("events"))
        }
        folded, stored = (sorted(recipients) for recipients in states.values())
        assert folded == stored != []
    changes = [(change.before, change.after, change.rows) for change in run.row_changes()]
    assert changes == [("", "Sent", 3), ("", "Delivery", 2)]
    run.swap()
    assert rows(client, target) == before
    assert not names(client, target)


def test_what_arrives_during_a_rebuild_is_in_the_rebuilt_log(cluster_database):
    client, target = cluster_database
    put(client, target.database, *EVENTS)
    run = rebuild.begin(client, target, LOG)
    list(run.fold())
    put(client, target.database, *(event(n, recipient=f"q{n}@x.example") for n in range(500, 520)))
    run.swap()
    put(client, target.database, event(600))
    assert len(rows(client, target)) == 221


def test_of_two_rebuilds_at_once_the_second_is_refused_on_any_node(cluster_database):
    client, target = cluster_database
    other = ClusterClient(client.clients[::-1])
    put(client, target.database, *EVENTS)
    first = rebuild.begin(client, target, LOG)
    list(first.fold())
    with pytest.raises(FatalError, match="another rebuild of email_log began 0 minutes ago"):
        rebuild.begin(other, target, LOG)
    second = rebuild.begin(other, target, LOG, take_over=True)
    assert len(second.discarded) == 1
    with pytest.raises(FatalError, match="another run has discarded this rebuild"):
        first.swap()
    list(second.fold())
    second.swap()
    assert len(rows(client, target)) == 200


def test_what_a_run_left_on_one_node_only_refuses_the_next(cluster_database):
    client, target = cluster_database
    run = rebuild.begin(client, target, LOG)
    for name in sorted(names(client, target)):
        client.clients[0].command(f"DROP TABLE IF EXISTS {target.database}.{name} SYNC")
    with pytest.raises(FatalError, match="another rebuild of email_log"):
        rebuild.begin(client, target, LOG)
    with pytest.raises(FatalError, match="another run has discarded"):
        run.swap()


@pytest.mark.parametrize("shard", [0, 1])
def test_a_shard_that_has_lost_what_was_folded_is_not_swapped_in(cluster_database, shard):
    client, target = cluster_database
    put(client, target.database, *EVENTS)
    run = rebuild.begin(client, target, LOG)
    list(run.fold())
    [fresh] = [name for name in names(client, target) if name.endswith("_local")]
    client.clients[shard].command(f"TRUNCATE TABLE {target.database}.{fresh}")
    # As many as before in all: another shard has more than it folded.
    put(client, target.database, *(event(n, recipient=f"q{n}@x.example") for n in range(500, 900)))
    client.clients[shard].command(f"TRUNCATE TABLE {target.database}.{fresh}")
    with pytest.raises(FatalError, match=f"0 messages on shard {shard + 1}, and"):
        run.swap()
    assert len(rows(client, target)) == 600


def test_inserts_on_every_node_are_waited_for(cluster_database):
    client, target = cluster_database
    node = client.clients[1]
    query = f"insert-{target.database}"
    insert = threading.Thread(target=lambda: node.command(
        f"INSERT INTO {target.stored('events')} (tenant_id, message_id) "
        "SELECT 't', toString(sleepEachRow(0.1)) FROM numbers(20) SETTINGS max_block_size = 1",
        settings={"query_id": query},
    ))  # fmt: skip
    insert.start()
    running = "SELECT count() FROM system.processes WHERE query_kind = 'Insert'"
    while not int(node.command(running)):
        pass
    rebuild.wait_for_older_inserts(client, target)
    assert int(node.command(running)) == 0
    insert.join()


@pytest.fixture
def histories(fresh_database, cluster_database):
    """Give the same history on one server and on two shards, and some entries of the blacklist."""
    one = connect_to(fresh_database.url)
    list(migrate(one, Target(fresh_database.name)))
    client, target = cluster_database
    both = (
        History(fresh_database.url, fresh_database.name, one),
        History("", target.database, client, CLUSTER),
    )
    for history in both:
        history.put(REPORTED + SAID)
        for number in (0, 1, 4, 8):
            put_entry(history, number)
        put_entry(history, 1, "complaint")
    return both


def test_history_is_reclassified_as_on_one_server(histories, monkeypatch):
    monkeypatch.setattr(reclassify, "MAX_SLICE_BOUNCES", 3)
    monkeypatch.setattr(rebuild, "MAX_SLICE_EVENTS", 5)
    rules = BounceRules.parse(OTHER, default_rules())
    found = []
    for history in histories:
        steps = history.steps(rules)
        steps[0]()
        report = (
            reclassify.class_changes(history.client, history.target),
            reclassify.mistaken_entries(history.client, history.target),
        )
        for step in steps[1:]:
            step()
        found.append((*report, history.facts(), history.log()))
    one, two = found
    assert two == one
    assert len(one[0]) == 5
    assert len(one[1]) == 3
    shards = histories[1].client.clients
    placed = [
        node.query(f"SELECT DISTINCT recipient FROM {histories[1].name}.{table}").result_rows
        for node in shards for table in ("events_local", "email_log_state_local")
    ]  # fmt: skip
    assert sorted(placed[0]) == sorted(placed[1])
    assert sorted(placed[2]) == sorted(placed[3])
    assert not set(placed[0]) & set(placed[2])
    assert not names(histories[1].client, histories[1].target)


def test_a_run_broken_off_after_any_step_is_finished_by_the_next(histories):
    one, two = histories
    choices = (BounceRules.parse(OTHER, default_rules()), default_rules())
    for done in range(7):
        rules = choices[done % 2]
        one.run(rules)
        for step in two.steps(rules)[:done]:
            step()
        two.run(rules)
        assert (two.log(), two.facts()) == (one.log(), one.facts()), done
        assert not names(two.client, two.target)


def test_the_command_prints_the_same(histories, monkeypatch, tmp_path, capsys):
    file = tmp_path / "own.toml"
    file.write_text(OTHER)
    monkeypatch.setenv("SENDLOG_BOUNCE_RULES", str(file))
    monkeypatch.setenv("SENDLOG_CLICKHOUSE__PASSWORD", clickhouse.PASSWORD)
    for history in histories:
        stored = history.target.stored(LOG.state_table)
        history.client.command(
            f"DELETE FROM {stored}{history.target.on_cluster} WHERE message_id = 'm2'"
        )
    for reclassified, dry_run in ((False, True), (True, True), (False, False), (True, False)):
        printed = []
        for history in histories:
            monkeypatch.setenv("SENDLOG_CLICKHOUSE__DATABASE", history.name)
            monkeypatch.setenv("SENDLOG_CLICKHOUSE__CLUSTER", history.cluster)
            monkeypatch.setattr(command, "client_of", lambda _, history=history: history.client)
            command.rebuild_logs(
                [], dry_run=dry_run, judge_bounces=reclassified, yes=True, lift=False,
                take_over=False,
            )  # fmt: skip
            printed.append((capsys.readouterr().out, history.log(), history.facts()))
        one, two = printed
        assert two == one
        assert "email_log: " in one[0]
