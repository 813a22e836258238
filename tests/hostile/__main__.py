"""`make test-hostile`: a good client beside hostile ones; prints what it lost. ARGS="--help"."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import signal
import statistics
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from deploy.local.process import Program, Server
from processor.kafka import topics
from processor.settings import KafkaSettings
from tests import clickhouse
from tests.api import empty_api, sample_events
from tests.clickhouse import Database
from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.hostile.attacks import Attack
from tests.signing import SHARED, sign
from tests.system import wait_for

RATE = 20
MESSAGES = 20_000
#: What the good client may lose, and how much longer its slowest may take, beside the attack.
MAX_LOST, MAX_P99_RATIO = 0.001, 5.0
RECOVERY_SECONDS = 5.0


class GoodClient:
    """Posts webhooks and reads pages at a steady rate, whatever the answers take."""

    def __init__(self, gateway, api_port, key):
        self._gateway, self._key = gateway, key
        self._api = f"http://127.0.0.1:{api_port}"
        self._pool = ThreadPoolExecutor(64)

    def run(self, seconds):
        """Return what each request was, and its seconds, or the status by which it was lost."""
        start, results = time.monotonic(), []
        for number in range(int(seconds * RATE)):
            due = start + number / RATE
            time.sleep(max(0, due - time.monotonic()))
            results.append(self._pool.submit(self._one, number, due))
        return [result.result() for result in results]

    def _one(self, number, due):
        kind = "webhooks" if number % 2 else "pages"
        try:
            status = self._post(number) if number % 2 else self._read()
        except urllib.error.HTTPError as error:
            status = error.code
        except (OSError, http.client.HTTPException) as error:
            status = type(error).__name__
        return kind, time.monotonic() - due, status

    def _post(self, number):
        return self._gateway.send(sign("postal", webhook("postal", b'{"n": %d}' % number)))[0]

    def _read(self):
        headers = {"Authorization": f"Bearer {self._key}"}
        request = urllib.request.Request(f"{self._api}/api/v1/logs/email?limit=20", headers=headers)
        with urllib.request.urlopen(request, timeout=60) as reply:
            reply.read()
            return reply.status


class Memory:
    """The largest resident size of processes, in MB, while it runs."""

    def __init__(self, **servers):
        self._files = {name: self._child(server._process.pid) for name, server in servers.items()}
        self._ends = threading.Event()
        self.largest = self.now()
        threading.Thread(target=self._watch, daemon=True).start()

    @staticmethod
    def _child(pid):
        """Return the file about what a process has started: it only ends that with the tests."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return Path(f"/proc/{children[0] if children else pid}/status")

    def now(self):
        return {name: self._size(file) for name, file in self._files.items()}

    @staticmethod
    def _size(file):
        line = next(line for line in file.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) // 1024

    def _watch(self):
        while not self._ends.wait(0.5):
            for name, size in self.now().items():
                self.largest[name] = max(size, self.largest[name])

    def stop(self):
        self._ends.set()


def attack(options):
    asyncio.run(Attack(**options).run())


def figures(name, results):
    """Print the lost requests and the percentiles of a phase; return loss and p99 by kind."""
    found = {}
    for kind in ("webhooks", "pages"):
        mine = [(seconds, status) for each, seconds, status in results if each == kind]
        taken = [seconds for seconds, status in mine if status == 200]
        lost = Counter(status for _, status in mine if status != 200)
        p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
        print(
            f"{name:9} {len(mine):6,} {kind}, lost {dict(lost) or 0}, "
            f"p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms",
            flush=True,
        )
        found[kind] = lost.total() / len(mine), p99
    return found


def started(folder, stack):
    """Start everything; return the gateway, the API with its port, and the keys."""
    broker = stack.enter_context(Broker(f"127.0.0.1:{free_port()}", folder))
    topics.create_missing_topics(KafkaSettings(bootstrap=broker.bootstrap, replication=1))
    engine = stack.enter_context(Database(f"http://127.0.0.1:{free_port()}", folder))
    data = empty_api(engine.url, "hostile")
    for tenant in ("acme", "rival"):
        data.add_events(sample_events(tenant, "email", MESSAGES, 1))
        data.add_key(tenant, [tenant])
    hooks = hooks_of(["postal", "mailgun"]) | hooks_of(["postal"], tenant="rival")
    gateway = stack.enter_context(GatewayProcess(broker.bootstrap, folder, hooks))
    port = free_port()
    program = Program(
        name="api", command=[sys.executable, "-m", "processor", "api"],
        environment={
            "SENDLOG_KAFKA__BOOTSTRAP": broker.bootstrap, **clickhouse.environment(engine.url),
            "SENDLOG_CLICKHOUSE__DATABASE": "hostile", "SENDLOG_API__PORT": str(port),
        },
        ready=lambda: is_ready(port),
    )  # fmt: skip
    api = stack.enter_context(Server(program, folder / "api.log"))
    wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready")
    return gateway, api, port, data.keys


def is_ready(port):
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz") as reply:
        return reply.status == 200
    return False


def main():
    parser = argparse.ArgumentParser(prog="make test-hostile", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the attacks")
    parser.add_argument("--minutes", type=float, default=3.0, help="of the attacks")
    chosen = parser.parse_args()
    # Ended from outside it stops its servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="sendlog-hostile-") as folder, ExitStack() as stack:
        gateway, api, port, keys = started(Path(folder), stack)
        good = GoodClient(gateway, port, keys["acme"])
        good.run(5)  # to warm up
        quiet = figures("alone", good.run(30))
        memory = Memory(gateway=gateway, api=api)
        before = memory.now()
        options = {"gateway": gateway.port, "api": port, "key": keys["rival"], "secret": SHARED,
                   "seed": chosen.seed}  # fmt: skip
        hostile = multiprocessing.Process(target=attack, args=(options,), daemon=True)
        hostile.start()
        try:
            attacked = figures("attacked", good.run(chosen.minutes * 60))
        finally:
            hostile.kill()
            hostile.join()
        good.run(RECOVERY_SECONDS)
        after = figures("after", good.run(10))
        memory.stop()
        for name, size in before.items():
            print(f"{name}: {size} MB before, at most {memory.largest[name]}", end=", ")
            print(f"{memory.now()[name]} after")
        print(f"{len(gateway.log.read_text().splitlines())} lines of the gateway's log")
        sys.exit(0 if is_good(quiet, attacked) and is_good(quiet, after) else 1)


def is_good(quiet, other):
    """Return whether a phase lost little, and took little longer than one without attacks."""
    return all(
        lost <= MAX_LOST and p99 <= MAX_P99_RATIO * quiet[kind][1]
        for kind, (lost, p99) in other.items()
    )


if __name__ == "__main__":
    main()
