"""The worker as Faust's guide would have it: an agent with `take`, same decoding and tables.

Run as a process: BOOTSTRAP URL GROUP BATCH. It is written as well as stock Faust allows: batches
(of 1,000 events, the smallest insert that ClickHouse's guide recommends, unless told otherwise),
one Arrow insert for each, acks after it, uvloop.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile

import faust
import uvloop
from faust.worker import Worker

from processor.decoding import Decoder
from processor.settings import Intake
from projections.store import connect, insert
from projections.tables.events import TABLE as EVENTS


class Raw(faust.Schema):
    def loads_key(self, _app, message, **_):
        return message.key

    def loads_value(self, _app, message, **_):
        return message.value


def main(bootstrap, url, group, size):
    uvloop.install()
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    app = faust.App(
        group, broker=f"kafka://{bootstrap}", web_enabled=False, datadir=tempfile.mkdtemp(),
        topic_disable_leader=True,
        topic_allow_declare=False, worker_redirect_stdouts=False, stream_wait_empty=False,
        stream_buffer_maxsize=40_000, broker_max_poll_records=20_000,
        consumer_auto_offset_reset="earliest",
    )  # fmt: skip
    decode = Decoder(Intake(), max_record_bytes=1_048_576)
    client = connect(url, user="default", password="")

    @app.agent(app.topic("email.sends", "sms.sends", "email.events.ses", schema=Raw()))
    async def write(stream):
        async for events in stream.noack_take(int(size), within=0.2):
            by_topic = {}
            for event in events:
                message = event.message
                by_topic.setdefault(message.topic, []).append(Record(message))
            for chunk in by_topic.values():
                batch = decode(chunk)
                await asyncio.to_thread(insert, client, "sendlog", EVENTS, batch.events)
            for event in events:
                event.ack()

    worker = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


class Record:
    """A Faust message as our decoder wants it."""

    __slots__ = ("headers", "offset", "partition", "timestamp", "topic", "value")

    def __init__(self, message):
        self.topic, self.partition, self.offset = message.topic, message.partition, message.offset
        self.timestamp, self.value = int(message.timestamp * 1000), message.value
        self.headers = ()


if __name__ == "__main__":
    main(*sys.argv[1:])
