"""Where a consumer goes on after a seek to what its group has committed, on a real broker."""

import asyncio
import uuid

import pytest
from aiokafka import TopicPartition
from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from processor.kafka import patches
from processor.kafka.consumers import async_consumer
from processor.settings import KafkaSettings

RECORDS = 5


@pytest.mark.parametrize("committed", [None, 0, 3])
def test_all_that_is_not_committed_is_read_again_also_where_nothing_is(broker, committed):
    place = TopicPartition(f"sought-{uuid.uuid4().hex}", 0)
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(place.topic, 1, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for _ in range(RECORDS):
        producer.send(place.topic, b"a record", partition=0)
    producer.flush()
    producer.close()

    async def run():
        patches.apply()
        consumer = async_consumer(
            KafkaSettings(bootstrap=broker.bootstrap),
            group_id=place.topic,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign([place])
            if committed is not None:
                await consumer.commit({place: committed})
                consumer.seek(place, 0)
            assert [record.offset for record in await read(consumer)] == list(range(RECORDS))
            assert await patches.seek_to_committed(consumer) == {place: committed}
            again = [record.offset for record in await read(consumer)]
            return again, patches.take_progress(consumer)[place]
        finally:
            await consumer.stop()

    async def read(consumer):
        records = await consumer.getmany(timeout_ms=10_000)
        return records[place]

    again, progress = asyncio.run(run())
    assert again == list(range(committed or 0, RECORDS))
    assert (progress.position, progress.reset) == (RECORDS, None)
