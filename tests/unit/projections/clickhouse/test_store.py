"""What errors of a write mean, and how a refused batch is taken apart."""

from __future__ import annotations

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import OperationalError

from projections.clickhouse.client import (
    BadRowsError,
    FatalError,
    TransientError,
    classify_error,
    connect,
)
from projections.clickhouse.ddl import Target, table_statements, view_statements
from projections.clickhouse.store import Store, arrow_schema, isolate_bad_rows
from projections.tables import tables


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("Connection refused", TransientError),
        ("Received ClickHouse exception, code: 241, …: MEMORY_LIMIT_EXCEEDED", TransientError),
        ("Code: 252. DB::Exception: Too many parts", TransientError),
        ("Code: 242. DB::Exception: Table is in readonly mode", TransientError),
        ("Code: 60. DB::Exception: Table x does not exist", FatalError),
        ("Code: 516. DB::Exception: Authentication failed", FatalError),
        ("Code: 10. DB::Exception: Not found column in block", FatalError),
        ("HTTP driver received HTTP status 503", TransientError),
        ("HTTP driver received HTTP status 403", FatalError),
        ("Code: 27. DB::Exception: Cannot parse input", BadRowsError),
    ],
)
def test_an_error_is_transient_fatal_or_about_the_rows(text, meaning):
    assert isinstance(classify_error(OSError(text)), meaning)


def test_a_database_that_is_away_is_transient():
    with pytest.raises(TransientError):
        connect("http://127.0.0.1:9", user="default", password="")


@pytest.mark.parametrize("bad", [set(), {0}, {6}, {2, 3}, {0, 1, 2, 3, 4, 5}])
def test_refused_rows_are_isolated_and_all_others_written(bad):
    written = []

    def write(rows):
        numbers = rows["n"].to_pylist()
        if bad & set(numbers):
            raise BadRowsError("bad")
        written.extend(numbers)

    refused = isolate_bad_rows(pa.table({"n": list(range(7))}), write)
    assert {place for place, _ in refused} == bad
    assert sorted(written) == sorted(set(range(7)) - bad)


class SmallDatabase:
    """A client of a database with memory for so many rows of an insert."""

    def __init__(self, rows):
        self.rows, self.inserted, self.tries = rows, [], 0

    def insert_arrow(self, _table, rows, **_options):
        self.tries += 1
        if rows.num_rows > self.rows:
            raise OperationalError("Code: 241. DB::Exception: (total) memory limit exceeded")
        self.inserted += rows["n"].to_pylist()


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_an_insert_that_needs_too_much_memory_is_written_in_parts(rows):
    database = SmallDatabase(rows)
    Store(lambda: database, "sendlog").insert(tables()["events"], pa.table({"n": list(range(10))}))
    assert database.inserted == list(range(10))


def test_a_row_that_needs_too_much_memory_alone_is_tried_again_later():
    database = SmallDatabase(0)
    with pytest.raises(TransientError):
        Store(lambda: database, "sendlog").insert(tables()["events"], pa.table({"n": [1, 2]}))
    assert database.tries == 2


def test_if_every_row_is_refused_the_cause_is_not_in_the_rows():
    def write(rows):
        raise BadRowsError("no such thing")

    with pytest.raises(
        FatalError, match="3 of 3 rows are refused, and none is taken: no such thing"
    ):
        isolate_bad_rows(pa.table({"n": [1, 2, 3]}), write)


def test_every_column_has_an_arrow_type():
    for table in tables().values():
        assert arrow_schema(table).names == list(table.columns)


def test_a_cluster_gets_replicated_tables_under_distributed_ones():
    target = Target("sendlog", "main")
    made = [*table_statements(target), *view_statements(target)]
    assert all("ON CLUSTER 'main'" in statement for statement in made)
    events = next(s for s in made if "TABLE IF NOT EXISTS sendlog.events_local" in s)
    assert "ReplicatedReplacingMergeTree(version)" in events
    spread = next(s for s in made if "TABLE IF NOT EXISTS sendlog.events " in s)
    assert (
        "Distributed('main', 'sendlog', 'events_local', cityHash64(tenant_id, recipient))" in spread
    )
    fold = next(s for s in made if "sendlog.email_log_fold" in s)
    assert "TO sendlog.email_log_state_local AS SELECT" in fold
    assert "FROM sendlog.events_local" in fold
