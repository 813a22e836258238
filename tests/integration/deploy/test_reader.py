"""The read-only users: what they are granted is all that views need, and nothing else is.

The engine as a library has one user and makes no others. So the statements are parsed by it, and
what they grant, wall and limit is given to its one user by a configuration: then it is enforced.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from xml.sax.saxutils import escape

import pytest

from deploy.local.addresses import free_port
from deploy.local.database import Database
from projections.clickhouse.ddl import Target, table_statements, view_statements
from projections.tables import projections, tables, views
from tests.api import empty_api, sample_events
from tests.conftest import connected
from tests.paths import ROOT

FOLDER = ROOT / "deploy/clickhouse"
READER, WALLED = ((FOLDER / f"{name}.sql").read_text() for name in ("reader", "tenant_reader"))
DATABASE = "sendlog"
GRANTED = re.findall(r"^GRANT SELECT ON sendlog\.(\w+) TO sendlog_reader;$", READER, re.MULTILINE)
WITHHELD = re.findall(
    r"sendlog\.(\w+)", " ".join(re.findall(r"^-- Withheld: (.*)$", READER, re.MULTILINE))
)
#: Runs queries as a user of a configuration, and prints the answer to each, or the error's code.
ASK = """
import json, re, sys, chdb
engine = chdb.connect(sys.argv[1])
for sql in json.load(sys.stdin):
    try:
        rows = str(engine.query(sql, "JSONCompactEachRow")).splitlines()
        print(json.dumps([json.loads(row) for row in rows]))
    except RuntimeError as error:
        print(json.dumps(int(re.search(r"Code: (\\d+)", str(error))[1])))
"""
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
def folder(tmp_path_factory):
    """Give the folder of a database with facts of the tenants a and b, that nobody has open."""
    folder = tmp_path_factory.mktemp("reader")
    with Database(f"http://127.0.0.1:{free_port()}", folder) as server:
        api = empty_api(server.url, DATABASE)
        for tenant, count in (("a", 30), ("b", 20)):
            for channel in ("email", "sms"):
                api.add_events(sample_events(tenant, channel, count, seed=count))
            api.add_history_row(tenant, "jo@example.com", "added")
        api.add_key("somebody", ["a"])
        api.add_dead_letter(1, b"{}", "no event")
    return folder


def asked(folder, queries, walled=None):
    """Return what a user as the files make it is answered: rows of each query, or a code."""
    grants = "".join(f"<query>GRANT SELECT ON sendlog.{name}</query>" for name in GRANTED)
    filters = "".join(
        f"<{table}><filter>{escape(condition)}</filter></{table}>"
        for table, condition in (walls(walled) if walled else {}).items()
    )
    [profile] = [each for each in parts(READER) if "SETTINGS PROFILE IF" in each]
    bounds = re.findall(r"(\w+) = (\d+)(?: (MAX|MIN) (\d+))?", profile)
    values = "".join(f"<{name}>{value}</{name}>" for name, value, _, _ in bounds)
    limits = "".join(
        f"<{name}><{way.lower()}>{limit}</{way.lower()}></{name}>"
        for name, _, way, limit in bounds if way
    )  # fmt: skip
    users, config = folder / "users.xml", folder / "config.xml"
    users.write_text(
        f"<clickhouse><profiles><default>{values}<constraints>{limits}</constraints></default>"
        "</profiles><quotas><default/></quotas><users><default><password/><profile>default"
        "</profile><quota>default</quota><networks><ip>::/0</ip></networks>"
        f"<grants>{grants}</grants><databases><sendlog>{filters}</sendlog></databases>"
        "</default></users></clickhouse>"
    )
    config.write_text(f"<clickhouse><users_config>{users}</users_config></clickhouse>")
    done = subprocess.run(
        [sys.executable, "-c", ASK, f"{folder / 'clickhouse'}?config-file={config}"],
        input=json.dumps(queries), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return dict(zip(queries, map(json.loads, done.stdout.splitlines()), strict=True))


def counts(name):
    return f"SELECT count() FROM sendlog.{name}"


def test_a_reader_reads_what_is_granted_and_changes_nothing(folder):
    refused = [
        *map(counts, WITHHELD), "SELECT * FROM sendlog.api_keys", "DROP TABLE sendlog.events",
        "INSERT INTO sendlog.policy_history (tenant_id) VALUES ('x')",
        "TRUNCATE TABLE sendlog.events", "CREATE TABLE sendlog.mine (x Int8) ENGINE = Memory",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'x String')",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    ]  # fmt: skip
    bounded = {
        "SELECT 1 SETTINGS max_threads = 2": [[1]], "SELECT 1 SETTINGS max_threads = 64": TOO_MUCH,
        "SELECT 1 SETTINGS max_execution_time = 601": TOO_MUCH, "SET readonly = 0": READ_ONLY,
    }  # fmt: skip
    hidden = "SELECT * FROM merge('sendlog', 'api_keys')"
    found = asked(folder, [*map(counts, GRANTED), *refused, *bounded, hidden])
    assert {sql: found[sql] for sql in bounded} == bounded
    denied = {sql: found[sql] for sql in refused}
    assert set(denied.values()) == {DENIED}, denied
    assert found[hidden] == UNSEEN
    empty = {"policies", "policy_history"}
    rows = {name: found[counts(name)] for name in GRANTED}
    assert {name for name, answer in rows.items() if answer in ([[0]], [["0"]])} <= empty
    assert {name for name, answer in rows.items() if not isinstance(answer, list)} == set()


def test_a_walled_reader_sees_one_tenant_whatever_is_asked(folder):
    having = [name for name in GRANTED if not name.startswith("polic")]
    queries = {name: f"SELECT DISTINCT tenant_id FROM sendlog.{name}" for name in having}
    sneaky = [
        "SELECT count() FROM sendlog.email_log WHERE tenant_id = 'b'",
        "SELECT count() FROM merge('sendlog', '^email_log_state$') WHERE tenant_id = 'b'",
        "SELECT sum(messages) FROM sendlog.sms_daily WHERE tenant_id != 'a'",
    ]
    found = asked(folder, [*queries.values(), *sneaky], walled="a")
    assert {name: found[sql] for name, sql in queries.items() if name != "retries"} == {
        name: [["a"]] for name in having if name != "retries"
    }
    assert found[queries["retries"]] in ([], [["a"]])
    assert [str(found[sql][0][0]) for sql in sneaky] == ["0", "0", "0"]
