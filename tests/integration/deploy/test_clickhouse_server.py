"""ClickHouse's HTTP interface in front of chDB, as ClickHouse's own client sees it."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import clickhouse_connect
import lz4.frame
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from deploy.local.addresses import free_port
from deploy.local.database import Database, program
from deploy.local.process import LocalError, Server
from tests.paths import ROOT

MERGES = ROOT / "deploy/clickhouse/merges.yaml"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
ODD = 'it\'s "odd"\\ \t\n\r\0 `x` {y} ü 日本 🎈'


def connect(url, **options):
    address = urlsplit(url)
    return clickhouse_connect.get_client(
        host=address.hostname, port=address.port, autogenerate_session_id=False, **options
    )


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


def test_ping_answers_as_clickhouse_does(engine):
    with urllib.request.urlopen(f"{engine.url}/ping") as reply:
        assert reply.read() == b"Ok.\n"


def test_bound_parameters_arrive_unchanged(fresh_database):
    rows = fresh_database.client.query(
        "SELECT {text:String}, {many:Array(String)}, {at:DateTime64(3, 'UTC')},"
        " {none:Nullable(Int8)}",
        parameters={"text": ODD, "many": [ODD, "", "a,b"], "at": NOW, "none": None},
    ).result_rows
    text, many, at, none = rows[0]
    assert (text, many, at.replace(tzinfo=UTC), none) == (ODD, [ODD, "", "a,b"], NOW, None)


def test_parameters_too_long_for_a_url_arrive_too(fresh_database):
    many = [f"user{number}@example.org" for number in range(50_000)]
    query = "SELECT length({many:Array(String)}), {many:Array(String)}[-1]"
    rows = fresh_database.client.query(query, parameters={"many": many}).result_rows
    assert rows == [(50_000, many[-1])]


def test_an_insert_may_have_parameters(fresh_database):
    client, url = fresh_database.client, fresh_database.url
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    statement = b"INSERT INTO {table:Identifier} (a) FORMAT JSONEachRow\n"
    query = f"database={fresh_database.name}&param_table=t"
    assert post(url, statement + b'{"a": 7}', query)[0] == 200
    assert client.query("SELECT a FROM t").result_rows == [(7,)]


def test_arrow_goes_in_and_comes_out_unchanged(fresh_database):
    client = fresh_database.client
    columns = {
        "text": (pa.string(), "String", [ODD, "", "x"]),
        "maybe": (pa.string(), "Nullable(String)", [None, "", ODD]),
        "at": (pa.timestamp("ms", "UTC"), "Nullable(DateTime64(3, 'UTC'))", [NOW, None, NOW]),
        "key": (pa.binary(4), "FixedString(4)", [b"\0\n \t", b"abcd", b"\xff\xfe\xfd\xfc"]),
        "prints": (pa.list_(pa.uint64()), "Array(UInt64)", [[], [2**64 - 1], [1, 2]]),
        "tries": (
            pa.list_(pa.struct([("number", pa.uint16()), ("at", pa.timestamp("ms", "UTC"))])),
            "Array(Tuple(number UInt16, at DateTime64(3, 'UTC')))",
            [[{"number": 1, "at": NOW}], [], [{"number": 2, "at": NOW}] * 2],
        ),
        "flag": (pa.bool_(), "Bool", [True, False, True]),
    }
    schema = pa.schema([(name, kind) for name, (kind, _, _) in columns.items()])
    table = pa.table([values for _, _, values in columns.values()], schema=schema)
    ddl = ", ".join(f"{name} {kind}" for name, (_, kind, _) in columns.items())
    client.command(f"CREATE TABLE t (row UInt8 DEFAULT 0, {ddl}) ENGINE = Memory")
    assert client.insert_arrow("t", table).written_rows == 3
    found = client.query_arrow(f"SELECT {', '.join(columns)} FROM t")
    assert found.cast(schema).to_pylist() == table.to_pylist()


def test_a_result_may_be_streamed_in_every_way_the_client_has(fresh_database):
    client = fresh_database.client
    query = "SELECT number, toString(number) AS text FROM numbers(300000)"
    with client.query_arrow_stream(query) as batches:
        assert sum(batch.num_rows for batch in batches) == 300_000
    with client.query_row_block_stream(query) as blocks:
        rows = [row for block in blocks for row in block]
    assert (len(rows), rows[-1]) == (300_000, (299_999, "299999"))


@pytest.mark.parametrize("query", ["SELECT 1 AS a WHERE 0", "SELECT 1 AS a FROM numbers(0)"])
def test_an_empty_result_has_columns_and_no_rows(fresh_database, query):
    client = fresh_database.client
    assert client.query(query).result_rows == []
    assert client.query_arrow(query).column_names == ["a"]
    with client.query_arrow_stream(query) as batches:
        assert sum(batch.num_rows for batch in batches) == 0
    assert client.command(query) == ""


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("SELECT * FROM nowhere", 60),
        ("SELEC 1 FRM 2", 62),
        ("SELECT nothing", 47),
        ("SELECT toUInt8('x')", 6),
        ("SELECT 1; SELECT 2", 62),
        ("DROP TABLE nowhere", 60),
        ("INSERT INTO nowhere VALUES (1)", 60),
    ],
)
def test_an_error_has_the_engines_code_and_text(fresh_database, query, code):
    with pytest.raises(DatabaseError) as raised:
        fresh_database.client.command(query)
    assert raised.value.code == code
    assert "DB::Exception" in str(raised.value)


def test_an_error_in_the_middle_of_a_stream_reaches_the_client(fresh_database):
    query = "SELECT throwIf(number = 1900000) FROM numbers(2000000)"
    with (
        pytest.raises(StreamFailureError, match="Code: 395"),
        fresh_database.client.query_row_block_stream(query) as blocks,
    ):
        for _ in blocks:
            pass


@pytest.mark.parametrize("wrong", [{"database": "nowhere"}, {"user": "x"}, {"password": "x"}])
def test_an_unknown_database_user_or_password_is_refused(engine, wrong):
    with pytest.raises(DatabaseError) as raised:
        connect(engine.url, **wrong).command("SELECT 1")
    assert raised.value.code == (81 if "database" in wrong else 516)


def test_a_password_is_asked_for_if_one_is_set(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    with Server(program(url, tmp_path, user="me", password="pässword"), tmp_path / "log"):
        assert connect(url, username="me", password="pässword").command("SELECT 1") == 1
        headers = {"X-ClickHouse-User": "me", "X-ClickHouse-Key": "nearly"}
        for given in ({}, headers, {"Authorization": "Basic ?"}):
            status, answer, _ = post(url, b"SELECT 1", **given)
            assert (status, answer["X-ClickHouse-Exception-Code"]) == (401, "516")


def test_data_that_begin_with_white_space_arrive_whole(fresh_database):
    client, name = fresh_database.client, fresh_database.name
    client.command("CREATE TABLE t (a String) ENGINE = Memory")
    data = b"\n \n\t\n"
    body = b"INSERT INTO t\n  (a)\n FORMAT RawBLOB\n" + data
    assert post(fresh_database.url, body, f"database={name}")[0] == 200
    assert client.query("SELECT a FROM t").result_rows == [(data.decode(),)]


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("INSERT INTO t (a, b) FORMAT JSONEachRow", b'{"a": 1, "b": "FORMAT x\\n"}\n'),
        ("INSERT INTO t (a, b) VALUES", b"(1, 'FORMAT x\\n')"),
        ("INSERT INTO t (a, b)", b"(1, 'FORMAT x\\n')"),
        ("INSERT INTO t (a, b) VALUES (1, 'FORMAT x\\n')", b""),
        ("INSERT INTO t SELECT 1, 'FORMAT x\\n'", b""),
        ("", b"INSERT INTO t (a, b) VALUES (1, 'FORMAT x\\n')"),
        ("", b"INSERT INTO t (a, b) FORMAT TSV\n1\tFORMAT x\\n\n"),
        ("", b'-- a \'comment\n/* \n */ insert into `t` (a, b) format CSV\r\n1,"FORMAT x\n"\n'),
        ("", b'INSERT INTO t (a, b) FORMAT JSONEachRow {"a": 1, "b": "FORMAT x\\n"}'),
    ],
)
def test_an_insert_may_be_put_into_url_and_body_in_many_ways(fresh_database, query, body):
    fresh_database.client.command("CREATE TABLE t (a UInt8, b String) ENGINE = Memory")
    url = f"database={fresh_database.name}&query={quote(query)}"
    status, _, text = post(fresh_database.url, body, url)
    assert status == 200, text
    assert fresh_database.client.query("SELECT a, b FROM t").result_rows == [(1, "FORMAT x\n")]


@pytest.mark.parametrize("coding", ["lz4", "zstd", "gzip"])
def test_the_client_may_compress_what_it_sends(fresh_database, coding):
    client = connect(fresh_database.url, database=fresh_database.name, compress=coding)
    client.command("CREATE TABLE t (a UInt64, b String) ENGINE = Memory")
    rows = [(number, ODD) for number in range(10_000)]
    assert client.insert("t", rows, column_names=["a", "b"]).written_rows == 10_000
    assert client.query("SELECT count(), any(b) FROM t").result_rows == [(10_000, ODD)]


def test_a_broken_body_is_refused_and_leaves_nothing(fresh_database):
    client, url = fresh_database.client, fresh_database.url
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    lines = b"".join(b'{"a": %d}\n' % number for number in range(100_000))
    statement = f"database={fresh_database.name}&query=INSERT+INTO+t+FORMAT+JSONEachRow"
    native = f"database={fresh_database.name}&query=INSERT+INTO+t+FORMAT+Native"
    for query, body, coding in [
        (statement, lines + b'{"a": "no"}\n', ""),
        (statement, lines + b"\xff\xfe\n", ""),
        (statement, gzip.compress(lines)[:-100], "gzip"),
        (statement, lz4.frame.compress(lines)[:-100], "lz4"),
        (statement, lines, "lz4"),
        (statement, lines, "rot13"),
        (native, b"\x01\x02", ""),
    ]:
        status, headers, _ = post(url, body, query, **{"Content-Encoding": coding})
        assert status >= 400
        assert int(headers["X-ClickHouse-Exception-Code"]) > 0
        assert client.command("SELECT count() FROM t") == 0


def test_settings_of_a_query_are_its_own(fresh_database):
    client = fresh_database.client
    query = "SELECT getSetting('max_block_size') FROM numbers(100) WHERE sleepEachRow(0.001) = 0"

    def asked(size):
        rows = client.query(query, settings={"max_block_size": size}).result_rows
        return {row[0] for row in rows}

    sizes = range(1000, 1024)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(asked, sizes)) == [{size} for size in sizes]
    client.command("SET max_block_size = 77")
    client.command("USE system")
    found = client.query("SELECT getSetting('max_block_size') = 77, currentDatabase()")
    assert found.result_rows == [(0, fresh_database.name)]


def test_it_starts_as_a_server_does_with_our_file_about_merges(fresh_database):
    wanted = dict(
        line.split(": ") for line in MERGES.read_text().splitlines() if line and line[0] != "#"
    )
    rows = fresh_database.client.query(
        "SELECT name, value FROM system.server_settings "
        "WHERE changed AND name IN {names:Array(String)}",
        parameters={"names": list(wanted)},
    ).result_rows
    assert dict(rows) == wanted


def test_an_unknown_setting_is_refused(fresh_database):
    url = f"{fresh_database.url}/?"
    for query in ("no_such_setting=1", quote("a'b") + "=1"):
        status, headers, _ = post(url.removesuffix("/?"), b"SELECT 1", query)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "115")
    status, _, _ = post(
        url.removesuffix("/?"), b"CREATE TABLE t (a Int8) ENGINE = Log", "readonly=1"
    )
    assert status == 500


def test_a_get_only_reads(fresh_database):
    def get(query):
        try:
            with urllib.request.urlopen(f"{fresh_database.url}/?query={quote(query)}") as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.headers["X-ClickHouse-Exception-Code"], b""

    assert get("SELECT 1") == (200, b"1\n")
    assert get(f"CREATE TABLE {fresh_database.name}.t (a Int8) ENGINE = Log") == ("164", b"")


def test_a_long_read_keeps_neither_small_reads_nor_inserts_waiting(fresh_database):
    client = fresh_database.client
    client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    ended = threading.Event()

    def read_long():
        with connect(fresh_database.url) as own:
            own.query("SELECT sleepEachRow(0.1) FROM numbers(20)", settings={"max_block_size": 1})
        ended.set()

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_long)
        wait_for(lambda: running(client, "sleepEachRow(0.1)"))
        for number in range(5):
            client.insert("t", [(number,)], column_names=["a"])
            assert client.command("SELECT count() FROM t") == number + 1
        assert not ended.is_set()
        reading.result()


def test_concurrent_inserts_all_arrive_once(fresh_database):
    fresh_database.client.command("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")

    def insert(start):
        table = pa.table({"a": pa.array(range(start, start + 1000), pa.uint64())})
        with connect(fresh_database.url, database=fresh_database.name) as own:
            return own.insert_arrow("t", table).written_rows

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(insert, range(0, 30_000, 1000))) == 30_000
    found = fresh_database.client.query("SELECT count(), uniqExact(a) FROM t").result_rows
    assert found == [(30_000, 30_000)]


def test_a_query_whose_client_has_gone_is_cancelled(fresh_database):
    client = fresh_database.client
    impatient = connect(fresh_database.url, send_receive_timeout=1)
    slow = "SELECT sleepEachRow(0.2) FROM numbers(3000)"
    settings = {"max_block_size": 1, "function_sleep_max_microseconds_per_block": 0}
    with pytest.raises(DatabaseError):
        impatient.query(slow, settings=settings)
    wait_for(lambda: not running(client, "sleepEachRow(0.2)"))


def test_a_query_that_was_answered_is_not_cancelled(fresh_database):
    """To look for it among all that run would take as long as a small query itself."""
    client = fresh_database.client
    statements = "SELECT value FROM system.events WHERE event = 'Query'"
    before, after = (client.command(statements) for _ in range(2))
    assert after - before == len(["USE database", "SET settings", "SELECT"])


def test_a_stream_that_is_left_early_leaves_the_server_well(fresh_database):
    client = fresh_database.client
    with client.query_row_block_stream("SELECT number FROM numbers(500000000)") as blocks:
        next(iter(blocks))
    wait_for(lambda: not running(client, "numbers(500000000)"))
    assert client.command("SELECT 1") == 1


def test_data_and_views_survive_a_kill_and_a_stop(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    server = Database(url, tmp_path)
    with server:
        with connect(url) as client:
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
            facts = pa.table({"tenant": ["a", "b"], "n": pa.array([1, 2], pa.uint64())})
            client.insert_arrow("sendlog.facts", facts)
        server.kill()
        server.start()
        with connect(url) as client:
            client.insert_arrow("sendlog.facts", facts)
            client.command("CREATE TABLE sendlog.other AS sendlog.state")
            client.command("EXCHANGE TABLES sendlog.state AND sendlog.other")
        server.stop()
        server.start()
        with connect(url) as client:
            assert client.command("SELECT count() FROM sendlog.facts FINAL") == 2
            assert client.command("SELECT count() FROM sendlog.state") == 0
            tops = "SELECT tenant, top.1 FROM sendlog.other FINAL ORDER BY tenant"
            assert client.query(tops).result_rows == [("a", 1), ("b", 2)]


def test_a_data_folder_in_use_or_broken_is_one_clear_line(tmp_path):
    url = f"http://127.0.0.1:{free_port()}"
    with Database(url, tmp_path):
        with connect(url) as client:
            client.command("CREATE DATABASE sendlog ENGINE = Atomic")
        assert "already running" in refused(tmp_path)
    (tmp_path / "clickhouse" / "metadata" / "sendlog.sql").write_text("this is no statement")
    assert "Syntax error" in refused(tmp_path)
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "clickhouse").write_text("")
    assert "File exists" in refused(tmp_path / "file")


def refused(data):
    port = str(free_port())
    command = [sys.executable, "-m", "deploy.local.clickhouse", "--port", port]
    ended = subprocess.run(
        [*command, "--data", data / "clickhouse"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith(
        f"clickhouse: the data folder {data}/clickhouse cannot be opened"
    )
    return ended.stderr


def test_a_server_that_cannot_start_says_why(tmp_path):
    (tmp_path / "clickhouse").write_text("")
    with pytest.raises(LocalError, match=r"exit code 1.*\n.*cannot be opened"):
        Database(f"http://127.0.0.1:{free_port()}", tmp_path).start()


def running(client, text):
    # Backwards, for the question itself is running too.
    query = "SELECT count() FROM system.processes WHERE position(reverse(query), {text:String}) > 0"
    return client.query(query, parameters={"text": text[::-1]}).result_rows[0][0]
