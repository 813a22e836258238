"""The policies in force can be read in the database, and when each came into force."""

from __future__ import annotations

from datetime import timedelta

import pytest

from processor.policy.config import Policies, Policy
from processor.policy.policy_table import write_policies
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate


@pytest.fixture
def database(fresh_database):
    for _ in migrate(fresh_database.client, Target(fresh_database.name)):
        pass
    return fresh_database


def in_force(database):
    answer = database.client.query(
        "SELECT tenant_id, retries, schedule, soft_expiry FROM policies ORDER BY tenant_id"
    )
    return answer.result_rows


def test_policies_are_written_when_they_change_and_only_then(database):
    first = Policies(Policy(), {"acme": Policy(retries=1, schedule=(timedelta(minutes=5),))})
    written = [write_policies(lambda: database.client, database.name, first) for _ in range(2)]
    assert written == [True, False]
    assert in_force(database) == [
        ("*", 3, ["15m", "1h", "4h"], "30d"), ("acme", 1, ["5m"], "30d"),
    ]  # fmt: skip
    assert write_policies(lambda: database.client, database.name, Policies(Policy(retries=2)))
    assert in_force(database) == [("*", 2, ["15m", "1h", "4h"], "30d")]
    assert database.client.query("SELECT count() FROM policy_history").result_rows == [(3,)]
