"""`sendlog api` and `sendlog keys` as people run them, while ClickHouse and Kafka come and go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from kafka import KafkaConsumer

from deploy.local.addresses import free_port
from deploy.local.broker import Broker
from deploy.local.process import Program, Server
from processor.kafka import topics
from processor.settings import KafkaSettings
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from schemas.decisions import Command
from tests import clickhouse
from tests.api import Api, sample_events
from tests.clickhouse import Database, connect_to
from tests.embedding import sign
from tests.system import wait_for

DATABASE = "api_process"


class Stack:
    """A broker and an engine of its own, and the API as a process on them."""

    def __init__(self, folder):
        self.broker = Broker(f"127.0.0.1:{free_port()}", folder)
        self.engine = Database(f"http://127.0.0.1:{free_port()}", folder)
        self.port = free_port()
        self.environment = {
            "SENDLOG_KAFKA__BOOTSTRAP": self.broker.bootstrap,
            **clickhouse.environment(self.engine.url),
            "SENDLOG_CLICKHOUSE__DATABASE": DATABASE,
            "SENDLOG_API__PORT": str(self.port),
            "SENDLOG_API__OUTCOME_SECONDS": "1",
            "SENDLOG_API__EMBED_SECRET": "e" * 32,
            "SENDLOG_API__PUBLIC_URL": "https://log.example.com/",
            "SENDLOG_LOG_FORMAT": "json",
            "SENDLOG_OIDC__ISSUER": f"http://127.0.0.1:{free_port()}",  # nobody is there
            "SENDLOG_OIDC__CLIENT_ID": "sendlog",
            "SENDLOG_OIDC__GROUPS": '{"desk": {"tenant": "a", "role": "support"}}',
        }
        program = Program(
            name="api", command=[sys.executable, "-m", "processor", "api"],
            environment=self.environment, ready=lambda: self.get("/healthz")[0] == 200,
        )  # fmt: skip
        self.api = Server(program, folder / "api.log")
        working = Program(
            name="worker", command=[sys.executable, "-m", "processor", "worker"],
            environment=self.environment, ready=lambda: True,
        )  # fmt: skip
        self.worker = Server(working, folder / "worker.log")

    def get(self, path, key="", method="GET", body=None):
        """Return status, headers and text of a request; 0 if nobody answers."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        data = None if body is None else json.dumps(body).encode()
        if data:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers, data=data
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
        except OSError:
            return 0, {}, ""

    def command(self, *arguments, check=True):
        done = subprocess.run(
            [sys.executable, "-m", "processor", *arguments], capture_output=True, text=True,
            env={**os.environ, **self.environment, "COLUMNS": "200"}, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) == check, done.stderr
        return done.stdout if check else done.stderr


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("api"))
    stack.api.start()
    try:
        yield stack
    finally:
        stack.api.kill()
        stack.worker.kill()
        stack.engine.kill()
        stack.broker.kill()


def test_an_openid_provider_may_be_away_when_it_starts(stack):
    status, _, text = stack.get("/sign-in")
    assert (status, "Not available now" in text) == (200, True)


def test_it_serves_when_both_come_and_says_so_while_they_are_away(stack):
    """One walk through the life of the process: nothing there, all there, each away and back."""
    wait_for(lambda: stack.get("/healthz")[0] == 200, "the API to be alive")
    status, headers, text = stack.get("/readyz")
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert json.loads(text)["detail"] == ("ClickHouse is away; Kafka is away: commands are refused")
    status, headers, _ = stack.get("/api/v1/logs/email", key="sk_any")
    assert (status, headers["Retry-After"]) == (503, "5")

    stack.engine.start()
    stack.broker.start()
    topics.create_missing_topics(KafkaSettings(bootstrap=stack.broker.bootstrap, replication=1))
    admin = connect_to(stack.engine.url)
    list(migrate(admin, Target(DATABASE)))
    wait_for(lambda: stack.get("/readyz")[0] == 200, "the API to be ready")

    key = stack.command("keys", "create", "help desk", "--tenant", "a", "--scope", "reset",
                        "--scope", "read").strip()  # fmt: skip
    assert key.startswith("sk_")
    assert "already" in stack.command("keys", "create", "help desk", "--tenant", "a", check=False)
    [line] = stack.command("keys", "list", "--format", "json").splitlines()
    row = json.loads(line)
    assert (row["name"], row["tenants"], row["scopes"]) == (
        "help desk", ["a"], ["read", "reset"],
    )  # fmt: skip
    assert key not in line

    secret, token = embeds(stack, key, row["id"])

    database = Api(stack.engine.url, DATABASE, None, {})
    database.add_events(sample_events("a", "email", 40, 1))
    status, _, text = stack.get("/api/v1/logs/email?limit=40", key)
    assert (status, len(json.loads(text)["rows"])) == (200, 40)

    status, _, text = stack.get(
        "/api/v1/suppressions/email/x@example.com/add", key, "POST", {"reason": "asked"}
    )
    assert status == 202, text
    [command_id] = published(stack)
    assert json.loads(text)["command_id"] == command_id
    takes_effect(stack, key, command_id)

    stack.engine.kill()
    status, headers, text = stack.get("/api/v1/logs/email", key)
    assert (status, headers["Content-Type"], headers["Retry-After"]) == (
        503, "application/problem+json", "5",
    )  # fmt: skip
    assert json.loads(stack.get("/readyz")[2])["detail"] == "ClickHouse is away"
    assert stack.get("/healthz")[0] == 200
    stack.engine.start()
    wait_for(lambda: stack.get("/api/v1/logs/email", key)[0] == 200, "the API to answer again")

    stack.broker.kill()
    status, headers, _ = stack.get(
        "/api/v1/suppressions/email/x@example.com/reset", key, "POST", {"reason": "asked"}
    )
    assert (status, headers["Retry-After"]) == (503, "5")
    # To be read it needs no Kafka. It is asked for once a second, so the answer may be of before.
    wait_for(lambda: "Kafka" in stack.get("/readyz")[2], "the API to miss Kafka")
    status, _, text = stack.get("/readyz")
    assert (status, json.loads(text)) == (
        200, {"status": "ready", "missing": ["Kafka is away: commands are refused"]},
    )  # fmt: skip
    assert stack.get("/api/v1/logs/email", key)[0] == 200

    stack.command("keys", "revoke", "help desk")
    wait_for(lambda: stack.get("/api/v1/logs/email", key)[0] == 401, "the key to be refused", 5)
    assert "no valid key" in stack.command("keys", "revoke", "help desk", check=False)
    stops_and_is_audited(stack)
    for text in (key, secret, token, token.rpartition(".")[2]):
        assert text not in stack.api.log.read_text()


