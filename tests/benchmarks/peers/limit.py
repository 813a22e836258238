"""The limit: what is left if records need no decoding and events no folding.

Run as a process: BOOTSTRAP URL GROUP [RECORDS]. Before it joins its group it reads the whole
backlog once and makes its Arrow rows. Then it consumes the backlog as the plain consumer does, but
inserts the rows made before, so many as it has consumed, into an `events` without folding views.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, TopicPartition

from tests.benchmarks.peers import plain
from tests.benchmarks.peers.job import TOPICS, Job, from_confluent

#: A database with a copy of the table `events`, and nothing that folds.
DATABASE = "sendlog_limit"
RECORDS = 60_000


def main(bootstrap, url, group, records=RECORDS):
    job = Job(url, DATABASE)
    rows, count = ready_made(bootstrap, job)
    reader = plain.consumer(bootstrap, group)
    reader.subscribe(list(TOPICS))
    consumed = written = 0
    while True:
        fetched = reader.consume(int(records), timeout=0.2)
        messages = [message for message in fetched if not message.error()]
        if messages:
            consumed += len(messages)
            upto = consumed * rows.num_rows // count
            job.write(rows.slice(written, upto - written))
            written = upto
            reader.commit(asynchronous=False)


def ready_made(bootstrap, job):
    """Return the rows of the whole backlog, and the number of its records."""
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "limit-ready-made"})
    ends = {}
    for name, topic in reader.list_topics().topics.items():
        for number in topic.partitions if name in TOPICS else ():
            partition = TopicPartition(name, number, 0)
            ends[name, number] = reader.get_watermark_offsets(partition)[1]
    reader.assign([TopicPartition(name, number, 0) for name, number in ends])
    count, records = sum(ends.values()), []
    while len(records) < count:
        records += map(from_confluent, reader.consume(50_000, timeout=1.0))
    reader.close()
    return job.decode(records)[0].combine_chunks(), count


if __name__ == "__main__":
    main(*sys.argv[1:])
