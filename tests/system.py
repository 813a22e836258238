"""A whole Sendlog for a test: a broker, a database engine, and workers to start and to kill."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from kafka import TopicPartition

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from deploy.local.process import Program, Server
from processor.demo.feed import publish_records
from processor.kafka import topics
from processor.kafka.connection import BrokerError
from processor.kafka.consumers import sync_consumer
from processor.settings import KafkaSettings
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.sql import stream
from tests import clickhouse
from tests.clickhouse import Database, Shards

DATABASE = "sendlog"
#: Histories of tests are days old: with a usual horizon their retries would be given up by now.
POLICY = '[default]\nhorizon = "366d"\n'


def wait_for(condition, what, timeout_seconds=180):
    """Wait until `condition` returns something true and return that; else fail with `what`."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError(f"waited {timeout_seconds} s in vain for {what}")


def read(bootstrap, topic):
    """Return every record of a topic, in order of its partitions and offsets."""
    kafka = KafkaSettings(bootstrap=bootstrap)
    consumer = sync_consumer(kafka, consumer_timeout_ms=30_000, auto_offset_reset="earliest")
    try:
        places = [TopicPartition(topic, n) for n in consumer.partitions_for_topic(topic) or ()]
        consumer.assign(places)
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        records = []
        while any(consumer.position(place) < end for place, end in ends.items()):
            for fetched in consumer.poll(1000).values():
                records += fetched
        return records
    finally:
        consumer.close()


def empty_topics(kafka):
    """Empty all topics: other tests have published to the broker that all of them share."""
    with topics.admin_client(kafka) as admin:
        names = {name for name in admin.list_topics() if not name.startswith("__")}
    recreate_topics(kafka, names)


def recreate_topics(kafka, names):
    """Delete topics and make those of Sendlog anew: they are empty then."""
    with topics.admin_client(kafka) as admin:
        admin.delete_topics(list(names))
        wait_for(lambda: not set(names) & set(admin.list_topics()), "topics to be deleted")
    topics.create_missing_topics(kafka)


class System:
    """Broker, engine, topics and tables; `worker` starts a worker on them."""

    worker_module = "processor"

    def __init__(self, broker, engine, folder, group="sendlog"):
        self.broker, self.engine, self.folder, self.group = broker, engine, folder, group
        self.kafka = KafkaSettings(bootstrap=broker.bootstrap, replication=1, group=group)
        self.workers = []
        self.write_policy(POLICY)
        topics.create_missing_topics(self.kafka)
        self.client = engine.connect()
        for _ in migrate(self.client, Target(DATABASE, engine.cluster)):
            pass

    def write_policy(self, text):
        """Let workers that start from now on go by these policies."""
        (self.folder / "policy.toml").write_text(text)

    @property
    def environment(self):
        return {
            "SENDLOG_KAFKA__BOOTSTRAP": self.broker.bootstrap,
            "SENDLOG_KAFKA__GROUP": self.group,
            "SENDLOG_KAFKA__REPLICATION": "1",
            **clickhouse.environment(self.engine.url),
            "SENDLOG_CLICKHOUSE__DATABASE": DATABASE,
            "SENDLOG_CLICKHOUSE__CLUSTER": self.engine.cluster,
            "SENDLOG_LOG_FORMAT": "json",
            "SENDLOG_POLICY_FILE": str(self.folder / "policy.toml"),
            # Not the secrets of a stack that runs in this checkout.
            "SENDLOG_DATA_DIR": str(self.folder),
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
            command=[sys.executable, "-m", self.worker_module, "worker"],
            environment={**self.environment, **environment},
            grace=60,
        )
        worker = Server(program, self.folder / f"worker-{len(self.workers)}.log")
        worker.start()
        self.workers.append(worker)
        return worker

    def members(self):
        """Return the ids of the members; none while the broker has no coordinator yet."""
        with suppress(BrokerError), topics.admin_client(self.kafka) as admin:
            members = admin.describe_groups([self.group])[self.group]["members"]
            return {member["member_id"] for member in members}
        return set()

    def output(self, worker):
        return worker.log.read_text(errors="replace")[-4000:]

    def publish(self, records):
        return publish_records(records, self.kafka, topics=())

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
        reads, _ = topics.check_topics(self.kafka)
        consumer = sync_consumer(self.kafka, group_id=self.group)
        try:
            partitions = [
                TopicPartition(name, n) for name in (*reads, topics.POLICY_TOPIC)
                for n in consumer.partitions_for_topic(name) or ()
            ]  # fmt: skip
            ends, starts = consumer.end_offsets(partitions), consumer.beginning_offsets(partitions)
            lags = {
                f"{place.topic}/{place.partition}":
                ends[place] - max(consumer.committed(place) or 0, starts[place])
                for place in partitions
            }  # fmt: skip
            return {place: lag for place, lag in lags.items() if lag}
        finally:
            consumer.close()

    def wait_until_committed(self, timeout_seconds=240):
        """Wait until every record is committed, also those that others led to."""
        try:
            wait_for(
                lambda: not self.lags() and not self.lags() and not self.lags(),
                "the group to commit everything", timeout_seconds,
            )  # fmt: skip
        except AssertionError as error:
            logs = "\n".join(f"{worker.log}:\n{self.output(worker)}" for worker in self.workers)
            raise AssertionError(f"{error}; lags are {self.lags()}\n{logs}") from None

    def recreate_topics(self, *names):
        recreate_topics(self.kafka, names)

    def read(self, topic):
        return read(self.broker.bootstrap, topic)

    def stop(self):
        for worker in self.workers:
            worker.kill()


