"""A server that goes away for a while: the worker itself goes on, and says so once.

The runs of `test_faults.py` start workers again that have ended; here none may end.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import chain
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


def traffic(seed, events):
    """Return about so many events, shuffled, a tenth of them twice, and what the log must say."""
    sample, count = [], 0
    for message in messages(seed, START, raw=False):
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
