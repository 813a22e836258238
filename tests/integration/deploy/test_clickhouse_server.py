"""ClickHouse's own server out of the wheel: what Sendlog relies on, and who gets in."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from deploy.local import accounts
from deploy.local.addresses import free_port
from deploy.local.database import program
from deploy.local.process import LocalError, Server
from tests.clickhouse import PASSWORD, USER, Database, connect_to
from tests.conftest import connected
from tests.paths import ROOT

MERGES = ROOT / "deploy/clickhouse/merges.yaml"
ODD = 'it\'s "odd"\\ \t\n\r\0 `x` {y} ü 日本 🎈'
NO_ACCESS, WRONG_PASSWORD, SESSION_LIMIT = 497, 516, 700


def new_server(folder, **options):
    return Database(f"http://127.0.0.1:{free_port()}", folder, **options)


def post(url, body, query="", **headers):
    """Send a request as no client library would change it; return status, headers and body."""
    request = urllib.request.Request(f"{url}/?{query}", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def error_code(client, sql, **options):
    with pytest.raises(DatabaseError) as raised:
        client.command(sql, **options)
    return raised.value.code


def test_bound_parameters_arrive_unchanged(fresh_database):
    query = "SELECT {text:String}, {texts:Array(String)}, {none:Nullable(Int8)}"
    values = {"text": ODD, "texts": [ODD, "", "a,b"], "none": None}
    rows = fresh_database.client.query(query, parameters=values).result_rows
    assert rows == [(ODD, [ODD, "", "a,b"], None)]


def test_its_http_interface_has_the_limits_of_a_server(fresh_database):
    """A client that forgets them works on a home-made server, and not in production."""
    texts = [f"user{number}@example.org" for number in range(50_000)]
    with pytest.raises(DatabaseError, match="Field value too long"):
        fresh_database.client.query(
            "SELECT length({texts:Array(String)})", parameters={"texts": texts}
        )


def test_it_starts_as_a_server_does_with_our_file_about_merges(fresh_database):
    expected = dict(
        line.split(": ") for line in MERGES.read_text().splitlines() if line and line[0] != "#"
    )
    rows = fresh_database.client.query(
        "SELECT name, value FROM system.server_settings "
        "WHERE changed AND name IN {names:Array(String)}",
        parameters={"names": list(expected)},
    ).result_rows
    assert dict(rows) == expected


def test_a_session_has_the_settings_of_a_server_not_of_the_library(engine):
    names = ("implicit_select", "date_time_input_format", "cast_string_to_dynamic_use_inference")
    query = "SELECT " + ", ".join(f"getSetting('{name}')" for name in names)
    login = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": PASSWORD}
    assert post(engine.url, query.encode(), **login)[2] == b"false\tbasic\tfalse\n"


def test_a_query_whose_client_has_gone_is_cancelled(fresh_database):
    hasty = connected(fresh_database.url, send_receive_timeout=1)
    settings = {"max_block_size": 1, "function_sleep_max_microseconds_per_block": 0}
    with pytest.raises(DatabaseError):
        hasty.query("SELECT sleepEachRow(0.2) FROM numbers(3000)", settings=settings)
    wait_for(lambda: not running(fresh_database.client, "sleepEachRow(0.2)"))


def running(client, text):
    # Backwards, for this query itself is running too.
    query = "SELECT count() FROM system.processes WHERE position(reverse(query), {text:String}) > 0"
    return client.query(query, parameters={"text": text[::-1]}).result_rows[0][0]


def test_concurrent_inserts_all_arrive_once(fresh_database):
    fresh_database.client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")

    def insert(start):
        table = pa.table({"a": pa.array(range(start, start + 1000), pa.uint64())})
        with connected(fresh_database.url, database=fresh_database.name) as own:
            return own.insert_arrow("t", table).written_rows

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(insert, range(0, 30_000, 1000))) == 30_000
    rows = fresh_database.client.query("SELECT count(), uniqExact(a) FROM t").result_rows
    assert rows == [(30_000, 30_000)]


@pytest.mark.parametrize(
    ("table", "view", "settings", "code"),
    [
        ("a UInt64", "SELECT throwIf(a = 7) AS a FROM t", {}, 395),
        ("a UInt64", "SELECT a FROM t", {"max_memory_usage": 1000, "max_untracked_memory": 0}, 241),
        ("a UInt64, CONSTRAINT small CHECK a < 5", "SELECT a FROM t", {}, 469),
    ],
)
def test_an_insert_of_which_something_is_not_written_is_an_error(
    fresh_database, table, view, settings, code
):
    client = fresh_database.client
    client.command(f"CREATE TABLE t ({table}) ENGINE = MergeTree ORDER BY a")
    client.command("CREATE TABLE folded (a UInt64) ENGINE = MergeTree ORDER BY a")
    client.command(f"CREATE MATERIALIZED VIEW fold TO folded AS {view}")
    rows = pa.table({"a": pa.array(range(10), pa.uint64())})
    with pytest.raises(DatabaseError) as raised:
        client.insert_arrow("t", rows, settings=settings)
    assert raised.value.code == code


def test_too_many_parts_are_an_error(fresh_database):
    client = fresh_database.client
    client.command(
        "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a"
        " SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 1"
    )
    rows = pa.table({"a": pa.array([1], pa.uint64())})
    client.command("SYSTEM STOP MERGES t")
    client.insert_arrow("t", rows)
    with pytest.raises(DatabaseError) as raised:
        client.insert_arrow("t", rows)
    assert raised.value.code == 252


def test_data_and_views_survive_a_kill_and_a_stop(tmp_path):
    server = new_server(tmp_path)
    with server:
        with server.connect() as client:
            client.command("CREATE DATABASE IF NOT EXISTS sendlog ENGINE = Atomic")
            client.command(
                "CREATE TABLE sendlog.facts (tenant String, n UInt64)"
                " ENGINE = ReplacingMergeTree ORDER BY (tenant, n)"
            )
            client.command(
                "CREATE TABLE sendlog.state (tenant String,"
                " top SimpleAggregateFunction(max, Tuple(UInt64, String)))"
                " ENGINE = AggregatingMergeTree ORDER BY tenant"
            )
            client.command(
                "CREATE MATERIALIZED VIEW sendlog.fold TO sendlog.state AS"
                " SELECT tenant, max((n, tenant)) AS top FROM sendlog.facts GROUP BY tenant"
            )
            rows = pa.table({"tenant": ["a", "b"], "n": pa.array([1, 2], pa.uint64())})
            client.insert_arrow("sendlog.facts", rows)
        server.kill()
        server.start()
        with server.connect() as client:
            client.insert_arrow("sendlog.facts", rows)
            client.command("CREATE TABLE sendlog.other AS sendlog.state")
            client.command("EXCHANGE TABLES sendlog.state AND sendlog.other")
        server.stop()
        server.start()
        with server.connect() as client:
            assert client.command("SELECT count() FROM sendlog.facts FINAL") == 2
            assert client.command("SELECT count() FROM sendlog.state") == 0
            tops = "SELECT tenant, top.1 FROM sendlog.other FINAL ORDER BY tenant"
            assert client.query(tops).result_rows == [("a", 1), ("b", 2)]


def test_nobody_gets_in_without_a_password(engine):
    """Nor does a web page, which can send requests to a port of its reader's own machine."""
    wrong = {"X-ClickHouse-User": USER, "X-ClickHouse-Key": "nearly"}
    logins = ({}, {"X-ClickHouse-User": "default"}, wrong)
    answers = [post(engine.url, b"SELECT 1", **login) for login in logins]
    codes = [headers["X-ClickHouse-Exception-Code"] for _, headers, _ in answers]
    assert codes == [str(SESSION_LIMIT), str(SESSION_LIMIT), str(WRONG_PASSWORD)]
    assert post(engine.url, b"SYSTEM STOP LISTEN HTTP")[0] != 200
    with connected(engine.url, username=USER, password=PASSWORD) as client:
        assert client.command("SELECT 1") == 1


