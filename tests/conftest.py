"""The real broker and the real database engine, started for the tests that ask for them."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import clickhouse_connect
import hypothesis
import pytest
import structlog

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from tests.clickhouse import PASSWORD, USER, Database, InProcess, connect_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client


#: How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile("sendlog", deadline=None)
hypothesis.settings.load_profile("sendlog")


_configure = structlog.configure


def configure_without_cache(**options: Any) -> None:
    """Configure structlog so that `capture_logs` has what modules log whose loggers were used."""
    _configure(**options | {"cache_logger_on_first_use": False})


structlog.configure = configure_without_cache


@dataclass(frozen=True)
class Fresh:
    """A database of one test, and a client of it."""

    url: str
    name: str
    client: Client


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A Kafka node. A test that stops or kills it starts it again."""
    with Broker(f"127.0.0.1:{free_port()}", tmp_path_factory.mktemp("broker")) as server:
        yield server


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The ClickHouse engine behind its HTTP interface. A test that kills it starts it again."""
    folder = tmp_path_factory.mktemp("engine")
    if os.environ.get("SENDLOG_TEST_ENGINE") == "in-process":
        yield InProcess(folder)
        return
    with Database(f"http://127.0.0.1:{free_port()}", folder) as server:
        yield server


@pytest.fixture
def fresh_database(engine: Database) -> Iterator[Fresh]:
    """An empty database with a unique name."""
    name = f"test_{uuid.uuid4().hex}"
    with connected(engine.url) as admin:
        admin.command(f"CREATE DATABASE {name} ENGINE = Atomic")
        with connected(engine.url, database=name) as client:
            yield Fresh(engine.url, name, client)
        admin.command(f"DROP DATABASE {name} SYNC")


def connected(url: str, **options: str) -> Client:
    """Connect as the project does."""
    if url.startswith("chdb:"):
        return connect_to(url, **options)
    address = urlsplit(url)
    return clickhouse_connect.get_client(
        host=address.hostname, port=address.port, autogenerate_session_id=False,
        **{"username": USER, "password": PASSWORD, **options},
    )  # fmt: skip
