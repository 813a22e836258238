"""The HTTP API for benchmarks: a process of it, a client with one connection, and paths."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlencode

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from projections.queries import api_keys
from tests.benchmarks.measure import memory
from tests.benchmarks.report import BenchmarkError
from tests.system import DATABASE

#: Columns that a page asks for by a parameter of their own.
EXACT = {"record_id", "status"}
#: A benchmark asks faster than people, by one key.
UNLIMITED = {"SENDLOG_API__RATE": "100000", "SENDLOG_API__BURST": "100000"}
PIECE_BYTES = 1 << 20
TIMEOUT_SECONDS = 600


def page_path(listing):
    """Return the path of a page of a log."""
    parameters = [
        (each.column, each.value) if each.operator == "=" and each.column in EXACT
        else ("filter", f"{each.column}{each.operator}{each.value}")
        for each in listing.filters
    ]  # fmt: skip
    parameters += [("sort", listing.sort), ("order", "desc" if listing.descending else "asc")]
    return f"/api/v1/logs/{listing.channel}?{urlencode([*parameters, ('limit', listing.limit)])}"


class Api:
    """An API that runs, and a client of it that has a key to one tenant."""

    def __init__(self, server, port, secret):
        self._server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
        self._headers = {"Authorization": f"Bearer {secret}"}

    def rows(self, listing):
        """Return the rows of a page of a log."""
        return json.loads(self._get(page_path(listing)).read())["rows"]

    def lines(self, path):
        """Return how many lines an export has, of which it keeps none."""
        reply, count = self._get(path), 0
        while piece := reply.read(PIECE_BYTES):
            count += piece.count(b"\n")
        return count

    def peak(self):
        """Return the most memory that the process has had, in MB."""
        return memory(self._server._process.pid, "VmHWM")

    def close(self):
        self._connection.close()

    def _get(self, path):
        try:
            reply = self._get_once(path)
        except (http.client.RemoteDisconnected, ConnectionError):
            reply = self._get_once(path)  # it had been idle for longer than a server keeps it
        if reply.status != 200:
            raise BenchmarkError(f"{path}: {reply.status} {reply.read(500)!r}")
        return reply

    def _get_once(self, path):
        """Get it on the connection, or on a new one if that was closed."""
        self._connection.request("GET", path, headers=self._headers)
        return self._connection.getresponse()


@contextmanager
def serving(system, tenant):
    """Start an API on a system, and give a client with a key to a tenant."""
    key, secret = api_keys.new_key("benchmark", [tenant], ["read"])
    api_keys.store_key(system.client, DATABASE, key)
    port = free_port()
    program = Program(
        name="api", command=[sys.executable, "-m", "processor", "api"],
        environment={**system.environment, **UNLIMITED, "SENDLOG_API__PORT": str(port)},
        ready=lambda: answers(f"http://127.0.0.1:{port}/readyz"),
    )  # fmt: skip
    with Server(program, system.folder / "api.log") as server:
        api = Api(server, port, secret)
        try:
            yield api
        finally:
            api.close()


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return reply.status == 200
    except OSError:
        return False