@pytest.mark.parametrize("source", [
    "file('/etc/passwd', 'LineAsString')", "url('http://127.0.0.1:1/', 'LineAsString')",
    "s3('http://127.0.0.1:1/bucket/y.csv', NOSIGN, 'CSV', 'a String')",
    "mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "executable('x', 'TSV', 'a String')", "sqlite('x', 'y')",
])  # fmt: skip
def test_no_user_reads_files_or_urls(tmp_path_factory, readers, source):
    server, names = readers
    for name in names:
        with connected(server.url, username=name, password=name) as client:
            assert error_code(client, f"SELECT * FROM {source}") == NO_ACCESS, name
            assert error_code(client, f"INSERT INTO FUNCTION {source} SELECT 'x'") in {
                NO_ACCESS, 164,
            }  # fmt: skip


@pytest.fixture(scope="module")
def readers(tmp_path_factory):
    """Give a server with the users of the local stack, and their names, also their passwords."""
    users = [
        accounts.operator("operator", "log", "operator"),
        accounts.api(accounts.API, "log"),
        accounts.analyst(accounts.ANALYST, "log"),
    ]
    with new_server(tmp_path_factory.mktemp("readers"), accounts=users) as server:
        with server.connect() as client:
            client.command("CREATE DATABASE log ENGINE = Atomic")
            client.command("CREATE TABLE log.t (a UInt8) ENGINE = Log")
        yield server, [user.name for user in users]


