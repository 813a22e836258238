from types import SimpleNamespace

import pytest

from projections.clickhouse.client import connect
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate


@pytest.fixture
def migrated(fresh_database):
    """A database with all tables, views and folds, and a client as the project makes it."""
    client = connect(fresh_database.url, user="default", password="")
    for _ in migrate(client, Target(fresh_database.name)):
        pass
    return SimpleNamespace(client=client, name=fresh_database.name)
