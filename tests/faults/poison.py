"""Records that nobody should publish, and what must become of them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from time import time

from kafka.errors import InvalidTimestampError

from processor.demo.broken import broken_records
from tests.faults.faults import fault
from tests.faults.load import producer_of
from tests.faults.oracle import ODD_TENANT

ACK_SECONDS = 60
JUNK_FEED = "email.events.mailgun"
#: Enough for the feed to be paused twice.
JUNK_RECORDS = 250
TOO_LARGE_BYTES = 3 << 20
JUST_SMALL_ENOUGH_BYTES = 1_000_000


class Poison:
    """Publishes odd records and notes in the oracle what must come of them."""

    def __init__(self, stage):
        self._stage = stage
        self._numbers = count()

    @contextmanager
    def _producer(self, **options):
        producer = producer_of(self._stage.broker.bootstrap, **options)
        try:
            yield producer
        finally:
            producer.close(timeout=5)

    def broken(self, seed):
        """Publish a record of each kind of damage that the demo knows."""
        start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
        with self._producer() as producer:
            self._send_dead(
                producer,
                [(each.record, each.dead_letter) for each in broken_records(seed, start)],
            )

    def junk(self, topic, number):
        """Publish records that nothing can be read from."""
        with self._producer() as producer:
            futures = [producer.send(topic, b"\xff junk %d" % n) for n in range(number)]
            self._note_dead(futures)

    def too_large(self):
        with self._producer() as producer:
            self._note_dead([producer.send("email.sends", b"x" * TOO_LARGE_BYTES)])

    def _send_dead(self, producer, records):
        futures = [
            (producer.send(each.topic, each.value, each.key, timestamp_ms=each.timestamp_ms), dead)
            for each, dead in records
        ]
        producer.flush()
        self._note_dead([future for future, dead in futures if dead])

    def _note_dead(self, futures):
        for future in futures:
            at = future.get(timeout=ACK_SECONDS)
            self._stage.oracle.dead_letters.add((at.topic, at.partition, at.offset))

    def good(self, number=1, **fields):
        """Return so many facts of the odd tenant as values by message id."""
        return dict(self._good(fields) for _ in range(number))

    def _good(self, fields):
        message_id = f"odd-{next(self._numbers)}"
        now = datetime.now(UTC).isoformat()
        value = {
            "channel": "email", "kind": "sent", "tenant_id": ODD_TENANT, "message_id": message_id,
            "recipient": f"{message_id}@example.com", "occurred_at": now, **fields,
        }  # fmt: skip
        return message_id, json.dumps(value).encode()

    def send_good(self, values, **options):
        """Publish facts; those that the broker refuses must not be in the log."""
        with self._producer() as producer:
            for message_id, value in values.items():
                try:
                    producer.send("email.sends", value, **options).get(timeout=ACK_SECONDS)
                except (InvalidTimestampError, ValueError):
                    self._stage.oracle.odd_messages[message_id] = False
                else:
                    self._stage.oracle.odd_messages[message_id] = True

    def transaction(self, number, *, commit):
        """Publish facts in a transaction, and commit or abort it."""
        values = self.good(number)
        with self._producer(transactional_id=f"odd-{next(self._numbers)}") as producer:
            producer.init_transactions()
            producer.begin_transaction()
            for value in values.values():
                producer.send("email.sends", value)
            producer.flush()
            (producer.commit_transaction if commit else producer.abort_transaction)()
        self._stage.oracle.odd_messages.update(dict.fromkeys(values, commit))


@fault("broken records", weight=3, needs=["broker"])
def broken(stage, dice):
    stage.poison.broken(dice.getrandbits(30))
    yield


@fault("a feed of junk", weight=1, needs=["broker"])
def junk_feed(stage, dice):
    stage.poison.junk(JUNK_FEED, JUNK_RECORDS)
    yield


@fault("a record that is too large", weight=2, needs=["broker"])
def too_large(stage, dice):
    stage.poison.too_large()
    yield


@fault("a record that is nearly too large", weight=2, needs=["broker"])
def nearly_too_large(stage, dice):
    stage.poison.send_good(stage.poison.good(filler="x" * JUST_SMALL_ENOUGH_BYTES))
    yield


@fault("records of impossible times", weight=3, needs=["broker"])
def impossible_times(stage, dice):
    now = int(time())
    for timestamp_ms in (-1, 0, now, now * 1_000_000, 1 << 62):
        stage.poison.send_good(stage.poison.good(), timestamp_ms=timestamp_ms)
    yield


@fault("headers that are no text", weight=3, needs=["broker"])
def odd_headers(stage, dice):
    headers = [("x-odd", b"\xff\xfe\x00"), ("x-odd", b""), ("sendlog-recorded-at", b"\xc3\x28")]
    stage.poison.send_good(stage.poison.good(3), headers=headers)
    yield


@fault("a transaction is aborted", weight=3, needs=["broker"])
def transaction_aborted(stage, dice):
    stage.poison.transaction(dice.randint(1, 200), commit=False)
    yield


@fault("a transaction is committed", weight=2, needs=["broker"])
def transaction_committed(stage, dice):
    stage.poison.transaction(dice.randint(1, 200), commit=True)
    yield
