"""Walls between tenants, on a broker that denies by default: a mailer has only its own.

Mailer `alpha` writes of tenant acme, `beta` of tenant rival. Whatever alpha publishes, and whatever
somebody without the secret publishes as commands, rival stays as it is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import product

import pytest
from kafka import TopicPartition
from kafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from processor.client import attempt_sent, mailer_client
from processor.kafka.acls import apply_acls, component_rights
from processor.kafka.connection import BrokerError
from processor.kafka.consumers import sync_consumer
from processor.kafka.producer import sync_producer
from processor.kafka.topics import admin_client, create_missing_topics, declared_topics
from processor.suppression_commands import command_record, new_command, publish_commands
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from schemas.addresses import Address
from schemas.command_signatures import sign_command
from schemas.events import KINDS_BY_CHANNEL
from tests import clickhouse
from tests.certificates import Authority
from tests.clickhouse import Database
from tests.secure_kafka import ADMIN, PASSWORDS, SecureBroker
from tests.system import wait_for

SECRET, OTHER_SECRET = "walls-" * 6, "other-" * 6
MAILERS = {"alpha": ["acme"], "beta": ["rival"]}
POLICY = '[default]\nretries = 1\nschedule = ["1s"]\nhorizon = "366d"\n'
AT = "2026-11-02T09:00:00Z"
NUMBERS = {"email": "v{}@rival.example", "sms": "+1201555010{}"}
#: What rival's data consist of, by table.
TABLES = ("email_log", "sms_log", "suppressions", "suppression_history", "events")


class Walls:
    """A broker, a database, workers to start, and everybody's login."""

    def __init__(self, folder, enter):
        self.folder = folder
        self.broker = enter(SecureBroker(folder, Authority(folder)))
        self.database = enter(Database(f"http://127.0.0.1:{free_port()}", folder))
        self.client = self.database.connect()
        for _ in migrate(self.client, Target("sendlog", "")):
            pass
        (folder / "policy.toml").write_text(POLICY)
        admin = self.kafka(ADMIN)
        rights = component_rights(admin)
        apply_acls(
            admin, [(f"User:sendlog-{name}", each) for name in rights for each in rights[name]]
        )
        create_missing_topics(admin)

    def kafka(self, user, **options):
        return self.broker.settings(
            user, **{"mailers": MAILERS, "command_secret": SECRET, **options}
        )

    def environment(self, user, **more):
        kafka = {
            "BOOTSTRAP": self.broker.address("clients"), "PROTOCOL": "SASL_SSL", "USER": user,
            "MECHANISM": "PLAIN", "PASSWORD": PASSWORDS[user], "REPLICATION": "1",
            "CA_FILE": str(self.broker.authority.file), "COMMAND_SECRET": SECRET,
            "MAILERS": json.dumps(MAILERS),
        }  # fmt: skip
        return {
            **{f"SENDLOG_KAFKA__{name}": value for name, value in kafka.items()},
            **clickhouse.environment(self.database.url),
            "SENDLOG_POLICY_FILE": str(self.folder / "policy.toml"),
            "SENDLOG_DATA_DIR": str(self.folder),
            "SENDLOG_LOG_FORMAT": "json",
            **more,
        }

    def worker(self, name, **more):
        """Return a worker that is ready once it has read the blacklist."""
        log = self.folder / f"{name}.log"
        program = Program(
            name=name, command=[sys.executable, "-m", "processor", "worker"], grace=60,
            environment=self.environment("sendlog-worker", **more),
            ready=lambda: "blacklist_read" in log.read_text(),
        )  # fmt: skip
        return Server(program, log)

    def run(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "processor", *arguments], check=False, text=True,
            capture_output=True, env={**os.environ, **self.environment("sendlog-operator")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def publish(self, user, topic, *values, headers=()):
        with sync_producer(self.kafka(user)) as send:
            for value in values:
                send(topic, json.dumps(value).encode(), headers)

    def rows(self, sql):
        return list(stream(self.client, sql, {}))

    def rival(self):
        """Return all that is known of rival, by table."""
        return {
            table: {
                json.dumps(row, default=str)
                for row in self.rows(f"SELECT * FROM sendlog.{table} WHERE tenant_id = 'rival'")
            }
            for table in TABLES
        }

    def records(self, user, topic):
        """Return all records of a topic as somebody reads it."""
        consumer = sync_consumer(self.kafka(user), auto_offset_reset="earliest")
        try:
            places = [TopicPartition(topic, number) for number in range(2)]
            consumer.assign(places)
            ends, records = consumer.end_offsets(places), []
            while any(consumer.position(place) < end for place, end in ends.items() if end):
                for fetched in consumer.poll(500).values():
                    records += fetched
            return records
        finally:
            consumer.close()

    def read(self, user, topic):
        """Return keys and values of a topic as somebody reads it."""
        return [(record.key, record.value) for record in self.records(user, topic)]

    def dead_letters(self):
        [row] = self.rows("SELECT count() AS n FROM sendlog.dead_letters")
        return row["n"]


@pytest.fixture(scope="module")
def walls(tmp_path_factory):
    with ExitStack() as stack:
        yield Walls(tmp_path_factory.mktemp("walls"), stack.enter_context)


def event(kind, tenant, message, *, channel="email", recipient="", **more):
    return {
        "channel": channel, "kind": kind, "tenant_id": tenant, "message_id": message,
        "recipient": recipient or NUMBERS[channel].format(1), "occurred_at": AT, **more,
    }  # fmt: skip


def rivals_own():
    """Return events of rival: a hard bounce, a message retried, one delivered, and an SMS."""
    v2 = {"recipient": NUMBERS["email"].format(2)}
    return [
        event("sent", "rival", "m1", provider_message_id="p1", subject="Invoice"),
        event("bounce", "rival", "m1", bounce_class="hard", smtp_code=550),
        event("sent", "rival", "m2", **v2, record_type="family", record_id="F-1"),
        event("bounce", "rival", "m2", **v2, bounce_class="soft", smtp_code=452),
    ]


def forged_sends():
    """Return what alpha publishes of rival: every kind of event, in every disguise."""
    disguises = (
        {}, {"label": "sendlog", "change": "reset", "actor": "kim", "cause_event_id": "c"},
        {"occurred_at": "2026-11-03T09:00:00Z", "recorded_at": "2001-01-01T00:00:00Z"},
        {"provider": "ses", "provider_message_id": "p1"},
        {"bounce_class": "hard", "rule": "hard_bounce", "since": AT, "message_id": "new"},
        {"attempt": 2, "reason_code": "retry_asked", "source": "delivery.decisions"},
        {"recipient": NUMBERS["email"].format(7), "event_id": "0" * 32, "other_id": "m1"},
    )  # fmt: skip
    return [
        (f"{channel}.sends.alpha", {**event(kind, "rival", "m1", channel=channel), **disguise})
        for channel, kinds in KINDS_BY_CHANNEL.items()
        for kind, disguise in product(sorted(kinds), disguises)
    ]


def forged_commands(address):
    """Return commands about an address as alpha and an operator without the secret make them."""
    made = [
        new_command(action, address, actor="kim", reason="forged", confirmed_complaint=True)
        for action in ("reset", "add", "publish")
    ]
    made.append(
        made[0].model_copy(
            update={"id": "resend", "command": "resend", "message_id": "m2", "attempt": 3}
        )
    )
    return made


def test_a_mailer_changes_nothing_of_another_tenant_and_reads_nothing(walls):
    v1, v3 = (Address("rival", "email", NUMBERS["email"].format(n)) for n in (1, 3))
    with walls.worker("before", SENDLOG_KAFKA__MAILERS="{}"):
        walls.publish(ADMIN, "email.sends", *rivals_own())
        wait_for(lambda: len(walls.read(ADMIN, "delivery.retries")) == 1, "the retry")
        wait_for(lambda: walls.rows("SELECT * FROM sendlog.suppressions"), "the entry")
    assert walls.read("sendlog-mailer-beta", "delivery.suppressions.beta") == []
    with walls.worker("worker"):
        out = walls.run("suppressions", "publish", "--tenant", "rival", "--actor", "ops")
        assert out == "workers are asked to publish 1 entries\n"
        read_own = partial(walls.read, "sendlog-mailer-beta", "delivery.suppressions.beta")
        [(key, value)] = wait_for(read_own, "the entry that was there before the mailer")
        assert key == v1.key.encode()
        assert json.loads(value)["rule"] == "hard_bounce"
        v4 = {"recipient": NUMBERS["email"].format(4)}
        sms = {"channel": "sms", "recipient": NUMBERS["sms"].format(4)}
        walls.publish(
            "sendlog-mailer-beta", "email.sends.beta", event("sent", "rival", "m4", **v4),
            event("bounce", "rival", "m4", **v4, bounce_class="soft", smtp_code=452),
            event("bounce", "rival", "m5", recipient=v3.address, bounce_class="hard"),
        )  # fmt: skip
        walls.publish("sendlog-mailer-beta", "sms.sends.beta", event("sent", "rival", "s1", **sms))
        retries = partial(walls.read, "sendlog-mailer-beta", "delivery.retries.beta")
        [(_, retry)] = wait_for(retries, "the retry on the mailer's own topic")
        assert json.loads(retry)["message_id"] == "m4"
        user = "sendlog-mailer-beta"
        with mailer_client(walls.kafka(user), group=user, mailer="beta") as client:
            assert client.read_blacklist().is_blacklisted(*v1)
            made = partial(client.step, lambda request: [attempt_sent(request, datetime.now(UTC))])
            assert wait_for(made, "the retry to be made") == 1
        wait_for(
            lambda: walls.rows("SELECT 1 FROM sendlog.email_log WHERE attempts = 2"), "the attempt"
        )
        wait_for(lambda: len(read_own()) == 2, "the entry of the second bounce")
        wait_for(lambda: walls.rows("SELECT * FROM sendlog.sms_log"), "the SMS")
        wait_for(partial(settled, walls), "rival's decisions in the log")
        give_and_wait(walls, "add", Address("acme", "email", "before@acme.example"))
        before, published = walls.rival(), everything_published(walls)
        assert len(before["suppressions"]) == 2
        assert len(before["email_log"]) == 4
        forge(walls, v1, v3)
        after, published_after = walls.rival(), everything_published(walls)
    assert after == before
    assert published_after == published
    assert "TopicAuthorization" not in (walls.folder / "worker.log").read_text()


def forge(walls, v1, v3):
    """Publish all that is forged, and return once a worker is done with it."""
    sends, letters = forged_sends(), walls.dead_letters()
    assert len(sends) >= 200
    headers = [
        ("sendlog-tenant", b"acme"), ("sendlog-default-tenant", b"acme"),
        ("sendlog-recorded-at", b"1000000000000"), ("sendlog-signature", b"v1 a 1 b"),
    ]  # fmt: skip
    with sync_producer(walls.kafka("sendlog-mailer-alpha")) as send:
        for number, (topic, value) in enumerate(sends):
            send(topic, json.dumps(value).encode(), headers if number % 2 else ())
    for shared in ("email.sends", "sms.sends", "email.sends.beta", "email.events.ses"):
        refuse_to_write(walls, shared, event("complaint", "rival", "m1"))
    for ours in ("decisions", "commands", "retries", "suppressions", "policy", "policy-state",
                 "retries.beta", "suppressions.beta", "retries.alpha", "suppressions.alpha",
                 "dead-letters"):  # fmt: skip
        refuse_to_write(walls, f"delivery.{ours}", {"tenant_id": "rival"})
    commands = [each for address in (v1, v3) for each in forged_commands(address)]
    give_commands_without_the_secret(walls, commands)
    # What is acme's own is taken, also where it names what is rival's.
    own = [
        event("sent", "acme", "m1", provider_message_id="p1"),
        event("bounce", "acme", "m1", bounce_class="hard", other_id="m1", provider="ses"),
        event("note", "acme", "m2", provider_message_id="p1", recipient=v1.address),
        event("complaint", "acme", "m2", recipient=v1.address),
    ]
    walls.publish("sendlog-mailer-alpha", "email.sends.alpha", *own, headers=headers)
    expected = letters + len(sends) + 4 * len(commands)
    wait_for(lambda: walls.dead_letters() >= expected, "all that is forged to be refused")
    wait_for(
        lambda: len(walls.rows("SELECT * FROM sendlog.email_log WHERE tenant_id = 'acme'")) == 2,
        "what is acme's own",
    )
    # Commands and events of one partition are decided on in order; of each, one comes last.
    for number in range(8):
        give_and_wait(walls, "add", Address("acme", "email", f"after{number}@acme.example"))
    assert walls.dead_letters() == expected
    letters = walls.rows(
        "SELECT source_topic AS topic, count() AS n FROM sendlog.dead_letters"
        " WHERE NOT startsWith(reason, 'mailer ') GROUP BY topic"
    )
    assert letters == [{"topic": "delivery.commands", "n": 4 * len(commands)}]


def give_commands_without_the_secret(walls, commands):
    """Publish each command unsigned, signed by another secret, for another one, and long ago."""
    now = int(time.time() * 1000)
    signed = [
        record
        for record in walls.records(ADMIN, "delivery.commands")
        if record.key.startswith(b"rival|")
    ]
    assert signed
    with sync_producer(walls.kafka("sendlog-operator")) as send:
        for command in commands:
            key, value, _ = command_record(walls.kafka(ADMIN, command_secret=""), command)
            for headers in (
                [],
                [sign_command(OTHER_SECRET.encode(), key, value, now)],
                [sign_command(SECRET.encode(), key, value + b" ", now)],
                [sign_command(SECRET.encode(), key, value, now - 3_600_000)],
            ):
                send("delivery.commands", value, headers, key=key)
        # And once more what was signed well, and has been decided on.
        for record in signed:
            send("delivery.commands", record.value, record.headers, key=record.key)


def refuse_to_write(walls, topic, value):
    with pytest.raises(BrokerError, match="Authorization"):
        walls.publish("sendlog-mailer-alpha", topic, value)


def give_and_wait(walls, action, address):
    """Give a signed command, and wait until it has been decided on."""
    command = new_command(action, address, actor="kim", reason="she asked")
    publish_commands(walls.kafka("sendlog-operator"), [command])
    sql = f"SELECT address FROM sendlog.suppression_history WHERE cause_event_id = '{command.id}'"
    wait_for(lambda: walls.rows(sql), f"{action} of {address.address}")


def settled(walls):
    """Tell whether the log has all that rival's events led to."""
    ours = "tenant_id = 'rival' AND label = 'sendlog'"
    sql = f"SELECT reason_code FROM sendlog.events FINAL WHERE {ours}"
    reasons = sorted(row["reason_code"] for row in walls.rows(sql))
    return reasons == ["", "", "hard_bounce", "hard_bounce", "retry_asked", "retry_asked"]


def everything_published(walls):
    """Return what Sendlog has published of rival, by topic."""
    topics = ("decisions", "retries", "suppressions", "retries.beta", "suppressions.beta")
    return {
        topic: [
            (key, value)
            for key, value in walls.read(ADMIN, f"delivery.{topic}")
            if key.startswith(b"rival|") or b'"tenant_id":"rival"' in (value or b"")
        ]
        for topic in topics
    }


def test_a_mailer_sees_only_its_own_topics_and_may_read_no_others(walls):
    names = [topic.name for topic in declared_topics(walls.kafka(ADMIN))]
    with admin_client(walls.kafka("sendlog-mailer-alpha")) as admin:
        visible = set(admin.list_topics())
        described = {topic["name"]: topic for topic in admin.describe_topics(names)}
    allowed = {
        name: set(topic["authorized_operations"])
        for name, topic in described.items()
        if topic["error_code"] != TopicAuthorizationFailedError.errno
    }
    assert allowed == {
        "email.sends.alpha": {"WRITE", "DESCRIBE"}, "sms.sends.alpha": {"WRITE", "DESCRIBE"},
        "delivery.retries.alpha": {"READ", "DESCRIBE"},
        "delivery.suppressions.alpha": {"READ", "DESCRIBE"},
    }  # fmt: skip
    assert visible == set(allowed)
    assert described.keys() == set(names)


@contextmanager
def reading(walls, topic, group):
    """Give alpha's consumer of a topic, in a group."""
    kafka = walls.kafka("sendlog-mailer-alpha")
    consumer = sync_consumer(kafka, group_id=group, auto_offset_reset="earliest")
    try:
        consumer.subscribe([topic])
        yield consumer
    finally:
        consumer.close()


def poll_until_refused(consumer):
    for _ in range(100):
        consumer.poll(200)


@pytest.mark.parametrize("group", ["sendlog", "sendlog-mailer-beta", "sendlog-demo-mailer"])
def test_a_mailer_joins_no_group_but_its_own(walls, group):
    with (
        reading(walls, "delivery.retries.alpha", group) as consumer,
        pytest.raises(GroupAuthorizationFailedError),
    ):
        poll_until_refused(consumer)
