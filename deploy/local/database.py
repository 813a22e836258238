"""The database of the local stack: how its server is started, and asked whether it answers."""

from __future__ import annotations

import sys
import urllib.request
from typing import TYPE_CHECKING

from deploy.local.addresses import database_address
from deploy.local.process import Program, Server

if TYPE_CHECKING:
    from pathlib import Path


class Database(Server):
    """The server in front of the ClickHouse engine, for tests."""

    def __init__(self, url: str, data: Path) -> None:
        self.url = url
        super().__init__(program(url, data), data / "clickhouse.log")


def program(url: str, data: Path, *, user: str = "default", password: str = "") -> Program:
    """Return the program that serves ClickHouse's interface at `url`, with its data in `data`."""
    address = database_address(url)
    return Program(
        name="clickhouse",
        command=[
            *(sys.executable, "-m", "deploy.local.clickhouse"),
            *("--host", address.host, "--port", str(address.port)),
            *("--data", str(data.resolve() / "clickhouse")),
        ],
        environment={
            "SENDLOG_CLICKHOUSE__USER": user,
            "SENDLOG_CLICKHOUSE__PASSWORD": password,
        },
        ready=lambda: answers(url),
    )


def answers(url: str) -> bool:
    """Whether ClickHouse's interface answers at `url`."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/ping", timeout=3) as reply:  # noqa: S310
            return bool(reply.read() == b"Ok.\n")
    except OSError:
        return False
