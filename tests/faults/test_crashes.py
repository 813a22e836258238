"""Whatever dies, and whenever: the log equals what was published, and every offset is committed."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from time import monotonic

import pytest

from processor.demo.traffic import messages
from tests.system import mismatches, running, wait_for

#: Recent, or the broker's retention would take the records before the worker does.
START = datetime.now(UTC).replace(microsecond=0) - timedelta(days=12)


@pytest.fixture
def system(tmp_path):
    with running(tmp_path) as system:
        yield system


def traffic(seed, events, *, raw=False):
    """Return about so many events, shuffled, a tenth of them twice, and what the log must say."""
    sample, count = [], 0
    for message in messages(seed, START, raw=raw):
        sample.append(message)
        count += len(message.records)
        if count >= events:
            break
    records = list(chain.from_iterable(message.records for message in sample))
    rng = random.Random(seed)
    records += rng.sample(records, len(records) // 10)
    rng.shuffle(records)
    return records, [message.expected for message in sample]


def events_written(system):
    return system.value("SELECT count() FROM sendlog.events")


def test_workers_killed_joining_and_leaving_lose_and_double_nothing(system):
    records, expected = traffic(seed=4, events=100_000)
    system.publish(records)
    worker = system.worker()
    for part in (0.1, 0.3, 0.5):
        wait_for(lambda part=part: events_written(system) > part * len(records) / 1.1, "progress")
        worker.kill()
        worker = system.worker()
    second = system.worker()
    second.stop()
    system.wait_until_committed()
    assert mismatches(system, expected) == []
    worker.stop()


def test_records_published_while_workers_come_and_go_are_all_there(system):
    records, expected = traffic(seed=5, events=20_000, raw=True)
    worker = system.worker()
    for place in range(0, len(records), len(records) // 5 + 1):
        system.publish(islice(records, place, place + len(records) // 5 + 1))
        worker.kill()
        worker = system.worker()
    system.wait_until_committed()
    assert mismatches(system, expected) == []


@pytest.mark.parametrize("part", ["engine", "broker"])
def test_an_outage_loses_nothing_and_the_worker_goes_on_by_itself(system, part):
    records, expected = traffic(seed=6, events=30_000)
    half = len(records) // 2
    worker = system.worker()
    system.publish(records[:half])
    wait_for(lambda: events_written(system) > 0, "the first rows")
    server = getattr(system, part)
    server.kill()
    if part == "engine":
        system.publish(records[half:])
        wait_for(lambda: "clickhouse_away" in worker.log.read_text(), "the worker to say so")
        wait_outage(worker)
        server.start()
    else:
        wait_outage(worker)
        server.start()
        system.publish(records[half:])
    system.wait_until_committed()
    assert worker.running
    assert mismatches(system, expected) == []
    if part == "engine":
        assert worker.log.read_text().count("clickhouse_away") == 1
        assert worker.log.read_text().count("clickhouse_back") == 1


def wait_outage(worker, seconds=20):
    """Let an outage last; the worker must not give up meanwhile."""
    end = monotonic() + seconds
    wait_for(lambda: monotonic() > end or not worker.running, "the outage to pass")
    assert worker.running
