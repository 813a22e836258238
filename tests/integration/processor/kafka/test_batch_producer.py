"""What the worker publishes, read back from a real broker."""

import asyncio
import os
import signal
import uuid

import pytest
from aiokafka.errors import KafkaError
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from structlog.testing import capture_logs

from deploy.local.process import signal_group
from processor.faust_app import faust_app
from processor.kafka import batch_producer
from processor.kafka.batch_producer import OutgoingRecord, publish_batch
from processor.settings import KafkaSettings
from tests.system import read

PARTITIONS = 4


@pytest.fixture
def topic(broker):
    name = f"published-{uuid.uuid4().hex}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    admin.close()
    return name


def published(broker, *batches):
    """Publish as a worker does, all at once."""

    async def run():
        app = faust_app(KafkaSettings(bootstrap=broker.bootstrap, replication=1))
        try:
            await asyncio.gather(*(publish_batch(app, batch) for batch in batches))
        finally:
            await app.producer.stop()

    asyncio.run(run())


def records_by_partition(broker, topic):
    """Return the records of each partition, in order."""
    by_partition = {partition: [] for partition in range(PARTITIONS)}
    for record in read(broker.bootstrap, topic):
        by_partition[record.partition].append(
            OutgoingRecord(topic, record.key, record.value, tuple(record.headers), record.partition)
        )
    return by_partition


def test_records_are_where_their_keys_belong_and_in_their_order(broker, topic):
    keys = [f"studio/email/{n}@example.com".encode() for n in range(300)]
    large = os.urandom(400_000)  # alone it is more than a batch of Kafka's has room for
    records = [
        OutgoingRecord(topic, keys[n % 300], None if n % 7 == 0 else b"%d" % n, (("n", b"%d" % n),))
        for n in range(6_000)
    ]  # fmt: skip
    records.insert(3_000, OutgoingRecord(topic, keys[0], large))
    published(broker, records)
    by_partition = records_by_partition(broker, topic)

    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    homes = {key: producer.send(topic, b"", key).get(30).partition for key in keys}
    producer.close()
    assert by_partition == {
        partition: [
            record._replace(partition=partition)
            for record in records if homes[record.key] == partition
        ]
        for partition in range(PARTITIONS)
    }  # fmt: skip


def test_a_partition_that_is_named_counts_more_than_the_key(broker, topic):
    records = [OutgoingRecord(topic, b"key", os.urandom(300), (), n % 3) for n in range(3_000)]
    published(broker, records)
    assert records_by_partition(broker, topic) == {
        partition: [record for record in records if record.partition == partition]
        for partition in range(PARTITIONS)
    }  # fmt: skip


def test_what_is_published_at_the_same_time_is_all_there(broker, topic):
    batches = [
        [OutgoingRecord(topic, None, b"%d/%d" % (batch, n), (), 0) for n in range(500)]
        for batch in range(8)
    ]  # fmt: skip
    published(broker, *batches, [])
    values = [record.value for record in read(broker.bootstrap, topic)]
    assert sorted(values) == sorted(record.value for batch in batches for record in batch)
    for batch in batches:
        expected = [record.value for record in batch]
        own = set(expected)
        assert [value for value in values if value in own] == expected


def test_an_outage_longer_than_a_batch_may_wait_is_waited_out_and_logged_once(
    broker, topic, monkeypatch
):
    monkeypatch.setenv("PRODUCER_REQUEST_TIMEOUT", "2")
    monkeypatch.setattr(batch_producer, "SLOW_PUBLISH_SECONDS", 1.0)
    batches = [
        [OutgoingRecord(topic, None, b"%d/%d" % (batch, n), (), n % PARTITIONS) for n in range(40)]
        for batch in range(2)
    ]  # fmt: skip

    async def run():
        app = faust_app(KafkaSettings(bootstrap=broker.bootstrap, replication=1))
        try:
            await publish_batch(app, [OutgoingRecord(topic, None, b"before", (), 0)])
            signal_group(broker._process.pid, signal.SIGSTOP)
            try:
                waiting = [asyncio.create_task(publish_batch(app, batch)) for batch in batches]
                done, _ = await asyncio.wait(waiting, timeout=8)
                assert not done
            finally:
                signal_group(broker._process.pid, signal.SIGCONT)
            await asyncio.gather(*waiting)
        finally:
            await app.producer.stop()

    with capture_logs() as lines:
        asyncio.run(run())
    names = [line["event"] for line in lines if line["event"].startswith("topic")]
    assert names == ["topic_away", "topic_back"]
    values = [record.value for record in read(broker.bootstrap, topic)]
    assert {*values} == {b"before", *(record.value for batch in batches for record in batch)}


def test_what_the_broker_refuses_is_raised(broker, topic):
    too_large = OutgoingRecord(topic, b"key", os.urandom(20 * 1024 * 1024))
    with pytest.raises(KafkaError, match="MessageSizeTooLarge"):
        published(broker, [OutgoingRecord(topic, b"key", b"small"), too_large])
