"""The load of a fault run: histories of tenants, and soft bounces that happen now.

A history is made once as a template and published for one tenant after the other, in another order
each time. So millions of facts cost little to make, what must come of them is known once for all,
and every tenant has the same ids as the others.
"""

from __future__ import annotations

import json
import random
import threading
from datetime import UTC, datetime, timedelta
from itertools import chain
from time import monotonic, time

from kafka import KafkaProducer
from kafka.errors import KafkaError

from processor.demo.render import DemoRecord
from processor.demo.traffic import messages
from processor.kafka.producer import COMPRESSION, LINGER_MS, MAX_BATCH_BYTES
from processor.kafka.topics import MAX_MESSAGE_BYTES
from schemas.events import iso_milliseconds
from tests.faults.silence import notes_of, silenced

#: As long as the number that takes its place.
TEMPLATE_TENANT = "tenant-000000"
LIVE_TENANT = "live"
#: Recent, or the broker's retention would take the records before a worker does.
AGE = timedelta(days=12)
#: Of so many records that were published one comes again.
RECORDS_PER_COPY = 10
SLICE_SECONDS = 0.25
#: Of so many live messages one is delivered after all.
MESSAGES_PER_DELIVERY = 3
#: How providers speak: by events as mailers publish them, in their own formats, or in those but
#: without an id of the mailer, who notes which ids they gave, and at times without a recipient.
FORMS = ("events", "raw", "silent")


class Template:
    """The messages of one tenant, with the rows that must come of them.

    `meant` are its records as they would be if all providers echoed the mailer's ids.
    """

    def __init__(self, seed, facts, *, form):
        start = datetime.now(UTC).replace(microsecond=0) - AGE
        self.is_silent = form == "silent"
        self.expected, self.meant = [], []
        for message in messages(seed, start, tenant=TEMPLATE_TENANT, raw=form != "events"):
            self.expected.append(message.expected)
            self.meant += message.records
            if len(self.meant) >= facts:
                break
        if self.is_silent:
            self.meant += notes_of(self.meant)
        self.records = [silenced(each) for each in self.meant] if self.is_silent else self.meant

    def records_of(self, tenant, rng):
        """Return the records of a tenant in some order, a tenth of them twice."""
        before, after = TEMPLATE_TENANT.encode(), tenant.encode()
        records = self.records + rng.sample(self.records, len(self.records) // RECORDS_PER_COPY)
        rng.shuffle(records)
        for record in records:
            headers = tuple((name, text.replace(before, after)) for name, text in record.headers)
            yield record._replace(value=record.value.replace(before, after), headers=headers)


class LiveMessages:
    """Messages that softly bounce now, each twice; some of them are delivered right after."""

    def __init__(self):
        #: By id: when it bounced, in milliseconds, and when its delivery was in Kafka, if ever.
        self.bounced_ms, self.delivered_ms = {}, {}
        self._unacked = []

    def records(self, count):
        """Return the records of some more messages."""
        return list(chain.from_iterable(self._records_of_next() for _ in range(count)))

    def _records_of_next(self):
        number = len(self.bounced_ms)
        now_ms = int(time() * 1000)
        message_id = f"live-{number}"
        self.bounced_ms[message_id] = now_ms
        bounce = _live_record(number, now_ms, "bounce", bounce_class="soft", smtp_code=452)
        records = [_live_record(number, now_ms - 1, "sent"), bounce, bounce]
        if number % MESSAGES_PER_DELIVERY == 0:
            records.append(_live_record(number, now_ms + 1, "delivery"))
            self._unacked.append(message_id)
        return records

    def ack(self):
        """All records that were returned are in Kafka."""
        now_ms = int(time() * 1000)
        self.delivered_ms.update(dict.fromkeys(self._unacked, now_ms))
        self._unacked = []


def live_recipient(message_id):
    return f"{message_id}@example.com"


def _live_record(number, at_ms, kind, **more):
    message_id = f"live-{number}"
    recipient = live_recipient(message_id)
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    value = {
        "channel": "email", "kind": kind, "tenant_id": LIVE_TENANT, "message_id": message_id,
        "recipient": recipient, "occurred_at": iso_milliseconds(at), **more,
    }  # fmt: skip
    return DemoRecord("email.sends", recipient.encode(), json.dumps(value).encode(), (), at_ms)


def producer_of(bootstrap, **options):
    """Return a producer that outlasts the outages of a run."""
    return KafkaProducer(
        bootstrap_servers=bootstrap, acks="all", compression_type=COMPRESSION,
        linger_ms=LINGER_MS, batch_size=MAX_BATCH_BYTES, max_request_size=MAX_MESSAGE_BYTES,
        allow_auto_create_topics=False, **{"enable_idempotence": True} | options,
    )  # fmt: skip


class Publisher(threading.Thread):
    """Publishes histories, tenant by tenant, until it is stopped; the last one is completed."""

    def __init__(self, broker_address, templates, *, seed, rate, live_rate, max_facts):
        super().__init__(name="publisher", daemon=True)
        self._broker_address, self._templates, self._seed = broker_address, templates, seed
        self._rate, self._live_rate, self._max_facts = rate, live_rate, max_facts
        self._producer = None
        self._ending = threading.Event()
        #: Set while it may publish.
        self.flowing = threading.Event()
        self.flowing.set()
        self.live = LiveMessages()
        #: Tenants whose records are all in Kafka, with their templates.
        self.tenants = {}
        self.records_sent = self.slices_repeated = 0
        self.error = None

    @property
    def facts_sent(self):
        histories = sum(len(template.records) for template in self.tenants.values())
        live = len(self.live.bounced_ms) * 2 + len(self.live.delivered_ms)
        return histories + live

    def end(self):
        self.flowing.set()
        self._ending.set()
        self.join()
        if self.error:
            raise self.error

    @property
    def is_done(self):
        return not self.is_alive()

    def run(self):
        try:
            while not self._ending.is_set() and self.facts_sent < self._max_facts:
                self._publish_tenant(len(self.tenants) + 1)
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self.error = error

    def _publish_tenant(self, number):
        tenant = f"tenant-{number:06d}"
        template = self._templates[number % len(self._templates)]
        rng = random.Random(f"{self._seed}/{number}")
        records = list(template.records_of(tenant, rng))
        size = max(1, int(self._rate * SLICE_SECONDS))
        for place in range(0, len(records), size):
            self.flowing.wait()
            started = monotonic()
            live = self.live.records(self._live_count(rng))
            self._publish(records[place : place + size] + live)
            self.live.ack()
            rest = SLICE_SECONDS - (monotonic() - started)
            self._ending.wait(max(rest, 0))  # the pace at which events happen
        self.tenants[tenant] = template

    def _live_count(self, rng):
        mean = self._live_rate * SLICE_SECONDS
        return 0 if self._ending.is_set() else int(mean + rng.random())

    def _publish(self, records):
        """Publish until the broker has all; what it had already comes twice."""
        while True:
            try:
                self._producer = self._producer or producer_of(self._broker_address)
                futures = [
                    self._producer.send(topic, value, key, list(headers), None, timestamp_ms)
                    for topic, key, value, headers, timestamp_ms in records
                ]
                self._producer.flush(timeout=60)
                for future in futures:
                    future.get(timeout=60)
            except KafkaError:
                self.slices_repeated += 1
                self._drop_producer()
                self._ending.wait(0.5)
            else:
                self.records_sent += len(records)
                return

    def _drop_producer(self):
        producer, self._producer = self._producer, None
        if producer:
            # An orderly end would wait for the broker, and begin again when it is collected.
            producer._sender.force_close()
            producer._closed = True
