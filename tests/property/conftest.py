from types import SimpleNamespace

import pytest

from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from tests.clickhouse import connect_to


@pytest.fixture
def migrated(fresh_database):
    """A database with all tables, views and folds, and a client as the project makes it."""
    client = connect_to(fresh_database.url)
    for _ in migrate(client, Target(fresh_database.name)):
        pass
    return SimpleNamespace(client=client, name=fresh_database.name)
