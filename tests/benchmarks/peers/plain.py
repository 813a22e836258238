"""The plain consumer: a loop of `consume`, decode, insert, commit; no framework.

Run as a process: BOOTSTRAP URL GROUP [RECORDS].
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer

from tests.benchmarks.peers.job import TOPICS, Job, from_confluent

RECORDS = 20_000


def consumer(bootstrap, group):
    """Return a consumer as a backlog wants it: librdkafka's own prefetch, no automatic commit."""
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


def main(bootstrap, url, group, records=RECORDS):
    job = Job(url)
    reader = consumer(bootstrap, group)
    reader.subscribe(list(TOPICS))
    while True:
        fetched = reader.consume(int(records), timeout=0.2)
        messages = [message for message in fetched if not message.error()]
        if messages:
            job(list(map(from_confluent, messages)))
            reader.commit(asynchronous=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