def test_who_only_reads_cannot_write(readers):
    server, names = readers
    for name in names[1:]:
        with connected(server.url, username=name, password=name) as client:
            assert error_code(client, "INSERT INTO log.t VALUES (1)") in {NO_ACCESS, 164}
            assert error_code(client, "CREATE TABLE log.x (a UInt8) ENGINE = Log") in {
                NO_ACCESS, 164,
            }  # fmt: skip
    with connected(server.url, username=accounts.API, password=accounts.API) as client:
        assert client.command("SELECT count() FROM log.t") == 0


def test_its_files_are_for_their_owner_only(tmp_path):
    with new_server(tmp_path) as server:
        with server.connect() as client:
            client.command("CREATE DATABASE d ENGINE = Atomic")
        folder = tmp_path / "clickhouse"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        inside = [path for path in (folder / "metadata").rglob("*") if not path.is_symlink()]
        assert inside
        assert not [path for path in inside if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_a_password_is_made_once_and_for_its_owner_only(tmp_path):
    first = accounts.kept_password(tmp_path, "somebody")
    assert len(first) >= 32
    assert accounts.kept_password(tmp_path, "somebody") == first
    assert accounts.kept_password(tmp_path, "another") != first
    file = accounts.local_password_file(tmp_path, "somebody")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_the_native_port_is_open_too(tmp_path):
    native = free_port()
    with new_server(tmp_path, native_port=native) as server, server.connect() as client:
        own = f"remote('127.0.0.1:{native}', system.one, '{USER}', '{PASSWORD}')"
        assert client.command(f"SELECT count() FROM {own}") == 1


def test_a_data_folder_in_use_or_broken_is_a_clear_error(tmp_path):
    with new_server(tmp_path) as server:
        with server.connect() as client:
            client.command("CREATE DATABASE sendlog ENGINE = Atomic")
        assert "already running" in refusal(tmp_path)
    (tmp_path / "clickhouse" / "metadata" / "sendlog.sql").write_text("this is no statement")
    assert "Syntax error" in refusal(tmp_path)


def refusal(data):
    command = [sys.executable, "-m", "deploy.local.clickhouse", str(data / "clickhouse")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"clickhouse: the data folder {data}/clickhouse cannot be served")
    return ended.stderr


def test_a_folder_that_cannot_be_one_is_an_error_at_once(tmp_path):
    (tmp_path / "clickhouse").write_text("")
    with pytest.raises(LocalError, match="cannot be written"):
        new_server(tmp_path)


def test_a_port_in_use_is_an_error(tmp_path):
    with new_server(tmp_path) as server:
        other = program(server.url, tmp_path / "other", [])
        ended = subprocess.run(
            [*other.command], capture_output=True, text=True, check=False, timeout=60
        )
    assert ended.returncode == 1
    assert "Address already in use" in ended.stderr


def test_a_server_is_ready_when_it_can_be_logged_in_to(tmp_path):
    server = new_server(tmp_path)
    assert isinstance(server, Server)
    with server:
        assert connect_to(server.url).command("SELECT 1") == 1
