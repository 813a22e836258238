"""quixstreams: a batching sink that writes at each checkpoint.

Run as a process: BOOTSTRAP URL GROUP [RECORDS].
"""

from __future__ import annotations

import sys
import tempfile

from quixstreams import Application
from quixstreams.sinks import BatchingSink

from tests.benchmarks.peers.job import TOPICS, Job, Record

RECORDS = 100_000


class Sink(BatchingSink):
    """Writes a partition's batch of a checkpoint; the application commits it afterwards."""

    def __init__(self, job):
        super().__init__()
        self._job = job

    def write(self, batch):
        self._job(
            [
                Record(batch.topic, batch.partition, item.offset, item.timestamp, item.value,
                       item.headers or ())
                for item in batch
            ]
        )  # fmt: skip


def main(bootstrap, url, group, records=RECORDS):
    app = Application(
        bootstrap, consumer_group=group, auto_offset_reset="earliest",
        commit_every=int(records), auto_create_topics=False, state_dir=tempfile.mkdtemp(),
        loglevel="WARNING",
    )  # fmt: skip
    sink = Sink(Job(url))
    for name in TOPICS:
        app.dataframe(app.topic(name, value_deserializer="bytes", key_deserializer="bytes")).sink(
            sink
        )
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
