"""A worker on one server and on two shards, with lookups longer than a server takes as a value."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from itertools import chain, islice

import pytest

from processor.demo.traffic import messages
from processor.kafka.producer import sync_producer
from projections.queries.listing import Listing
from projections.queries.page import read_listing
from tests.system import DATABASE, mismatches, running, wait_for

NOW = datetime.now(UTC).replace(microsecond=0)
#: A lookup asks about 500 addresses at once: 64 KiB are 131 characters of each.
DOMAIN = ".".join(letter * 60 for letter in "xyz") + ".example"
COUNT = 1_050


@pytest.fixture(params=[False, True], ids=["one server", "two shards"])
def system(request, tmp_path):
    with running(tmp_path, shards=request.param) as system:
        system.write_policy('[default]\nretries = 1\nschedule = ["2s"]\nhorizon = "366d"\n')
        yield system


def soft_bounces():
    for number in range(COUNT):
        fields = {
            "channel": "email", "tenant_id": "acme", "message_id": f"long-{number}",
            "recipient": f"somebody-with-a-long-name-{number}@{DOMAIN}",
        }  # fmt: skip
        yield fields | {"kind": "sent", "occurred_at": (NOW - timedelta(minutes=1)).isoformat()}
        yield fields | {
            "kind": "bounce", "bounce_class": "soft", "smtp_code": 452, "enhanced_status": "4.2.2",
            "occurred_at": NOW.isoformat(),
        }  # fmt: skip


def test_retries_of_long_addresses_that_are_due_at_once_are_requested(system):
    sample = list(islice(messages(11, NOW - timedelta(days=12)), 400))
    history = list(chain.from_iterable(message.records for message in sample))
    random.Random(11).shuffle(history)
    system.publish(history)
    with sync_producer(system.kafka) as send:
        for fields in soft_bounces():
            send("email.sends", json.dumps(fields).encode())
    worker = system.worker()
    requested = "tenant_id = 'acme' AND state = 'asked'"
    wait_for(
        lambda: system.value(f"SELECT count() FROM {DATABASE}.retries WHERE {requested}") == COUNT
        or not worker.running,
        "the retries", 240,
    )  # fmt: skip
    assert worker.running, system.output(worker)
    system.wait_until_committed()
    assert len({record.key for record in system.read("delivery.retries")}) >= COUNT
    ours = [line for line in mismatches(system, [message.expected for message in sample])
            if not line.startswith("too much")]  # fmt: skip
    assert ours == []
    listing = Listing(channel="email", tenant="acme", limit=1_000)
    rows = list(read_listing(system.client, DATABASE, listing))
    assert len({row["recipient"] for row in rows}) == 1_000
