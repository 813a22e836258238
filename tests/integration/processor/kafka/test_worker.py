"""A worker on a real broker: what it waits out, what it reads, and how far it commits."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaProducer
from kafka import TopicPartition
from kafka.admin import NewPartitions, NewTopic

from deploy.local.addresses import free_port
from deploy.local.process import signal_group
from processor.demo.render import DemoRecord
from processor.intake.policy_feed import partition_of
from processor.kafka import topics
from processor.kafka.producer import sync_producer
from processor.kafka.watermark import Watermark
from processor.policy.state_store import read_partition_states
from processor.settings import KafkaSettings
from schemas.addresses import Address
from tests.system import running, wait_for

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("worker")) as system:
        yield system


@pytest.fixture
def worker(system):
    """Start a worker; it is stopped after the test."""
    started = []

    def start(**environment):
        started.append(system.worker(**environment))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def event_value(message_id, tenant):
    return json.dumps({
        "channel": "email", "kind": "sent", "tenant_id": tenant, "message_id": message_id,
        "recipient": "jo@example.com", "occurred_at": NOW.isoformat(),
    }).encode()  # fmt: skip


def publish(system, tenant, count, topic="email.sends"):
    now = int(NOW.timestamp() * 1000)
    system.publish(
        DemoRecord(topic, None, event_value(f"m-{n}", tenant), (), now) for n in range(count)
    )


def rows(system, tenant):
    sql = "SELECT uniqExact(message_id) FROM sendlog.email_log WHERE tenant_id = {tenant:String}"
    return system.value(sql, tenant=tenant)


def log_lines(worker, event):
    lines = worker.log.read_text(errors="replace").splitlines()
    parsed = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in parsed if line["event"] == event]


def let_pass(seconds):
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() > end, "the time to pass", seconds + 60)


def test_an_outage_of_clickhouse_longer_than_the_poll_interval_is_waited_out(system, worker):
    poll_interval = 10
    running = worker(BROKER_MAX_POLL_INTERVAL=str(poll_interval), SENDLOG_INTAKE__BATCH_ROWS="100")
    publish(system, "before", 10)
    system.wait_until_committed()
    system.engine.kill()
    publish(system, "during", 3_000)
    wait_for(lambda: log_lines(running, "clickhouse_away"), "the worker to notice")
    let_pass(3 * poll_interval)
    system.engine.start()
    system.wait_until_committed()
    assert rows(system, "during") == 3_000
    assert running.running


def test_a_topic_that_is_gone_is_waited_for_and_the_table_has_the_dead_letters(
    system, worker, request
):
    running = worker(PRODUCER_REQUEST_TIMEOUT="3")
    with topics.admin_client(system.kafka) as admin:
        admin.delete_topics([topics.DEAD_LETTERS_TOPIC])
    request.addfinalizer(lambda: topics.create_missing_topics(system.kafka))
    system.publish([DemoRecord("email.sends", None, b"junk", (), int(NOW.timestamp() * 1000))])
    stored = "SELECT count() FROM sendlog.dead_letters WHERE raw = 'junk'"
    wait_for(lambda: system.value(stored), "the dead letter to be in its table")
    wait_for(lambda: log_lines(running, "topic_away"), "the worker to say that it waits")
    let_pass(10)
    assert running.running
    assert system.lags()
    topics.create_missing_topics(system.kafka)
    system.wait_until_committed()
    [away] = log_lines(running, "topic_away")
    assert away["topic"] == topics.DEAD_LETTERS_TOPIC
    wait_for(lambda: log_lines(running, "topic_back"), "the worker to say that it goes on")
    assert [record.value for record in system.read(topics.DEAD_LETTERS_TOPIC)] == [b"junk"]


async def publish_transactions(bootstrap, partition, *transactions):
    """Publish values of one partition, each list in a transaction that is committed or aborted."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"tests-{partition}")
    await producer.start()
    try:
        for commits, values in transactions:
            await producer.begin_transaction()
            for value in values:
                await producer.send_and_wait("email.sends", value, partition=partition)
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    finally:
        await producer.stop()


def events(tenant, *names):
    return [event_value(name, tenant) for name in names]


def test_committed_transactions_are_read_aborted_are_not_and_all_offsets_are_committed(
    system, worker
):
    worker()

    def transactions(partition, *each):
        asyncio.run(publish_transactions(system.broker.bootstrap, partition, *each))

    committed = (True, events("transactions", "c-1", "c-2"))
    aborted = (False, events("transactions", "a-1", "a-2"))
    transactions(0, committed)
    transactions(1, aborted)
    transactions(2, committed, aborted)
    transactions(3, aborted, (True, events("transactions", "c-3")), aborted, aborted)
    system.wait_until_committed()
    [row] = system.rows(
        "SELECT arraySort(groupUniqArray(message_id)) AS names FROM sendlog.email_log"
        " WHERE tenant_id = 'transactions'"
    )
    assert row["names"] == ["c-1", "c-2", "c-3"]
    names = [json.loads(each.value)["message_id"] for each in system.read("email.sends")
             if b"transactions" in each.value]  # fmt: skip
    assert {*names} == {"c-1", "c-2", "c-3"}
    assert asyncio.run(watermark_after(system, datetime.now(UTC)))