@contextmanager
def running(folder: Path, *, shards: bool = False):
    """Give a whole system of its own, without a worker yet; its database on one server or two."""
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(f"127.0.0.1:{free_port()}", folder))
        database = Shards(folder) if shards else Database(f"http://127.0.0.1:{free_port()}", folder)
        engine = stack.enter_context(database)
        system = System(broker, engine, folder)
        stack.callback(system.stop)
        yield system


def mismatches(system, expected, *, tenant=None, logs=("email_log", "sms_log")):
    """Return how the logs differ from what the generator says they must be, a line each.

    With a tenant, only its rows are compared.
    """
    rows = {}
    where = "" if tenant is None else "WHERE tenant_id = {tenant:String}"
    for log in logs:
        for row in system.rows(f"SELECT * FROM {DATABASE}.{log} {where}", tenant=tenant):
            rows[row["tenant_id"], row["message_id"], row["recipient"]] = row
    differences = []
    for outcome in expected:
        row = rows.pop((outcome.tenant_id, outcome.message_id, outcome.recipient), None)
        if row is None:
            differences.append(f"missing: {outcome}")
            continue
        actual = {"status": row["status"]}
        if outcome.channel == "email":
            actual |= {
                "open_count": row["open_count"], "click_count": row["click_count"],
                "soft_bounce_count": row["soft_bounce_count"], "attempts": row["attempts"],
                "complained": row["complained_at"] is not None,
                "unsubscribed": row["unsubscribed_at"] is not None,
                "machine_opened": row["machine_opened_at"] is not None,
            }  # fmt: skip
        if outcome.conflict is not None:
            actual["conflict"] = row["conflict"]
        differences += [
            f"{outcome.scenario} {outcome.message_id}: "
            f"{name} {value!r}, not {getattr(outcome, name)!r}"
            for name, value in actual.items() if value != getattr(outcome, name)
        ]  # fmt: skip
        if outcome.reason not in row["status_reason"]:
            reason = row["status_reason"]
            differences.append(f"{outcome.scenario}: reason {reason!r}, not {outcome.reason!r}")
    return differences + [f"too much: {key}" for key in rows]
