"""Questions put to the HTTP API: a process of it, a client with one connection, and addresses."""

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
PIECE = 1 << 20
#: Seconds after which an answer does not come any more.
PATIENCE = 600


def address(wanted):
    """Return the path that asks for a page of a log."""
    asked = [
        (each.column, each.value) if each.operator == "=" and each.column in EXACT
        else ("filter", f"{each.column}{each.operator}{each.value}")
        for each in wanted.filters
    ]  # fmt: skip
    asked += [("sort", wanted.sort), ("order", "desc" if wanted.descending else "asc")]
    return f"/api/v1/logs/{wanted.channel}?{urlencode([*asked, ('limit', wanted.limit)])}"


class Api:
    """An API that runs, and a client of it that has a key to one tenant."""

    def __init__(self, server, port, secret):
        self._server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self._headers = {"Authorization": f"Bearer {secret}"}

    def rows(self, wanted):
        """Return the rows of a page of a log."""
        return json.loads(self._asked(address(wanted)).read())["rows"]

    def lines(self, path):
        """Return how many lines an export has, of which it keeps none."""
        reply, count = self._asked(path), 0
        while piece := reply.read(PIECE):
            count += piece.count(b"\n")
        return count

    def peak(self):
        """Return the most memory that the process has had, in MB."""
        return memory(self._server._process.pid, "VmHWM")

    def close(self):
        self._connection.close()

    def _asked(self, path):
        try:
            reply = self._once(path)
        except (http.client.RemoteDisconnected, ConnectionError):
            reply = self._once(path)  # it had been idle for longer than a server keeps it
        if reply.status != 200:
            raise BenchmarkError(f"{path}: {reply.status} {reply.read(500)!r}")
        return reply

    def _once(self, path):
        """Ask on the connection, or on a new one if it was closed."""
        self._connection.request("GET", path, headers=self._headers)
        return self._connection.getresponse()


@contextmanager
def serving(system, tenant):
    """Start an API on a system, and give a client with a key to a tenant."""
    key, secret = api_keys.make("benchmark", [tenant], ["read"])
    api_keys.store(system.client, DATABASE, key)
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
