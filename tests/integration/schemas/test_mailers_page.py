"""The page of topics for mailers: its examples work as they stand, its tables are complete."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaConsumer

import schemas
from deploy.local.parts import DEMO_POLICY
from deploy.local.process import Program, Server
from processor.client import mailer_event
from processor.client.events import mailer_record
from processor.kafka import topics
from processor.kafka.producer import sync_producer
from schemas.addresses import Address
from schemas.decisions import (
    Command,
    DecisionEvent,
    ResendRequested,
    RetryRequested,
    RuleName,
    Suppression,
)
from schemas.events import MessageEvent
from tests.system import running, wait_for

PAGE = Path(schemas.__file__).with_name("TOPICS.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## `([a-z.]+)`\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
ANN = Address("acme", "email", "ann@example.com")
BOB = Address("acme", "email", "bob@example.com")


def example(topic):
    (text,) = re.findall(r"^```python\n(.*?)^```$", SECTIONS[topic], re.MULTILINE | re.DOTALL)
    return text


def documented_fields(topic):
    """Return the fields that the last table of a section names."""
    table = SECTIONS[topic].rpartition("| field |")[2]
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    with (
        pytest.MonkeyPatch.context() as patch,
        running(tmp_path_factory.mktemp("page")) as system,
    ):
        patch.setenv("SENDLOG_KAFKA__COMMAND_SECRET", "page-" * 8)
        system.worker(SENDLOG_POLICY_FILE=str(DEMO_POLICY))
        yield system


@pytest.fixture
def run(system, tmp_path):
    """Start the example of a topic, and return a reader of what it has printed."""
    started = []

    def start(topic):
        file = tmp_path / f"{topic}.py"
        file.write_text(example(topic), "utf-8")
        program = Program(
            name=topic, command=[sys.executable, str(file)], environment=system.environment
        )
        server = Server(program, tmp_path / f"{topic}.log")
        server.start()
        started.append(server)
        return server.log.read_text

    yield start
    for server in started:
        server.kill()


def publish(system, *events):
    with sync_producer(system.kafka) as send:
        for topic, key, value in map(mailer_record, events):
            send(topic, value, key=key)


def records(system, topic):
    consumer = KafkaConsumer(
        topic, bootstrap_servers=system.broker.bootstrap, auto_offset_reset="earliest",
        consumer_timeout_ms=2000,
    )  # fmt: skip
    try:
        return list(consumer)
    finally:
        consumer.close()


def test_the_mailers_example_makes_a_retry_that_the_log_then_shows_as_answered(system, run) -> None:
    at = datetime.now(UTC)
    publish(
        system,
        mailer_event("sent", BOB, "b1", at),
        mailer_event("bounce", BOB, "b1", at, bounce_class="soft"),
    )
    output = run("delivery.retries")
    wait_for(lambda: "send b1 again, attempt 2" in output(), "the retry")

    def state():
        out = system.command("retries", "list", "--tenant", "acme", "--format", "json")
        return [json.loads(line)["state"] for line in out.splitlines()]

    wait_for(lambda: state() == ["answered"], "the answer")
    (record,) = records(system, topics.RETRIES_TOPIC)
    retry = RetryRequested.model_validate_json(record.value)
    assert record.key.decode() == retry.id
    assert record.timestamp >= retry.due_at.timestamp() * 1000
    assert output().count("send b1") == 1


def test_the_copy_of_the_blacklist_follows_a_bounce_and_the_command_that_resets_it(
    system, run
) -> None:
    at = datetime.now(UTC)
    copy, decided = run("delivery.suppressions"), run("delivery.decisions")
    wait_for(lambda: "ann: may be sent to" in copy(), "the empty blacklist")
    publish(
        system,
        mailer_event("sent", ANN, "a1", at),
        mailer_event("bounce", ANN, "a1", at, bounce_class="hard"),
    )
    wait_for(lambda: copy().endswith("ann: do not send, hard_bounce\n"), "the entry")
    wait_for(lambda: "suppressed a1 - hard bounce on" in decided(), "the decision")

    command = run("delivery.commands")
    wait_for(lambda: "done: " in command(), "the outcome of the command")
    assert "she wrote to us" in command()
    wait_for(lambda: copy().endswith("ann: may be sent to\n"), "the tombstone")
    wait_for(lambda: "reinstated a1 -" in decided(), "the decision on the reset")
    entry, tombstone = [
        r for r in records(system, topics.SUPPRESSIONS_TOPIC) if r.key == ANN.key.encode()
    ]
    assert Suppression.model_validate_json(entry.value).rule == "hard_bounce"
    assert tombstone.value is None


@pytest.mark.parametrize(
    ("topic", "fields"),
    [
        (topics.RETRIES_TOPIC, set(ResendRequested.model_fields)),
        (topics.SUPPRESSIONS_TOPIC, set(Suppression.model_fields)),
        (
            topics.COMMANDS_TOPIC,
            {field.alias or name for name, field in Command.model_fields.items()},
        ),
        (
            topics.DECISIONS_TOPIC,
            set(DecisionEvent.model_fields) - set(MessageEvent.model_fields) | {"diagnostic"},
        ),
    ],
)
def test_a_table_names_every_field_and_no_other(topic, fields) -> None:
    assert documented_fields(topic) == fields


def test_the_page_names_every_rule_and_every_kind_of_decision() -> None:
    for words in (RuleName, DecisionEvent.model_fields["kind"].annotation):
        for word in words.__args__:
            assert f"`{word}`" in PAGE, word
