"""The read-only users: what they are granted is all that views need, and nothing else is.

The server out of the wheel makes no users by SQL. So the statements are parsed by it, and what they
grant, wall and limit is given to users of its configuration: then it is enforced.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from deploy.local import accounts
from deploy.local.addresses import free_port
from projections.clickhouse.ddl import Target, table_statements, view_statements
from projections.tables import projections, tables, views
from tests.api import START, complete_events, empty_api, sample_events
from tests.clickhouse import Database
from tests.conftest import connected
from tests.paths import ROOT

FOLDER = ROOT / "deploy/clickhouse"
READER, WALLED = ((FOLDER / f"{name}.sql").read_text() for name in ("reader", "tenant_reader"))
DATABASE = "sendlog"
GRANTED = re.findall(r"^GRANT SELECT ON sendlog\.(\w+) TO sendlog_reader;$", READER, re.MULTILINE)
WITHHELD = re.findall(
    r"sendlog\.(\w+)", " ".join(re.findall(r"^-- Withheld: (.*)$", READER, re.MULTILINE))
)
DENIED, TOO_MUCH, READ_ONLY, UNSEEN = 497, 452, 164, 636


def parts(sql):
    """Return the statements of a file."""
    bare = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [each.strip() for each in bare.split(";") if each.strip()]


def made_by_migrating():
    """Return what is in a migrated database."""
    pattern = re.compile(r"CREATE (?:OR REPLACE )?(?:MATERIALIZED )?(?:TABLE|VIEW) "
                         r"(?:IF NOT EXISTS )?sendlog\.(\w+)")  # fmt: skip
    target = Target(DATABASE)
    made = [*table_statements(target), *view_statements(target)]
    return {found[1] for each in made if (found := pattern.match(each))}


def walls(tenant):
    """Return the condition of the row policies on each table."""
    found = {}
    for each in parts(WALLED.replace("TENANT", tenant)):
        if policy := re.match(r"CREATE ROW POLICY .*? ON(.*)USING (.*) TO ", each, re.DOTALL):
            found |= dict.fromkeys(re.findall(r"sendlog\.(\w+)", policy[1]), policy[2])
    return found


def test_everything_in_the_database_is_granted_or_withheld():
    assert sorted(GRANTED + WITHHELD) == sorted(made_by_migrating())
    assert {"api_keys", "dead_letters"} <= set(WITHHELD)
    assert set(views()) | set(projections()) | {"events"} <= set(GRANTED)


def test_every_granted_table_that_holds_rows_of_a_tenant_is_walled():
    holding = {name for name, table in tables().items() if "tenant_id" in table.columns}
    holding |= {log.state_table for log in projections().values()}
    assert set(walls("acme")) == holding & set(GRANTED)


def test_the_wall_stands_before_the_right_to_read():
    first, *policies, last = parts(WALLED)
    assert first.startswith("CREATE USER")
    assert "ROLE" not in first  # it would be granted at once
    assert all(each.startswith("CREATE ROW POLICY") for each in policies)
    assert last.startswith("GRANT sendlog_reader TO")


@pytest.mark.parametrize("sql", parts(READER) + parts(WALLED.replace("TENANT", "acme")))
def test_the_engine_can_read_every_statement(engine, sql):
    with connected(engine.url) as client:
        client.query(f"EXPLAIN AST {sql}", parameters={"password": "it's secret"})


@pytest.mark.parametrize("sql", [READER, WALLED])
def test_no_password_is_in_the_files_and_none_is_made_up(engine, sql):
    [user] = [each for each in parts(sql) if each.startswith("CREATE USER")]
    assert re.findall(r" BY (\S+)", user) == ["{password:String}"]
    with connected(engine.url) as client, pytest.raises(Exception, match="`password` is not set"):
        client.query(f"EXPLAIN AST {user}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Give a server with events of the tenants a and b, an analyst, and one walled to a."""
    analyst = accounts.analyst("analyst", DATABASE)
    walled = replace(analyst, name="sendlog_a", password="walled", filters=walls("a"))
    folder = tmp_path_factory.mktemp("reader")
    url = f"http://127.0.0.1:{free_port()}"
    with Database(url, folder, accounts=[analyst, walled]) as server:
        api = empty_api(server.url, DATABASE)
        for tenant, count in (("a", 30), ("b", 20)):
            for channel in ("email", "sms"):
                api.add_events(sample_events(tenant, channel, count, seed=count))
            api.add_events(complete_events([{
                "channel": "email", "kind": "retry_scheduled", "message_id": f"{tenant}-email-1",
                "recipient": "p1@d1.example", "attempt": 2, "occurred_at": START,
                "recorded_at": START, "due_at": START,
            }, {
                "channel": "email", "kind": "delivery", "message_id": "p", "recipient": "",
                "provider_message_id": "p", "occurred_at": START, "recorded_at": START,
                "record_type": "family", "record_id": "1", "record_name": "The Clarks",
            }], tenant))  # fmt: skip
            api.add_history_row(tenant, "jo@example.com", "added")
        api.add_key("somebody", ["a"])
        api.add_dead_letter(1, b"{}", "no event")
        yield server


