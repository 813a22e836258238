"""An acknowledged insert is written, whatever the profile of the user and the age of the server."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from deploy.local.accounts import operator
from deploy.local.addresses import free_port
from projections.clickhouse.client import FatalError, connect
from projections.clickhouse.store import insert_rows
from projections.tables import Table
from tests.clickhouse import Database

CARELESS = {
    "async_insert": "1", "wait_for_async_insert": "0", "materialized_views_ignore_errors": "1",
    "deduplicate_insert": "enable", "insert_deduplicate": "1",
}  # fmt: skip
TABLE = Table(
    name="t", columns={"a": "Int64"}, order_by=("a",), version="", computed={}, comment=""
)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Give a client of a user whose profile acknowledges what is not written."""
    user = replace(operator("careless", name="careless"), settings=CARELESS)
    url = f"http://127.0.0.1:{free_port()}"
    with Database(url, tmp_path_factory.mktemp("careless"), accounts=[user]):
        client = connect(url, user="careless", password="careless")
        client.command("CREATE DATABASE d ENGINE = Atomic")
        yield client


def rows(*values):
    return pa.table({"a": pa.array(values, pa.int64())})


def create(client, settings=""):
    client.command("DROP TABLE IF EXISTS d.fold")
    client.command("DROP TABLE IF EXISTS d.t")
    client.command(f"CREATE TABLE d.t (a Int64) ENGINE = MergeTree ORDER BY a {settings}")
    client.command("CREATE TABLE IF NOT EXISTS d.folded (a Int64) ENGINE = MergeTree ORDER BY a")


def test_a_fold_that_fails_is_an_error(client):
    create(client)
    client.command(
        "CREATE MATERIALIZED VIEW d.fold TO d.folded AS SELECT throwIf(a = 7) AS a FROM d.t"
    )
    with pytest.raises(FatalError):
        insert_rows(client, "d", TABLE, rows(7))


def test_what_is_acknowledged_is_there_at_once(client):
    create(client)
    for number in range(20):
        insert_rows(client, "d", TABLE, rows(number))
        assert client.command("SELECT count() FROM d.t") == number + 1


def test_an_insert_sent_again_is_not_dropped_as_a_copy(client):
    create(client, "SETTINGS non_replicated_deduplication_window = 100")
    for _ in range(2):
        insert_rows(client, "d", TABLE, rows(1, 2, 3))
    assert client.command("SELECT count() FROM d.t") == 6
