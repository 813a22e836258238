"""Two shards for the tests that compare them with one server."""

from __future__ import annotations

import uuid
from contextlib import contextmanager

import pytest

from deploy.local.database import CLUSTER
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from tests.clickhouse import Shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    with Shards(tmp_path_factory.mktemp("shards")) as shards:
        yield shards


@contextmanager
def migrated_cluster(shards):
    """Give a client of a new database on two shards, and its target."""
    client, target = shards.connect(), Target(f"test_{uuid.uuid4().hex}", CLUSTER)
    list(migrate(client, target))
    yield client, target
    client.command(f"DROP DATABASE {target.database}{target.on_cluster} SYNC")


@pytest.fixture
def cluster_database(shards):
    """A migrated database on two shards."""
    with migrated_cluster(shards) as database:
        yield database