def answers(server, queries, user=accounts.ANALYST, password="analyst"):
    """Return what a user is answered: the rows of each query, or the error's code."""

    def answer(sql):
        try:
            return [list(row) for row in client.query(sql).result_rows]
        except DatabaseError as error:
            return error.code

    with connected(server.url, username=user, password=password) as client:
        return {sql: answer(sql) for sql in queries}


def counts(name):
    return f"SELECT count() FROM sendlog.{name}"


def test_a_reader_reads_what_is_granted_and_changes_nothing(server):
    refused = [
        *map(counts, WITHHELD), "SELECT * FROM sendlog.api_keys", "DROP TABLE sendlog.events",
        "INSERT INTO sendlog.policy_history (tenant_id) SELECT 'x'",
        "TRUNCATE TABLE sendlog.events", "CREATE TABLE sendlog.mine (x Int8) ENGINE = Memory",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'x String')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    ]  # fmt: skip
    bounded = {
        "SELECT 1 SETTINGS max_threads = 2": [[1]], "SELECT 1 SETTINGS max_threads = 64": TOO_MUCH,
        "SELECT 1 SETTINGS max_execution_time = 601": TOO_MUCH, "SET readonly = 0": READ_ONLY,
        **{
            f"SELECT 1 SETTINGS {name} = 0": TOO_MUCH
            for name in ("max_execution_time", "max_memory_usage", "priority",
                         "max_bytes_before_external_group_by", "max_bytes_before_external_sort")
        },
    }  # fmt: skip
    hidden = "SELECT * FROM merge('sendlog', 'api_keys')"
    found = answers(server, [*map(counts, GRANTED), *refused, *bounded, hidden])
    assert {sql: found[sql] for sql in bounded} == bounded
    denied = {sql: found[sql] for sql in refused}
    assert set(denied.values()) == {DENIED}, denied
    assert found[hidden] == UNSEEN
    empty = {"policies", "policy_history"}
    rows = {name: found[counts(name)] for name in GRANTED}
    assert {name for name, answer in rows.items() if answer in ([[0]], [["0"]])} <= empty
    assert {name for name, answer in rows.items() if not isinstance(answer, list)} == set()


def test_a_walled_reader_sees_one_tenant_whatever_is_asked(server):
    having = [name for name in GRANTED if not name.startswith("polic")]
    queries = {name: f"SELECT DISTINCT tenant_id FROM sendlog.{name}" for name in having}
    sneaky = [
        "SELECT count() FROM sendlog.email_log WHERE tenant_id = 'b'",
        "SELECT count() FROM merge('sendlog', '^email_log_state$') WHERE tenant_id = 'b'",
        "SELECT sum(messages) FROM sendlog.sms_daily WHERE tenant_id != 'a'",
    ]
    found = answers(server, [*queries.values(), *sneaky], "sendlog_a", "walled")
    assert {name: found[sql] for name, sql in queries.items()} == {name: [["a"]] for name in having}
    assert [str(found[sql][0][0]) for sql in sneaky] == ["0", "0", "0"]
