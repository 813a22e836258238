"""ClickHouse servers for tests, and ways to log in to them."""

from __future__ import annotations

from dataclasses import replace

from deploy.local.accounts import operator
from deploy.local.database import program
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

    def __init__(self, url, data, *, accounts=(), **options):
        self.url = url
        own = operator(PASSWORD, name=USER)
        users = [replace(own, grants=[*own.grants, *MORE_GRANTS]), *accounts]
        super().__init__(program(url, data, users, fsync=False, **options), data / "clickhouse.log")

    def connect(self, database="", **options):
        return connect_to(self.url, database, **options)


def connect_to(url, database="", **options):
    """Connect as the worker does."""
    return connect(url, user=USER, password=PASSWORD, database=database, **options)


def environment(url):
    """Return the settings by which Sendlog's programs find a server and log in."""
    return {
        "SENDLOG_CLICKHOUSE__URL": url,
        "SENDLOG_CLICKHOUSE__USER": USER,
        "SENDLOG_CLICKHOUSE__PASSWORD": PASSWORD,
    }
