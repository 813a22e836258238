"""What a client makes of answers that a broken connection cuts, wherever it does."""

from __future__ import annotations

import pytest

from deploy.local.addresses import free_port
from projections.clickhouse.client import TransientError, classified_errors
from projections.clickhouse.sql import fetch_rows, stream
from tests.clickhouse import Database, connect_to
from tests.faults.proxy import PASS, TRUNCATE, HttpProxy


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    port = free_port()
    folder = tmp_path_factory.mktemp("database")
    with Database(f"http://127.0.0.1:{port}", folder), HttpProxy(port) as link:
        yield link


@pytest.mark.parametrize("rows", [0, 1, 100_000])
@pytest.mark.parametrize("ask", [fetch_rows, stream])
def test_a_cut_answer_is_an_error_and_no_empty_result(link, ask, rows):
    link.set(PASS)
    client, sql = connect_to(link.url), f"SELECT number FROM numbers({rows})"
    assert len([*ask(client, sql, {})]) == rows
    link.set(TRUNCATE)
    for _ in range(5):
        with pytest.raises(TransientError), classified_errors():
            list(ask(client, sql, {}))
