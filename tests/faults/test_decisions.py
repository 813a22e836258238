"""Whatever dies, and whenever: each due retry is requested, not early, and none needlessly."""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from processor.kafka.producer import sync_producer
from schemas.addresses import Address
from schemas.decisions import RetryRequested, retry_id
from tests.system import DATABASE, running, wait_for

#: Long enough for a delivery to be published before a retry falls due.
DELAY = timedelta(seconds=6)
POLICY = '[default]\nretries = 1\nschedule = ["6s"]\n'
#: Of so many messages, one is delivered after all.
MESSAGES_PER_DELIVERY = 3


@pytest.fixture
def system(tmp_path):
    with running(tmp_path) as system:
        system.write_policy(POLICY)
        yield system


def event_value(number, kind, **more):
    return json.dumps({
        "channel": "email", "kind": kind, "tenant_id": "acme", "message_id": f"m{number}",
        "recipient": f"r{number}@example.com", "occurred_at": datetime.now(UTC).isoformat(), **more,
    }).encode()  # fmt: skip


def soft_bounces(system, count, seconds):
    """Publish so many soft bounces, each twice, over some time; a third is delivered after all."""
    batch = max(1, count // (seconds * 5))
    with sync_producer(system.kafka) as send:
        for start in range(0, count, batch):
            for n in range(start, min(start + batch, count)):
                send("email.sends", event_value(n, "sent"))
                bounce = event_value(n, "bounce", bounce_class="soft", enhanced_status="4.2.2")
                send("email.sends", bounce)
                send("email.sends", bounce)
                if n % MESSAGES_PER_DELIVERY == 0:
                    send("email.sends", event_value(n, "delivery"))
            send.flush()
            time.sleep(0.2)  # the pace at which events happen


def check_retries(system, count):
    """Check that every retry was requested, by one id, not early, and none for what arrived."""
    due = {
        row["message_id"]: row["due_at"]
        for row in system.rows(f"SELECT message_id, due_at FROM {DATABASE}.retries")
    }
    requested = {}
    for record in system.read("delivery.retries"):
        retry = RetryRequested.model_validate_json(record.value)
        address = Address(retry.tenant_id, retry.channel, retry.recipient)
        assert retry.id == retry_id(address, retry.message_id, 2)
        assert retry.due_at == due[retry.message_id]
        assert record.timestamp >= retry.due_at.timestamp() * 1000
        requested.setdefault(retry.message_id, set()).add(retry.id)
    assert set(requested) == {f"m{n}" for n in range(count) if n % MESSAGES_PER_DELIVERY}
    assert all(len(ids) == 1 for ids in requested.values())


def wait_for_retries(system, count):
    """Wait until every retry has come to something."""
    wait_for(
        lambda: system.value(
            f"SELECT countIf(state IN ('asked', 'cancelled')) FROM {DATABASE}.retries"
        ) == count,
        "every retry to be requested or cancelled", timeout_seconds=400,
    )  # fmt: skip


def under_fire(system, count, seconds, disturb):
    """Publish soft bounces while `disturb` is called over and over."""
    publisher = threading.Thread(target=soft_bounces, args=(system, count, seconds))
    publisher.start()
    disturb(publisher)
    publisher.join()
    wait_for_retries(system, count)
    system.wait_until_committed()
    check_retries(system, count)


def killing(system, kills, seed):
    dice = random.Random(seed)

    def disturb(_publisher):
        worker = system.worker()
        for _ in range(kills):
            time.sleep(dice.uniform(0.5, 6))  # a random moment
            worker.kill()
            worker = system.worker()

    return disturb


def test_killed_workers_request_every_retry_once_and_none_in_vain(system):
    under_fire(system, 600, 15, killing(system, 3, seed=1))


def sharing(system, seed, rounds, max_workers):
    dice = random.Random(seed)

    def disturb(_publisher):
        workers = [system.worker(), system.worker()]
        for _ in range(rounds):
            time.sleep(dice.uniform(1, 5))  # a random moment
            if len(workers) < max_workers:
                workers.append(system.worker())
            else:
                leaving = workers.pop(dice.randrange(len(workers)))
                dice.choice([leaving.kill, leaving.stop])()

    return disturb


def test_workers_that_join_and_leave_do_the_same(system):
    under_fire(system, 600, 15, sharing(system, seed=2, rounds=3, max_workers=3))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_during_ten_thousand_soft_bounces(system):
    under_fire(system, 10_000, 120, killing(system, 20, seed=3))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_workers_joining_and_leaving_during_ten_thousand_soft_bounces(system):
    under_fire(system, 10_000, 120, sharing(system, seed=4, rounds=20, max_workers=3))
