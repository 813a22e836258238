"""Backups: the database is lost, restored, and what came since is read again from Kafka."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from processor.demo.traffic import messages
from tests.system import DATABASE, mismatches, running

START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=5)
#: What workers fill beside the logs. The policy may decide on what it reads again once more.
CONTENT = (
    "uniqExactIf(event_id, label != 'sendlog') FROM {}.events", "count() FROM {}.suppressions",
    "count() FROM {}.suppression_history FINAL", "count() FROM {}.edges FINAL",
    "sum(messages) FROM {}.email_daily", "sum(messages) FROM {}.sms_daily",
)  # fmt: skip


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("backups")) as system:
        yield system


def lose_data(engine, folder):
    """Let a crash take all data of a server; its configuration comes from elsewhere."""
    engine.kill()
    for path in (folder / "clickhouse").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.suffix != ".xml":
            path.unlink()
    engine.start()


def content(system):
    return {each: system.value(f"SELECT {each.format(DATABASE)}") for each in CONTENT}


def test_a_lost_database_is_restored_and_what_came_since_is_read_again(system):
    traffic = list(islice(messages(7, START, tenant="acme", raw=True), 1_500))
    expected = [message.expected for message in traffic]
    parts = [
        [record for message in traffic[start::3] for record in message.records]
        for start in range(3)
    ]
    system.command("migrate")
    worker = system.worker()
    system.publish(parts[0])
    system.wait_until_committed()
    first = system.command("backup").strip()
    system.publish(parts[1])
    name = system.command("backup", "--base", first).strip()  # while the worker writes
    system.publish(parts[2])
    system.wait_until_committed()
    before = content(system)

    refused = system.command("restore", name, check=False)
    assert refused.returncode == 1
    assert "stop them first" in refused.stderr
    worker.stop()
    refused = system.command("restore", name, check=False)
    assert "is restored into an empty one only" in refused.stderr

    lose_data(system.engine, system.folder)
    refused = system.command("restore", "20200101T000000Z", check=False)
    assert "20200101T000000Z" in refused.stderr
    assert "Traceback" not in refused.stderr
    printed = system.command("restore", name)
    count = int(printed.partition("will read ")[2].partition(" ")[0].replace(",", ""))
    assert len(parts[2]) <= count < sum(map(len, parts))
    assert system.command("migrate") == "nothing to do: the database is as declared\n"
    system.worker()
    system.wait_until_committed()
    assert mismatches(system, expected) == []
    assert content(system) == before


def test_a_disk_that_is_not_there_is_said_in_a_line(system):
    refused = system.command("backup", "--disk", "nowhere", check=False)
    assert refused.returncode == 1
    assert "nowhere" in refused.stderr
    assert "Traceback" not in refused.stderr
