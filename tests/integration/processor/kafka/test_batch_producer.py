"""What the worker publishes, read back from a real broker."""

import asyncio
import os
import uuid

import pytest
from aiokafka.errors import KafkaError
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from processor.faust_app import faust_app
from processor.kafka.batch_producer import Outgoing, publish
from processor.settings import Kafka
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
        app = faust_app(Kafka(bootstrap=broker.bootstrap, replication=1))
        try:
            await asyncio.gather(*(publish(app, batch) for batch in batches))
        finally:
            await app.producer.stop()

    asyncio.run(run())


def places_of(broker, topic):
    """Return the records of each partition, in order."""
    found = {place: [] for place in range(PARTITIONS)}
    for each in read(broker.bootstrap, topic):
        headers = tuple(each.headers)
        found[each.partition].append(
            Outgoing(topic, each.key, each.value, headers, each.partition)
        )  # fmt: skip
    return found


def test_records_are_where_their_keys_belong_and_in_their_order(broker, topic):
    keys = [f"studio/email/{n}@example.com".encode() for n in range(300)]
    large = os.urandom(400_000)  # alone it is more than a batch of Kafka's has room for
    records = [
        Outgoing(topic, keys[n % 300], None if n % 7 == 0 else b"%d" % n, (("n", b"%d" % n),))
        for n in range(6_000)
    ]  # fmt: skip
    records.insert(3_000, Outgoing(topic, keys[0], large))
    published(broker, records)
    found = places_of(broker, topic)

    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    homes = {key: producer.send(topic, b"", key).get(30).partition for key in keys}
    producer.close()
    assert found == {
        place: [each._replace(partition=place) for each in records if homes[each.key] == place]
        for place in range(PARTITIONS)
    }


def test_a_partition_that_is_named_counts_more_than_the_key(broker, topic):
    records = [Outgoing(topic, b"key", os.urandom(300), (), n % 3) for n in range(3_000)]
    published(broker, records)
    assert places_of(broker, topic) == {
        place: [each for each in records if each.partition == place]
        for place in range(PARTITIONS)
    }  # fmt: skip


def test_what_is_published_at_the_same_time_is_all_there(broker, topic):
    batches = [
        [Outgoing(topic, None, b"%d/%d" % (batch, n), (), 0) for n in range(500)]
        for batch in range(8)
    ]  # fmt: skip
    published(broker, *batches, [])
    values = [each.value for each in read(broker.bootstrap, topic)]
    assert sorted(values) == sorted(each.value for batch in batches for each in batch)
    for batch in batches:
        theirs = {each.value for each in batch}
        assert [value for value in values if value in theirs] == [each.value for each in batch]


def test_what_the_broker_refuses_is_raised(broker, topic):
    too_large = Outgoing(topic, b"key", os.urandom(20 * 1024 * 1024))
    with pytest.raises(KafkaError, match="MessageSizeTooLarge"):
        published(broker, [Outgoing(topic, b"key", b"small"), too_large])
