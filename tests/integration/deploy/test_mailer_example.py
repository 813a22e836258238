"""The example of a mailer, as its own process, on a real Kafka with a real worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from deploy.local.parts import DEMO_POLICY
from deploy.local.process import ROOT
from processor.client import Address, mailer_event
from processor.client.events import mailer_record
from processor.kafka.producer import sync_producer
from processor.kafka.topics import RETRIES_TOPIC, SUPPRESSIONS_TOPIC
from tests.system import DATABASE, read, running, wait_for

EXAMPLE = ROOT / "deploy" / "examples" / "mailer" / "mailer.py"
JO = Address("acme", "email", "jo@example.com")
SAM = Address("acme", "email", "sam@example.com")


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with running(tmp_path_factory.mktemp("example")) as system:
        system.worker(SENDLOG_POLICY_FILE=str(DEMO_POLICY))
        yield system


@pytest.fixture
def mailer(system, tmp_path):
    """Start the example with an outbox, and return it and a reader of what it has printed."""
    processes = []

    def start(*messages):
        name = f"mailer-{len(processes)}"
        outbox, log = tmp_path / f"{name}.outbox", tmp_path / f"{name}.log"
        outbox.write_text("".join(json.dumps(message) + "\n" for message in messages))
        with outbox.open() as source, log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, str(EXAMPLE), "acme", str(tmp_path / "mailer.sqlite")],
                stdin=source, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **system.environment, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        processes.append(process)
        return process, log.read_text

    yield start
    for process in processes:
        process.kill()
        process.wait()


def message(message_id, address):
    return {"message_id": message_id, "recipient": address.address, "subject": "Invoice"}


def publish(system, *events):
    with sync_producer(system.kafka) as send:
        for topic, key, value in map(mailer_record, events):
            send(topic, value, key=key)


def bounce(address, message_id, bounce_class, attempt=1):
    now = datetime.now(UTC)
    return mailer_event("bounce", address, message_id, now, bounce_class=bounce_class,
                        attempt=attempt)  # fmt: skip


def statuses(system):
    rows = system.rows(f"SELECT message_id, status FROM {DATABASE}.email_log")
    return {row["message_id"]: row["status"] for row in rows}


def test_the_example_sends_skips_who_is_blacklisted_and_makes_each_retry_once(system, mailer):
    process, output = mailer(message("i-1", JO), message("i-2", SAM))
    wait_for(lambda: "outbox done" in output(), "the outbox")
    assert "send i-1 jo@example.com 1 Invoice" in output()
    wait_for(lambda: statuses(system) == {"i-1": "Sent", "i-2": "Sent"}, "the sends in the log")
    [row] = system.rows(
        f"SELECT provider_message_id FROM {DATABASE}.events WHERE message_id = 'i-1'"
    )
    assert row["provider_message_id"].startswith("provider-")

    publish(system, bounce(JO, "i-1", "soft"), bounce(SAM, "i-2", "hard"))
    wait_for(lambda: "send i-1 jo@example.com 2" in output(), "the retry")
    wait_for(lambda: read(system.broker.bootstrap, SUPPRESSIONS_TOPIC), "the entry of Sam")
    process.kill()
    process.wait()

    # Started again, it reads the whole blacklist first, and knows what it has made.
    process, output = mailer(message("i-1", JO), message("i-3", SAM), message("i-4", JO))
    wait_for(lambda: "outbox done" in output(), "the second outbox")
    assert output().splitlines() == [
        "skip i-3 hard_bounce", "send i-4 jo@example.com 1 Invoice", "outbox done",
    ]  # fmt: skip
    [first] = [record for record in read(system.broker.bootstrap, RETRIES_TOPIC)
               if json.loads(record.value)["message_id"] == "i-1"]  # fmt: skip
    with sync_producer(system.kafka) as send:  # as after a crash of Sendlog: the same request
        send(RETRIES_TOPIC, first.value, key=first.key)
    publish(system, bounce(JO, "i-4", "soft"))
    wait_for(lambda: "send i-4 jo@example.com 2" in output(), "the retry of another message")
    assert "send i-1" not in output()
    wait_for(lambda: statuses(system).get("i-3") == "Skipped", "the message that was not sent")

    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert "Traceback" not in output()
