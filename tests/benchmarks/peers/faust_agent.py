"""Stock Faust: an agent that takes events in batches, as its guide shows, and writes each.

Run as a process: BOOTSTRAP URL GROUP [EVENTS WITHIN]. The guide's own example takes 100, within 10
seconds; the tuned one has other numbers, and buffers and fetches to fill them.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile

import faust
import uvloop
from faust.worker import Worker

from tests.benchmarks.peers.job import TOPICS, Job, Record

GUIDE_BATCH = (100, 10.0)  # events, seconds
#: Buffers and fetches that hold a large batch; Faust's own are 4096 events, and aiokafka's records.
LARGE_BUFFERS = {"stream_buffer_maxsize": 40_000, "broker_max_poll_records": 20_000}


class Raw(faust.Schema):
    """Leaves keys and values as they are: the job decodes."""

    def loads_key(self, _app, message, **_):
        return message.key

    def loads_value(self, _app, message, **_):
        return message.value


def main(bootstrap, url, group, size=GUIDE_BATCH[0], within=GUIDE_BATCH[1]):
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    app = faust.App(
        group, broker=f"kafka://{bootstrap}", datadir=tempfile.mkdtemp(), web_enabled=False,
        topic_disable_leader=True, topic_allow_declare=False, stream_wait_empty=False,
        consumer_auto_offset_reset="earliest", worker_redirect_stdouts=False,
        **(LARGE_BUFFERS if int(size) > GUIDE_BATCH[0] else {}),
    )  # fmt: skip
    job = Job(url)

    @app.agent(app.topic(*TOPICS, schema=Raw()))
    async def write(stream):
        async for events in stream.take_events(int(size), within=float(within)):
            await asyncio.to_thread(job, [record(event.message) for event in events])

    worker = Worker(app, loop=loop, quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    worker.execute_from_commandline()


def record(message):
    """Return a message of Faust as the decoder wants it."""
    return Record(
        message.topic, message.partition, message.offset, round(message.timestamp * 1000),
        message.value,
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
