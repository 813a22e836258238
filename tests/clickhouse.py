"""ClickHouse servers for tests, and ways to log in to them."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import replace

from deploy.local.accounts import operator
from deploy.local.addresses import Address, free_port
from deploy.local.database import CLUSTER, program
from deploy.local.process import Server
from projections.clickhouse.client import connect

#: Who may do everything on the servers of tests, except to read files and URLs.
USER, PASSWORD = "sendlog", "a password for tests"
MORE_GRANTS = (
    "GRANT TABLE ENGINE ON Memory", "GRANT TABLE ENGINE ON Log", "GRANT TABLE ENGINE ON Null",
    "GRANT KILL QUERY ON *.*", "GRANT SYSTEM MERGES ON *.*",
)  # fmt: skip


class Database(Server):
    """ClickHouse's own server on an address of its own."""

    cluster = ""

    def __init__(self, url, data, *, accounts=(), **options):
        self.url = url
        own = operator(PASSWORD, name=USER)
        users = [replace(own, grants=[*own.grants, *MORE_GRANTS]), *accounts]
        super().__init__(program(url, data, users, fsync=False, **options), data / "clickhouse.log")

    def connect(self, database="", **options):
        return connect_to(self.url, database, **options)


class InProcess:
    """ClickHouse as a library, for versions whose wheel cannot listen: one for each process."""

    def __init__(self, folder):
        self.url = f"chdb://{folder}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def connect(self, database=""):
        return connect_to(self.url, database)


def connect_to(url, database="", **options):
    """Connect as the worker does."""
    if url.startswith("chdb:"):
        from tests.engines.in_process import in_process_client  # noqa: PLC0415 - opens a database

        return in_process_client(url, database)
    return connect(url, user=USER, password=PASSWORD, database=database, **options)


def environment(url):
    """Return the settings by which Sendlog's programs find a server and log in."""
    return {
        "SENDLOG_CLICKHOUSE__URL": url,
        "SENDLOG_CLICKHOUSE__USER": USER,
        "SENDLOG_CLICKHOUSE__PASSWORD": PASSWORD,
    }


class Shards:
    """Two servers under real distributed tables: the cluster `CLUSTER`, without replicas."""

    cluster = CLUSTER

    def __init__(self, folder):
        ports = [free_port(), free_port()]
        shards = [Address("127.0.0.1", port) for port in ports]
        self.nodes = []
        for port in ports:
            data = folder / f"shard-{len(self.nodes)}"
            data.mkdir()
            url = f"http://127.0.0.1:{free_port()}"
            self.nodes.append(Database(url, data, native_port=port, shards=shards))
        self.url = self.nodes[0].url

    def __enter__(self):
        with ExitStack() as stack:
            for node in self.nodes:
                stack.enter_context(node)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error):
        return self._stack.__exit__(*error)

    def connect(self, database="", **options):
        return ClusterClient([node.connect(database, **options) for node in self.nodes])


class ClusterClient:
    """A client of the first node that itself does what a cluster with Keeper does ON CLUSTER."""

    def __init__(self, clients):
        self.clients = clients

    def __getattr__(self, name):
        return getattr(self.clients[0], name)

    def command(self, statement, *arguments, **options):
        everywhere = f" ON CLUSTER '{CLUSTER}'"
        if everywhere not in statement:
            return self.clients[0].command(statement, *arguments, **options)
        # Replicas need Keeper; what is tried here is the shards.
        if statement.startswith("SYSTEM SYNC REPLICA"):
            return None
        own = re.sub(r"ENGINE = Replicated", "ENGINE = ", statement.replace(everywhere, ""))
        answers = [client.command(own, *arguments, **options) for client in self.clients]
        return answers[0]
