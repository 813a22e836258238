"""A whole Sendlog to break: workers that are started again, and proxies before broker and database.

The first worker reaches the broker through a proxy of its own, so that it alone can be cut off; all
of them reach the database through one.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from itertools import count
from time import monotonic

from kafka.admin import NewTopic

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from deploy.local.process import Program, Server
from processor.kafka import topics
from tests.clickhouse import Database
from tests.faults.disk import disk
from tests.faults.proxy import HttpProxy, Proxy
from tests.system import System

#: A topic of junk is read slowly soon, and not for long.
MAX_BAD_RECORDS, BAD_RATE = 100, 100
#: Messages of the tenant `live` are retried while a run lasts; histories of the others are days
#: old, and with a usual horizon their retries would be given up by now.
RETRY_DELAY_SECONDS = 6
POLICY = f"""
[default]
horizon = "366d"

[tenant."live"]
retries = 1
schedule = ["{RETRY_DELAY_SECONDS}s"]
"""
#: Between two starts of a worker that ends at once, as it does while its broker is away.
RESTART_SECONDS = 1.0


class ProxiedBroker(Broker):
    """A broker with a second listener, whose clients it sends to a proxy."""

    def __init__(self, data):
        address = f"127.0.0.1:{free_port()}"
        super().__init__(address, data)
        properties = data / "kafka" / "server.properties"
        text = properties.read_text()
        second = free_port(*map(int, re.findall(r":(\d+)", text)))
        self.proxy = Proxy(second)
        for before, after in (
            (f"listeners=PLAINTEXT://{address},", f"PROXIED://127.0.0.1:{second},"),
            (f"advertised.listeners=PLAINTEXT://{address}", f",PROXIED://127.0.0.1:{self.proxy.port}"),
            ("protocol.map=", "PROXIED:PLAINTEXT,"),
        ):  # fmt: skip
            assert before in text
            text = text.replace(before, before + after)
        properties.write_text(text)

    @property
    def proxied_bootstrap(self):
        return f"127.0.0.1:{self.proxy.port}"


class Crew:
    """The workers; those that have ended are started again, unless a fault holds them down."""

    def __init__(self, system, environments):
        self._system = system
        self._environments = environments
        self.workers = {}
        #: Those that a fault keeps from running.
        self.held = set()
        self._started_at = {}
        #: Why workers ended by themselves.
        self.endings = Counter()

    @property
    def slots(self):
        return range(len(self._environments))

    def clock(self, slot):
        """Return the file that says by how many seconds the clock of a worker is wrong."""
        return self._system.folder / f"clock-{slot}"

    def tend(self):
        """Start the workers that should be there and are not."""
        for slot in self.slots:
            worker = self.workers.get(slot)
            if worker and not worker.running:
                self.endings[_last_error(self._system.output(worker))] += 1
                worker.kill()
                del self.workers[slot]
            is_due = monotonic() > self._started_at.get(slot, 0) + RESTART_SECONDS
            if slot not in self.held and slot not in self.workers and is_due:
                self._started_at[slot] = monotonic()
                self.workers[slot] = self._system.start_worker(
                    **self._environments[slot], WORKER_CLOCK=str(self.clock(slot))
                )

    def kill(self, slot):
        self._end(slot, lambda worker: worker.kill())

    def stop(self, slot):
        self._end(slot, lambda worker: worker.stop())

    def _end(self, slot, end):
        if worker := self.workers.pop(slot, None):
            end(worker)


def _last_error(output):
    """Return the last error in a worker's output, without what differs each time."""
    lines = [line for line in output.splitlines() if "rror" in line] or output.splitlines()
    return re.sub(r"\d+", "N", lines[-1])[:600] if lines else "no output"


def pause(server):
    """Let a program and all that it started stand still."""
    if server.running:
        os.killpg(server._process.pid, signal.SIGSTOP)


def resume(server):
    if server.running:
        os.killpg(server._process.pid, signal.SIGCONT)


class Stage(System):
    """A system, its crew, and the proxies."""

    worker_module = "tests.faults.clock"

    def __init__(self, broker, engine, folder, disk, *, workers):
        super().__init__(broker, engine, folder)
        #: Of the database; None where it cannot be filled.
        self.disk = disk
        self.write_policy(POLICY)
        self.database_link = HttpProxy(int(engine.url.rpartition(":")[2]))
        self.broker_link = broker.proxy
        common = {
            "SENDLOG_CLICKHOUSE__URL": self.database_link.url,
            "SENDLOG_INTAKE__STOP_AFTER_BAD": str(MAX_BAD_RECORDS),
            "SENDLOG_INTAKE__BAD_RATE": str(BAD_RATE),
        }
        first = {"SENDLOG_KAFKA__BOOTSTRAP": broker.proxied_bootstrap}
        self.crew = Crew(self, [common | first, *([common] * (workers - 1))])
        self._new_feeds = count()
        self.poison = self.oracle = self.staff = None

    def stop(self):
        super().stop()
        if self.staff:
            self.staff.api.kill()

    def inserted_rows(self):
        """Return how many rows the database has taken since its start."""
        return self.value("SELECT sum(value) FROM system.events WHERE event = 'InsertedRows'")

    def start_command(self, *arguments):
        """Start a `sendlog` command that does not end by itself soon."""
        command = [sys.executable, "-m", "processor", *arguments]
        program = Program(name="command", command=command, environment=self.environment)
        server = Server(program, self.folder / "commands.log")
        server.start()
        return server

    def create_feed(self):
        """Make the topic of a provider that nobody knows, and return its name."""
        name = f"email.events.unknown{next(self._new_feeds)}"
        topic = NewTopic(name=name, num_partitions=2, replication_factor=1)
        with topics.admin_client(self.kafka) as admin:
            admin.create_topics([topic])
        return name


@contextmanager
def running(folder, workers):
    """Give a stage without a running worker yet."""
    with ExitStack() as stack:
        broker = stack.enter_context(ProxiedBroker(folder))
        own = stack.enter_context(disk(folder))
        data = own.folder if own else folder
        engine = stack.enter_context(Database(f"http://127.0.0.1:{free_port()}", data))
        stage = Stage(broker, engine, folder, own, workers=workers)
        stack.enter_context(stage.database_link)
        stack.enter_context(stage.broker_link)
        stack.callback(stage.stop)
        yield stage
