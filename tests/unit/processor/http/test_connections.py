"""Idle and slow clients, however many, keep nobody out of a server."""

from __future__ import annotations

import asyncio
import socket
from http.client import HTTPConnection

import pytest

from tests.served import read_all, served
from tests.system import wait_for

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
HUGE = b"x" * 20_000_000


async def app(scope, receive, send):
    """Answer when the body is there; `/work` when the server stops, `/huge` with 20 MB."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/work":
        await asyncio.Event().wait()
    body = HUGE if scope["path"] == "/huge" else b"done"
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": body})


def is_answered(open_socket):
    with open_socket(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client:
        return read_all(client).endswith(b"done")


def test_hundreds_of_idle_and_slow_clients_keep_nobody_out():
    with served(app) as open_socket:
        crowd = [open_socket(text) for text in (b"", b"GET / HT", HEAD, HEAD + b"\r\nabc") * 150]
        assert is_answered(open_socket)
        for client in crowd[:300]:  # who has waited longest has made room
            assert read_all(client) == b""


@pytest.mark.parametrize("text", [b"", b"GET / HT", HEAD, HEAD + b"\r\nabc"])
def test_a_client_that_owes_bytes_for_too_long_is_cut(text):
    with served(app, header_seconds=0.2, body_seconds=0.2) as open_socket:
        assert read_all(open_socket(text)) == b""
        # The next request of a connection has no more time than the first.
        client = open_socket(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + text)
        assert read_all(client).endswith(b"done")


def test_a_client_that_does_not_read_is_cut():
    with served(app, read_seconds=0.5) as open_socket:
        client = open_socket(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(1_000, socket.MSG_PEEK)
        reader = open_socket(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(read_all(reader)) > len(HUGE)  # it reads, so it has all the time
        wait_for(lambda: not open_socket.connections, "the client to be cut")
        assert len(read_all(client)) < len(HUGE)


def test_requests_under_way_are_not_cut_and_refuse_newcomers():
    work = b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n"
    with served(
        app, max_address_connections=2, header_seconds=0.2, body_seconds=0.2
    ) as open_socket:
        for _ in range(2):
            open_socket(work)
        assert read_all(open_socket(work)) == b""


def test_a_proxy_of_the_settings_may_have_all_connections():
    with served(app, proxies="127.0.0.1", max_address_connections=2) as open_socket:
        waiting = [open_socket() for _ in range(5)]
        assert is_answered(open_socket)
        for client in waiting:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert read_all(client).endswith(b"done")


def test_a_connection_is_kept_for_the_next_request():
    with served(app) as open_socket:
        address = open_socket().getpeername()
        connection = HTTPConnection(*address, timeout=30)
        for _ in range(3):
            connection.request("POST", "/", body=b"x" * 200_000)
            assert connection.getresponse().read() == b"done"
        connection.close()
