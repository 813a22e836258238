"""Partitions are added: every address keeps its state, its entry and what was fed about it."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime

import pytest

from processor.intake.policy_feed import partition_of
from processor.kafka import topics
from processor.kafka.producer import sync_producer
from schemas.addresses import Address
from tests.system import DATABASE, running, wait_for

ADDRESSES = 24


@pytest.fixture
def system(tmp_path):
    with running(tmp_path) as system:
        yield system


def publish(system, kind, message, **more):
    with sync_producer(system.kafka) as send:
        for number in range(ADDRESSES):
            send("email.sends", json.dumps({
                "channel": "email", "kind": kind, "tenant_id": "acme",
                "message_id": f"{message}-{number}", "recipient": f"r{number}@example.com",
                "occurred_at": datetime.now(UTC).isoformat(), **more,
            }).encode())  # fmt: skip


def current(system, topic):
    """Return the last value of each key of each partition that has one."""
    values = defaultdict(dict)
    for record in system.read(topic):
        values[record.key][record.partition] = record.value
    return {
        key: {number for number, value in of_key.items() if value is not None}
        for key, of_key in values.items()
    }


def test_hard_bounced_addresses_stay_refused_when_partitions_are_added(system, monkeypatch):
    monkeypatch.setenv("SENDLOG_KAFKA__MAILERS", '{"shop": ["acme"]}')
    assert "created delivery.suppressions.shop" in system.command("topics", "apply")
    worker = system.worker()
    publish(system, "bounce", "m1", bounce_class="hard", enhanced_status="5.1.1", smtp_code=550)
    listed = f"SELECT count() FROM {DATABASE}.suppressions"
    wait_for(lambda: system.value(listed) == ADDRESSES, "all to be suppressed")
    system.wait_until_committed()
    refused = system.command("topics", "grow", "delivery.policy", "6", check=False)
    assert refused.returncode == 1
    assert "stop them first" in refused.stderr
    worker.stop()
    wait_for(lambda: not system.members(), "the worker to leave")

    # With Kafka's own tools, a worker says what is wrong instead of sending to them.
    with topics.admin_client(system.kafka) as admin:
        admin.create_partitions(dict.fromkeys(topics.KEYED_TOPICS, 6))
    wrong = system.start_worker()
    wait_for(lambda: not wrong.running, "the worker to refuse", 60)
    assert "sendlog topics grow delivery.policy 6" in wrong.log.read_text()
    wait_for(lambda: not system.members(), "the worker to leave")

    for topic in ("delivery.policy", "delivery.suppressions", "delivery.suppressions.shop"):
        printed = system.command("topics", "grow", topic, "6")
        assert "moved " in printed
        assert "moved 0 keys" not in printed
        assert "moved 0 keys" in system.command("topics", "grow", topic, "6")
    states = current(system, "delivery.policy-state")
    states.pop(b"clock")
    assert states == {
        address.key.encode(): {partition_of(address, 6)}
        for n in range(ADDRESSES) for address in [Address("acme", "email", f"r{n}@example.com")]
    }  # fmt: skip
    blacklist = current(system, "delivery.suppressions")
    assert {len(places) for places in blacklist.values()} == {1}
    assert current(system, "delivery.suppressions.shop") == blacklist

    system.worker()
    publish(system, "sent", "m2")
    statuses = (
        f"SELECT status, count() AS count FROM {DATABASE}.email_log "
        "WHERE startsWith(message_id, 'm2') GROUP BY status"
    )
    wait_for(
        lambda: system.rows(statuses) == [{"status": "Invalid", "count": ADDRESSES}],
        f"all to be Invalid, not {system.rows(statuses)}", 60,
    )  # fmt: skip
    system.command(
        "suppressions", "reset", "r3@example.com", "--tenant", "acme", "--channel", "email",
        "--actor", "Kim", "--reason", "asked by phone",
    )  # fmt: skip
    wait_for(lambda: system.value(listed) == ADDRESSES - 1, "the reset to take effect", 60)
    places = current(system, "delivery.suppressions")
    assert sorted(map(len, places.values())) == [0] + [1] * (ADDRESSES - 1)


def test_what_the_policy_has_not_read_yet_moves_too(system):
    intake = system.worker(SENDLOG_POLICY="true")
    publish(system, "bounce", "m0", bounce_class="hard", enhanced_status="5.1.1", smtp_code=550)
    system.wait_until_committed()
    intake.stop()
    wait_for(lambda: not system.members(), "the worker to leave")
    records = system.read("delivery.policy")
    with sync_producer(system.kafka) as send:  # copies, and what is no feed
        for record in records:
            value = record.value.replace(b"m0-", b"m1-") + b"\nno feed"
            send._producer.send("delivery.policy", value=value, partition=record.partition)
    printed = system.command("topics", "grow", "all", "6")
    assert "delivery.policy has 6 partitions instead of 4" in printed
    system.worker()
    system.wait_until_committed()
    dead = system.rows(f"SELECT raw FROM {DATABASE}.dead_letters")
    assert len(dead) == len(records)
    assert {bytes(row["raw"]) if not isinstance(row["raw"], str) else row["raw"].encode()
            for row in dead} == {b"no feed"}  # fmt: skip
    for record in system.read("delivery.policy-state"):
        if record.value is not None:
            address = Address.parse(record.key.decode())
            assert record.partition in {partition_of(address, 4), partition_of(address, 6)}