async def watermark_after(system, moment):
    """Return whether the watermark reaches a moment."""
    counts = dict.fromkeys(("email.sends", "sms.sends"), 4)
    watermark = Watermark(
        system.kafka, counts, {topics.POLICY_TOPIC: 4},
        clock=lambda: datetime.now(UTC),
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            while await watermark.refresh() < moment:
                await asyncio.sleep(0.1)
        return True
    finally:
        await watermark._consumer.stop()
        await watermark._admin.close()


PARTITIONS = KafkaSettings().partitions
JO = Address("t", "email", "jo@example.com")
JO_PARTITION = partition_of(JO, PARTITIONS)


async def publish_states(bootstrap, *transactions):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id="tests-states")
    await producer.start()
    try:
        for commits, value in transactions:
            await producer.begin_transaction()
            await producer.send_and_wait(
                topics.POLICY_STATE_TOPIC, value, key=JO.key.encode(), partition=JO_PARTITION
            )
            await (producer.commit_transaction() if commits else producer.abort_transaction())
    finally:
        await producer.stop()


def test_states_of_aborted_transactions_are_not_read_back(system):
    bootstrap = system.broker.bootstrap
    asyncio.run(publish_states(bootstrap, (True, b"{}"), (False, b"aborted"), (False, b"aborted")))
    try:
        states = asyncio.run(read_partition_states(system.kafka, JO_PARTITION, PARTITIONS))
    finally:
        asyncio.run(publish_states(bootstrap, (True, None)))  # workers of other tests read it, too
    values = {key: value for key, value, *_ in states}  # beside Jo's: the broker's clock
    assert values[JO.key] == b"{}"
    assert b"aborted" not in values.values()


def test_records_deleted_before_they_were_read_are_counted_in_the_log(system, worker):
    now = int(NOW.timestamp() * 1000)
    record = DemoRecord("sms.sends", b"key", b"{}", (), now)
    running = worker()
    system.publish([record])
    system.wait_until_committed()
    running.stop()
    system.publish([record] * 100)
    [(name, _)] = system.lags().items()
    place = TopicPartition("sms.sends", int(name.split("/")[1]))
    with topics.admin_client(system.kafka) as admin:
        admin.delete_records({place: 61})
    running = worker()
    system.wait_until_committed()
    [line] = wait_for(lambda: log_lines(running, "offset_reset"), "the loss to be in the log")
    assert (line["topic"], line["partition"], line["lost"]) == ("sms.sends", place.partition, 60)


def test_a_feed_that_turns_to_junk_is_read_slowly_and_all_others_go_on(system, worker):
    slow = {
        "SENDLOG_INTAKE__STOP_AFTER_BAD": "100", "SENDLOG_INTAKE__BAD_RATE": "1",
        "SENDLOG_KAFKA__FETCH_RECORDS": "50",
    }  # fmt: skip
    now = int(NOW.timestamp() * 1000)
    feed = "email.events.brevo"
    system.publish(DemoRecord(feed, b"%d" % n, b"<junk>", (), now) for n in range(2_000))
    for _ in range(2):  # a restart meets the same records again
        running = worker(**slow)
        [paused] = wait_for(lambda: log_lines(running, "topic_paused"), "the feed to be paused")  # noqa: B023
        assert (paused["topic"], running.running) == (feed, True)
        tenant = f"beside-junk-{len(system.workers)}"
        publish(system, tenant, 200)
        wait_for(lambda: rows(system, tenant) == 200, "the others to go on")  # noqa: B023
        assert any(place.startswith(feed) for place in system.lags())
        running.stop()
    worker()
    system.wait_until_committed()
    stored = "SELECT uniqExact(source_partition, source_offset) FROM sendlog.dead_letters"
    assert system.value(f"{stored} WHERE source_topic = '{feed}'") == 2_000


def metric(port, name):
    """Return the sum of a metric of a worker."""
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
    return 0


def test_a_worker_ends_soon_while_clickhouse_hangs_in_an_insert(system, worker):
    port = free_port()
    running = worker(SENDLOG_METRICS_PORT=str(port))
    system.wait_until_committed()
    before = metric(port, "sendlog_records_total")
    signal_group(system.engine._process.pid, signal.SIGSTOP)
    try:
        publish(system, "hanging", 100)
        wait_for(lambda: metric(port, "sendlog_records_total") > before, "records to be read")
        signal_group(running._process.pid, signal.SIGTERM)
        wait_for(lambda: not running.running, "the worker to end", timeout_seconds=30)
    finally:
        signal_group(system.engine._process.pid, signal.SIGCONT)
    assert running.returncode == 0
    assert log_lines(running, "worker_stopped")
    worker()
    system.wait_until_committed()
    assert rows(system, "hanging") == 100


def test_topics_and_partitions_made_while_a_worker_runs_are_read_without_a_restart(system, worker):
    running = worker()
    system.wait_until_committed()
    with topics.admin_client(system.kafka) as admin:
        admin.create_topics([NewTopic("email.events.late", num_partitions=1, replication_factor=1)])
        admin.create_partitions({"email.sends": NewPartitions(6)})
    with sync_producer(system.kafka) as send:
        send("email.events.late", b"of a provider that nobody knows")
    asyncio.run(publish_transactions(system.broker.bootstrap, 5, (True, events("grown", "m"))))
    wait_for(lambda: rows(system, "grown"), "the new partition to be read", 90)
    stored = "SELECT count() FROM sendlog.dead_letters WHERE source_topic = 'email.events.late'"
    wait_for(lambda: system.value(stored), "the new topic to be read", 90)
    system.wait_until_committed()
    assert log_lines(running, "topics_added")
