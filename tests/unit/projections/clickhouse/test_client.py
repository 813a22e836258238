"""The way to ClickHouse: encrypted if the address says so, whatever the port."""

from __future__ import annotations

import socket
from threading import Thread

import pytest

from projections.clickhouse.client import FatalError, TransientError, connect
from projections.clickhouse.sql import MAX_BOUND_LIST_BYTES, ListTable, Parameters

TLS_HANDSHAKE = b"\x16\x03"


def first_bytes(scheme):
    """Return what a client sends first to an address of a scheme, on a port of no meaning."""
    received = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def receive():
            connection, _ = server.accept()
            server.close()  # whatever is tried again is refused, and not waited for
            with connection:
                received.append(connection.recv(1000))

        thread = Thread(target=receive)
        thread.start()
        with pytest.raises((FatalError, TransientError)):
            connect(f"{scheme}://127.0.0.1:{server.getsockname()[1]}", user="u", password="secret")
        thread.join()
    return received[0]


def test_https_is_encrypted_on_any_port():
    assert first_bytes("https").startswith(TLS_HANDSHAKE)
    assert first_bytes("http").startswith(b"POST")


def test_a_short_list_is_bound_and_a_long_one_travels_as_a_table():
    query = Parameters()
    assert query.bind_list(["a", "b"], "String") == "{p0:Array(String)}"
    assert query.bind_list([("a", "b")], "String", "String") == "{p1:Array(Tuple(String, String))}"
    long = ["x" * 100] * (MAX_BOUND_LIST_BYTES // 100 + 1)
    assert query.bind_list(long, "String") == "p2"
    table = query.values["p2"]
    assert isinstance(table, ListTable)
    data = table.data("p2")
    assert data["structure"] == ["c0 String"]
    assert data["data"].count(b"\n") == len(long) - 1


def test_the_bytes_of_a_list_are_counted_not_its_characters():
    query = Parameters()
    assert query.bind_list(["ü" * (MAX_BOUND_LIST_BYTES // 2 + 1)], "String") == "p0"
