"""A client of ClickHouse as a library, also of versions that bind no parameters by themselves."""

from __future__ import annotations

import inspect

import clickhouse_connect
from chdb.state.sqlitelike import Connection
from clickhouse_connect.driver._backend.chdb_backend import ChdbBackend

from projections.clickhouse.client import work_around

EXECUTE, COMMAND = ChdbBackend.execute_query, ChdbBackend.execute_command


def in_process_client(url, database=""):
    if "params" not in inspect.signature(Connection.query).parameters:
        Connection.query = binding(Connection.query)
        Connection.send_query = binding(Connection.send_query)
    if ChdbBackend.execute_query is not without_streams:
        ChdbBackend.execute_query = without_streams
        ChdbBackend.execute_command = without_waits
    client = clickhouse_connect.get_client(interface="chdb", dsn=url, tz_mode="aware")
    work_around(client)
    if database:
        client.database = database
    return client


def without_streams(self, context, *arguments):
    """Answer as a whole: older wheels answer nothing else while a stream is open."""
    context.streaming = False
    return EXECUTE(self, context, *arguments)


def without_waits(self, command, *arguments):
    """Drop without waiting: in older wheels nothing runs that would end the wait."""
    return COMMAND(self, command.removesuffix(" SYNC"), *arguments)


def binding(method):
    """Return a query method that takes parameters, which it sets for the session first."""
    plain = Connection.query

    def with_parameters(self, sql, form="CSV", *, params=None):
        for name, value in (params or {}).items():
            text = str(value).replace("\\", "\\\\").replace("'", "\\'")
            plain(self, f"SET param_{name} = '{text}'", "Null")
        return method(self, sql, form)

    return with_parameters
