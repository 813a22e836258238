"""A whole Sendlog for a test: a broker, a database engine, and workers to start and to kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kafka import KafkaConsumer, TopicPartition

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from deploy.local.database import Database
from deploy.local.process import Program, Server
from processor.demo.feed import publish
from processor.kafka import topics
from processor.settings import Kafka
from projections.clickhouse.client import connect
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream

DATABASE = "sendlog"
#: Histories of tests are days old: with a usual horizon their retries would be given up by now.
POLICY = '[default]\nhorizon = "366d"\n'


def wait_for(condition, what, patience=180):
    """Wait until `condition` holds and return it; fail with `what` if it never does."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience} s in vain for {what}")


def read(bootstrap, topic):
    """Return every record of a topic, in order of its partitions and offsets."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, consumer_timeout_ms=30_000,
        auto_offset_reset="earliest", enable_auto_commit=False,
    )  # fmt: skip
    try:
        places = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        left = {place: end for place, end in consumer.end_offsets(places).items() if end}
        records = []
        while any(consumer.position(place) < end for place, end in left.items()):
            for found in consumer.poll(1000).values():
                records += found
        return records
    finally:
        consumer.close()


class System:
    """Broker, engine, topics and tables; `worker` starts a worker on them."""

    def __init__(self, broker, engine, folder, group="sendlog"):
        self.broker, self.engine, self.folder, self.group = broker, engine, folder, group
        self.kafka = Kafka(bootstrap=broker.bootstrap, replication=1, group=group)
        self.workers = []
        self.police(POLICY)
        topics.apply(self.kafka)
        self.client = connect(engine.url, user="default", password="")
        for _ in migrate(self.client, Target(DATABASE)):
            pass

    def police(self, text):
        """Let workers that start from now on go by these policies."""
        (self.folder / "policy.toml").write_text(text)

    @property
    def environment(self):
        return {
            "SENDLOG_KAFKA__BOOTSTRAP": self.broker.bootstrap,
            "SENDLOG_KAFKA__GROUP": self.group,
            "SENDLOG_KAFKA__REPLICATION": "1",
            "SENDLOG_CLICKHOUSE__URL": self.engine.url,
            "SENDLOG_CLICKHOUSE__DATABASE": DATABASE,
            "SENDLOG_LOG_FORMAT": "json",
            "SENDLOG_POLICY_FILE": str(self.folder / "policy.toml"),
        }

    def worker(self, **environment):
        """Start a worker and return once it is a member of the group."""
        before = self.members()
        worker = self.start_worker(**environment)
        # By name, not by number: killed ones stay members until their session ends.
        wait_for(lambda: self.members() - before or not worker.running, "the worker to join")
        assert worker.running, self.output(worker)
        return worker

    def start_worker(self, **environment):
        program = Program(
            name="worker",
            command=[sys.executable, "-m", "processor", "worker"],
            environment={**self.environment, **environment},
            grace=60,
        )
        worker = Server(program, self.folder / f"worker-{len(self.workers)}.log")
        worker.start()
        self.workers.append(worker)
        return worker

    def members(self):
        """Return the ids of the members; none while the broker has no coordinator yet."""
        with suppress(topics.BrokerError), topics.admin(self.kafka) as admin:
            members = admin.describe_groups([self.group])[self.group]["members"]
            return {member["member_id"] for member in members}
        return set()

    def output(self, worker):
        return worker.log.read_text(errors="replace")[-4000:]

    def publish(self, records):
        return publish(records, self.broker.bootstrap, topics=())

    def command(self, *arguments, check=True, input=None):
        """Run a `sendlog` command and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "processor", *arguments],
            env={**os.environ, **self.environment, "COLUMNS": "200"},
            capture_output=True, text=True, input=input, check=False,
        )  # fmt: skip
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout if check else done

    def rows(self, sql, **values):
        return list(stream(self.client, sql, values))

    def value(self, sql, **values):
        return next(iter(self.rows(sql, **values)[0].values()))

    def lags(self):
        """Return how many records the group has yet to commit, by partition of what it reads."""
        reads, _ = topics.check(self.kafka)
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap, group_id=self.group)
        try:
            partitions = [
                TopicPartition(name, n) for name in (*reads, topics.POLICY)
                for n in consumer.partitions_for_topic(name) or ()
            ]  # fmt: skip
            ends, starts = consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
            lags = {
                f"{each.topic}/{each.partition}":
                ends[each] - max(consumer.committed(each) or 0, starts[each])
                for each in partitions
            }  # fmt: skip
            return {place: lag for place, lag in lags.items() if lag}
        finally:
            consumer.close()

    def settled(self, patience=240):
        """Wait until every record is committed, also those that others led to."""
        try:
            wait_for(
                lambda: not self.lags() and not self.lags() and not self.lags(),
                "the group to commit everything", patience,
            )  # fmt: skip
        except AssertionError as error:
            said = "\n".join(f"{each.log}:\n{self.output(each)}" for each in self.workers)
            raise AssertionError(f"{error}; left are {self.lags()}\n{said}") from None

    def empty(self, *names):
        """Make topics anew."""
        with topics.admin(self.kafka) as admin:
            admin.delete_topics(list(names))
            wait_for(lambda: not set(names) & set(admin.list_topics()), "topics to be deleted")
        topics.apply(self.kafka)

    def read(self, topic):
        return read(self.broker.bootstrap, topic)

    def stop(self):
        for worker in self.workers:
            worker.kill()


@contextmanager
def running(folder: Path):
    """Give a whole system of its own, without a worker yet."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(f"127.0.0.1:{free_port()}", folder))
        engine = stack.enter_context(Database(f"http://127.0.0.1:{free_port()}", folder))
        system = System(broker, engine, folder)
        stack.callback(system.stop)
        yield system


def mismatches(system, expected):
    """Return how the logs differ from what the generator says they must be, a line each."""
    rows = {}
    for log in ("email_log", "sms_log"):
        for row in system.rows(f"SELECT * FROM {DATABASE}.{log}"):
            rows[row["tenant_id"], row["message_id"], row["recipient"]] = row
    wrong = []
    for want in expected:
        row = rows.pop((want.tenant_id, want.message_id, want.recipient), None)
        if row is None:
            wrong.append(f"missing: {want}")
            continue
        got = {"status": row["status"]}
        if want.channel == "email":
            got |= {
                "open_count": row["open_count"], "click_count": row["click_count"],
                "soft_bounce_count": row["soft_bounce_count"], "attempts": row["attempts"],
                "complained": row["complained_at"] is not None,
                "unsubscribed": row["unsubscribed_at"] is not None,
                "machine_opened": row["machine_opened_at"] is not None,
            }  # fmt: skip
        if want.conflict is not None:
            got["conflict"] = row["conflict"]
        wrong += [
            f"{want.scenario} {want.message_id}: {name} {value!r}, not {getattr(want, name)!r}"
            for name, value in got.items() if value != getattr(want, name)
        ]  # fmt: skip
        if want.reason not in row["status_reason"]:
            wrong.append(f"{want.scenario}: reason {row['status_reason']!r}, not {want.reason!r}")
    return wrong + [f"too much: {key}" for key in rows]
