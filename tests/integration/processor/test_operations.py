"""What an operator sees of live processes: metrics, probes, and `sendlog status`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from processor.demo.render import DemoRecord
from processor.metrics import METRICS_BY_PART
from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.signing import sign
from tests.system import running, wait_for


def get(url):
    """Return the status and the text of a GET; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def families(port):
    text = get(f"http://127.0.0.1:{port}/metrics")[1]
    return {family.name: family for family in text_string_to_metric_families(text)}


def sample(port, name, **labels):
    return next(
        (
            each.value for family in families(port).values() for each in family.samples
            if each.name == name and labels.items() <= each.labels.items()
        ), None,
    )  # fmt: skip


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A worker, a gateway and an API, each with metrics."""
    folder = tmp_path_factory.mktemp("operations")
    with running(folder) as system:
        metrics = {part: free_port() for part in METRICS_BY_PART}
        api_port = free_port()
        system.worker(SENDLOG_METRICS_PORT=str(metrics["worker"]))
        gateway = GatewayProcess(
            system.broker.bootstrap, folder, hooks_of(["postal"]),
            SENDLOG_METRICS_PORT=str(metrics["gateway"]),
        )  # fmt: skip
        api = Server(
            Program(
                name="api",
                command=[sys.executable, "-m", "processor", "api"],
                environment={
                    **system.environment,
                    "SENDLOG_API__PORT": str(api_port),
                    "SENDLOG_METRICS_PORT": str(metrics["api"]),
                },
                ready=lambda: get(f"http://127.0.0.1:{api_port}/readyz")[0] == 200,
            ),
            folder / "api.log",
        )
        with gateway, api:
            wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to be ready")
            yield SimpleNamespace(
                system=system, metrics=metrics, gateway=gateway, api=api, api_port=api_port
            )


def test_each_part_serves_exactly_its_metrics(parts):
    for part, port in parts.metrics.items():
        served = {name: family.type for name, family in families(port).items()
                  if name.startswith("sendlog_")}  # fmt: skip
        expected = {}
        for metric in METRICS_BY_PART[part]:
            [family] = metric.describe()
            expected[family.name] = family.type
        assert served == expected, part
        assert sample(port, "sendlog_build_info", part=part) == 1
        assert get(f"http://127.0.0.1:{port}/livez") == (200, '{"status": "ok"}')


def test_a_worker_says_how_far_behind_it_is_and_that_it_is_ready(parts):
    system, port = parts.system, parts.metrics["worker"]
    wait_for(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "the worker to be ready")
    assert get(f"http://127.0.0.1:{port}/livez") == (200, '{"status": "ok"}')
    assert get(f"http://127.0.0.1:{port}/other")[0] == 404
    event = {
        "channel": "email", "kind": "sent", "tenant_id": "a", "message_id": "m",
        "recipient": "jo@example.com", "occurred_at": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    system.engine.kill()
    system.publish([DemoRecord("email.sends", None, json.dumps(event).encode(), (), 1764000000000)])
    wait_for(lambda: sample(port, "sendlog_waiting_for_clickhouse"), "the worker to wait")
    status, text = get(f"http://127.0.0.1:{port}/readyz")
    assert (status, json.loads(text)["missing"]) == (
        503, ["ClickHouse: it is away or overloaded, and writes are tried again"],
    )  # fmt: skip
    assert get(f"http://127.0.0.1:{port}/livez")[0] == 200
    wait_for(lambda: sample(port, "sendlog_lag_records", topic="email.sends") == 1, "its lag")
    assert sample(port, "sendlog_seconds_behind", topic="email.sends") > 1e6
    assert sample(port, "sendlog_write_retries_total", table="raw_records") >= 1
    system.engine.start()
    wait_for(lambda: sample(port, "sendlog_lag_records", topic="email.sends") == 0, "no lag")
    assert sample(port, "sendlog_seconds_behind", topic="email.sends") == 0
    assert sample(port, "sendlog_last_write_timestamp_seconds") > 1.7e9
    assert sample(port, "sendlog_partitions", topic="email.sends") == 4
    assert sample(port, "sendlog_rebalances_total") >= 1
    assert sample(port, "sendlog_policy_partitions", state="known") == 4


def test_requests_are_counted_by_route_whatever_their_paths_have(parts):
    parts.gateway.send(sign("postal", webhook("postal", b"{}")))
    for path in (
        "/api/v1/suppressions/email/jo@example.com",
        "/none/jo@example.com",
        "/static/a.css",
    ):
        get(f"http://127.0.0.1:{parts.api_port}{path}")
    count = "sendlog_request_seconds_count"
    gateway, api = parts.metrics["gateway"], parts.metrics["api"]
    assert sample(gateway, count, route="/hooks/{tenant}/{provider}") == 1
    assert sample(api, count, route="none", status="4xx") == 1
    routes = {each.labels["route"] for each in families(api)["sendlog_request_seconds"].samples}
    assert routes >= {"/readyz", "/static/{name}"}
    assert {route for route in routes if route.startswith("/api/")} == {
        "/api/v1/suppressions/{channel}/{address:path}"
    }


def status_of(parts, *options):
    own = {
        "SENDLOG_API__PORT": str(parts.api_port), "SENDLOG_GATEWAY__PORT": str(parts.gateway.port),
    }  # fmt: skip
    worker = f"http://127.0.0.1:{parts.metrics['worker']}"
    done = subprocess.run(
        [sys.executable, "-m", "processor", "status", "--metrics", worker, *options],
        env={**os.environ, **parts.system.environment, **own},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def test_status_says_what_is_up_how_far_behind_it_is_and_what_went_wrong(parts):
    system, port = parts.system, parts.metrics["worker"]
    system.publish([DemoRecord("email.sends", None, b"no event", (), int(time.time() * 1000))])
    wait_for(lambda: sample(port, "sendlog_dead_letters_total", topic="email.sends"), "its letter")
    system.wait_until_committed()
    wait_for(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, "the worker to be ready")
    code, text = status_of(parts, "--format", "json")
    status = json.loads(text)
    assert (code, status["works"]) == (0, True)
    assert {(part["part"], part["state"]) for part in status["parts"]} == {
        (name, "up") for name in ("kafka", "clickhouse", "worker", "gateway", "api")
    }
    assert status["last_hour"]["dead_letters"] >= 1
    assert status["last_hour"]["unmatched"] == 0
    assert {each["records"] for each in status["topics"]} == {0}
    assert {"email.sends", "delivery.policy"} <= {each["topic"] for each in status["topics"]}
    assert status["last_write"] > "2026"

    os.killpg(system.workers[0]._process.pid, signal.SIGSTOP)
    try:
        sent = int((time.time() - 600) * 1000)
        system.publish([DemoRecord("sms.sends", None, b"no event", (), sent) for _ in range(3)])
        lines = status_of(parts)[1].splitlines()
    finally:
        os.killpg(system.workers[0]._process.pid, signal.SIGCONT)
    worker = f"worker\tdown\thttp://127.0.0.1:{port}\tnobody answers"
    assert worker in lines
    assert "lag\t3\tsms.sends\t10 min" in lines


def test_status_fails_while_the_database_is_away(parts):
    parts.system.engine.kill()
    try:
        code, text = status_of(parts)
    finally:
        parts.system.engine.start()
    assert code == 1
    assert re.search(r"^clickhouse\tdown\thttp://127\S+\tit is away$", text, re.MULTILINE)
    assert re.search(r"^api\tnot ready\t.*ClickHouse is away", text, re.MULTILINE)