def embeds(stack, key, key_id):
    """Show a record in a frame, by a token signed here and by one that the API signs."""
    secret = stack.command("keys", "embed-secret", "help desk").strip()
    now = int(time.time())
    claims = {"record_type": "family", "record_id": "F-1", "actor": "Ann",
              "origins": ["http://localhost:8000"]}  # fmt: skip
    more = {"tenant": "a", "iat": now, "exp": now + 600}
    token = sign(claims | more, secret, {"alg": "HS256", "kid": key_id})
    assert stack.get(f"/embed/records/family/F-1?token={token}")[0] == 200
    assert stack.get(f"/embed/records/family/F-1?token={token[:-1]}")[0] == 401
    url = json.loads(stack.get("/api/v1/embed-tokens", key, "POST", claims)[2])["url"]
    assert url.startswith("https://log.example.com/embed/records/family/F-1?token=")
    assert stack.get(url.removeprefix("https://log.example.com"))[0] == 200
    return secret, token


def takes_effect(stack, key, command_id):
    """Check that a command that was accepted takes effect as soon as a worker comes."""
    stack.worker.start()
    path = "/api/v1/suppressions/email/x@example.com"
    wait_for(lambda: json.loads(stack.get(path, key)[2])["listed"], "the command to take effect")
    entry = json.loads(stack.get(path, key)[2])["entry"]
    assert (entry["rule"], entry["actor"]) == ("by_hand", "help desk")
    history = json.loads(stack.get(f"{path}/history", key)[2])["rows"]
    assert [row["cause_event_id"] for row in history] == [command_id]
    stack.worker.kill()


def stops_and_is_audited(stack):
    """Stop the API; what was done with the key is in the audit log then, also what came last."""
    stack.api.stop()
    assert "api_stopped" in stack.api.log.read_text()
    printed = stack.command("audit", "--tenant", "a", "--format", "json").splitlines()
    rows = [json.loads(line) for line in printed][::-1]
    assert [(row["via"], row["action"], row["outcome"]) for row in rows if row["via"] == "cli"] == [
        ("cli", "key_create", "done"), ("cli", "embed_secret", "done"),
        ("cli", "key_revoke", "done"),
    ]  # fmt: skip
    by_api = [(row["action"], row["object"], row["outcome"]) for row in rows if row["via"] == "api"]
    assert by_api == [
        ("embed_token", "family/F-1", "done"), ("add", "x@example.com", "pending"),
        ("look", "x@example.com", "done"), ("reset", "x@example.com", "failed"),
    ]  # fmt: skip
    assert {row["client"] for row in rows if row["via"] == "api"} == {"127.0.0.1"}
    assert {row["actor"] for row in rows if row["via"] == "embedded"} == {"Ann (help desk)"}


def published(stack):
    """Return the ids of the commands that Kafka has."""
    consumer = KafkaConsumer(
        topics.COMMANDS_TOPIC, bootstrap_servers=stack.broker.bootstrap, group_id=None,
        auto_offset_reset="earliest",
    )  # fmt: skip
    try:
        fetched = wait_for(lambda: consumer.poll(1000), "the command to be in Kafka", 60)
        records = [record for batch in fetched.values() for record in batch]
        commands = [Command.model_validate_json(record.value) for record in records]
        assert [(c.command, c.address, c.actor) for c in commands] == [
            ("add", "x@example.com", "help desk")
        ]
        return [command.id for command in commands]
    finally:
        consumer.close()


def test_an_address_that_is_taken_is_said_by_the_name_of_the_setting(stack):
    taken = stack.engine.url.rpartition(":")[2]
    done = subprocess.run(
        [sys.executable, "-m", "processor", "api"], capture_output=True, text=True, check=False,
        env={**os.environ, **stack.environment, "SENDLOG_API__PORT": taken},
    )  # fmt: skip
    assert done.returncode == 1
    assert "SENDLOG_API__HOST, __PORT" in done.stderr
