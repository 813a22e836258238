"""All parts over encrypted connections, each with a login of its own and only its own rights."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from processor.kafka.connection import BrokerError, check_connection
from processor.kafka.producer import sync_producer
from processor.kafka.topics import create_missing_topics
from projections.clickhouse.client import FatalError, connect
from projections.clickhouse.sql import stream
from projections.queries import api_keys
from projections.tls import TlsFiles
from tests.certificates import DAY, Authority
from tests.clickhouse import PASSWORD, USER, Database
from tests.faults.proxy import Proxy
from tests.gateway_process import GatewayProcess, hooks_of, webhook
from tests.secure_kafka import PASSWORDS, SecureBroker, unsigned_token
from tests.signing import sign
from tests.system import wait_for

WORKER_PASSWORD, KEY_PASSWORD, SESSION_SECRET = "w0rker-s3cret", "k3y-s3cret", "s3ssion-" * 4
#: Good for a day: it is made when tests are collected, long before these may run.
TOKEN = unsigned_token("sendlog-mailer", seconds=86_400)
SECRETS = (*PASSWORDS.values(), WORKER_PASSWORD, KEY_PASSWORD, SESSION_SECRET, PASSWORD, TOKEN)


class TlsProxy(Proxy):
    """The encryption in front of a server that has none."""

    def __init__(self, upstream_port, pair):
        super().__init__(upstream_port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*pair)

    async def _listen(self):
        self._server = await asyncio.start_server(self._serve, sock=self._socket, ssl=self._context)

    @property
    def url(self):
        return f"https://127.0.0.1:{self.port}"


class Stack:
    """A broker, ClickHouse behind TLS, and who may do what on them."""

    def __init__(self, folder, enter):
        self.folder, self.authority = folder, Authority(folder)
        self.broker = enter(SecureBroker(folder, self.authority))
        plain = enter(Database(f"http://127.0.0.1:{free_port()}", folder))
        port = int(plain.url.rpartition(":")[2])
        self.clickhouse, self.expired, self.elsewhere = (
            enter(TlsProxy(port, pair))
            for pair in (
                self.authority.issue("clickhouse"),
                self.authority.issue("clickhouse-expired", lifetime=DAY),
                self.authority.issue("clickhouse-elsewhere", host="127.0.0.9"),
            )
        )
        self.plain_url = plain.url
        self.client = plain.connect()
        self.broker.add_scram_user("sendlog-worker", WORKER_PASSWORD)
        self.outputs = [self.folder / "kafka.log"]

    def environment(self, component, **more):
        """Return the settings of a component, which logs in as itself."""
        kafka = {
            "PROTOCOL": "SASL_SSL", "BOOTSTRAP": self.broker.address("clients"), "REPLICATION": "1",
            "PARTITIONS": "2", "CA_FILE": str(self.authority.file), **self._login(component),
        }  # fmt: skip
        return {
            **{f"SENDLOG_KAFKA__{name}": value for name, value in kafka.items()},
            "SENDLOG_CLICKHOUSE__URL": self.clickhouse.url,
            "SENDLOG_CLICKHOUSE__CA_FILE": str(self.authority.file),
            "SENDLOG_CLICKHOUSE__USER": USER,
            "SENDLOG_CLICKHOUSE__PASSWORD_FILE": self.secret("clickhouse", PASSWORD),
            "SENDLOG_DATA_DIR": str(self.folder),
            "SENDLOG_LOG_FORMAT": "json",
            "SENDLOG_LOG_LEVEL": "debug",
            **more,
        }

    def _login(self, component):
        match component:
            case "worker":
                password = self.secret("worker", WORKER_PASSWORD)
                return {"USER": "sendlog-worker", "PASSWORD_FILE": password}
            case "api":
                pair = self.authority.issue("sendlog-api", password=KEY_PASSWORD.encode())
                return {
                    "PROTOCOL": "SSL", "BOOTSTRAP": self.broker.address("mutual"),
                    "CERTIFICATE_FILE": str(pair.certificate), "KEY_FILE": str(pair.key),
                    "KEY_PASSWORD_FILE": self.secret("key", KEY_PASSWORD),
                }  # fmt: skip
            case "mailer":
                command = f"cat {self.secret('token', TOKEN)}"
                return {"MECHANISM": "OAUTHBEARER", "TOKEN_COMMAND": command}
        user = component if component == "admin" else f"sendlog-{component}"
        password = self.secret(user, PASSWORDS[user])
        return {"MECHANISM": "PLAIN", "USER": user, "PASSWORD_FILE": password}

    def secret(self, name, value):
        file = self.folder / f"{name}.secret"
        file.write_text(f"{value}\n")
        return str(file)

    def run(self, component, *arguments, **more):
        """Run a command as a component; return exit code and what it printed."""
        done = self.start(component, *arguments, **more)
        out, err = done.communicate(timeout=120)
        return done.returncode, out, err

    def start(self, component, *arguments, **more):
        return subprocess.Popen(
            [sys.executable, "-m", "processor", *arguments],
            env={**os.environ, **self.environment(component, **more), "COLUMNS": "200"},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def server(self, component, ready, **more):
        program = Program(
            name=component, command=[sys.executable, "-m", "processor", component],
            environment=self.environment(component, **more), ready=ready, grace=30,
        )  # fmt: skip
        self.outputs.append(self.folder / f"{component}.log")
        return Server(program, self.outputs[-1])

    def rows(self, sql):
        return list(stream(self.client, sql, {}))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with ExitStack() as stack:
        yield Stack(tmp_path_factory.mktemp("secure"), stack.enter_context)


def get(url, context=None, **headers):
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as reply:
            return reply.status, reply.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers
    except OSError:
        return 0, {}


def test_every_part_works_with_no_more_rights_than_its_own(stack):
    operator = stack.broker.settings("sendlog-operator")
    with pytest.raises(BrokerError, match=r"sendlog-operator has no right to this .*acls prints"):
        create_missing_topics(operator)
    for component, *command in (("admin", "topics", "acls", "--apply"), ("operator", "migrate")):
        done = stack.run(component, *command)
        assert done[0] == 0, done
    assert "delivery.policy" in create_missing_topics(operator)
    api_pair, port = stack.authority.issue("api"), free_port()
    trusted = ssl.create_default_context(cafile=stack.authority.file)
    api_url = f"https://127.0.0.1:{port}"
    more = {"SENDLOG_METRICS_PORT": str(free_port())}
    api = stack.server(
        "api", lambda: get(f"{api_url}/readyz", trusted)[0] == 200,
        SENDLOG_API__PORT=str(port), SENDLOG_API__CERTIFICATE_FILE=str(api_pair.certificate),
        SENDLOG_API__KEY_FILE=str(api_pair.key),
        SENDLOG_API__SESSION_SECRET_FILE=stack.secret("session", SESSION_SECRET),
    )  # fmt: skip
    worker = stack.server("worker", lambda: "blacklist_read" in worker.log.read_text(), **more)
    gateway = GatewayProcess(
        stack.broker.address("clients"), stack.folder, hooks_of(["postmark"]),
        **stack.environment("gateway"),
    )  # fmt: skip
    stack.outputs.append(gateway.log)
    with gateway, worker, api:
        wait_for(lambda: gateway.status("/readyz") == 200, "the gateway to reach Kafka")
        _, headers = get(f"{api_url}/sign-in", trusted)
        assert "Secure" in headers["set-cookie"]
        assert headers["strict-transport-security"].startswith("max-age=")
        mailer = stack.start("mailer", "mailer", "--tenant", "acme", "--no-scenes")
        try:
            deliver_webhook(gateway)
            publish_send(stack)
            publish_retry(stack)
            wait_for(partial(arrived, stack), "webhook, send and retry in the log")
            give_command(stack, api_url, trusted)
            listing = leaks_in_processes()
            metrics = "".join(
                read_text(f"http://127.0.0.1:{number}/metrics")
                for number in (more["SENDLOG_METRICS_PORT"], gateway.metrics)
            )
        finally:
            mailer.terminate()
        assert mailer.wait(60) == 0, mailer.stderr.read()
        (stack.folder / "mailer.log").write_text(mailer.stderr.read())
    assert not listing
    texts = [file.read_text() for file in (*stack.outputs, stack.folder / "mailer.log")]
    for secret in SECRETS:
        assert secret not in metrics
        assert not [text for text in texts if secret in text]
    assert "TopicAuthorization" not in "".join(texts)


def deliver_webhook(gateway):
    body = {
        "RecordType": "Delivery", "MessageID": "00000000-0000-0000-0000-000000000001",
        "Recipient": "jo@example.com", "DeliveredAt": "2026-11-02T09:00:00Z",
        "Details": "250 ok", "Metadata": {"message_id": "hooked"},
    }  # fmt: skip
    sent = sign("postmark", webhook("postmark", json.dumps(body).encode()))
    assert gateway.send(sent)[0] == 200


def publish_send(stack):
    event = {
        "channel": "email", "kind": "sent", "tenant_id": "acme", "message_id": "published",
        "recipient": "ann@example.com", "occurred_at": "2026-11-02T09:00:00Z",
    }  # fmt: skip
    file = stack.folder / "sends.ndjson"
    file.write_text(json.dumps(event) + "\n")
    done = stack.run("operator", "publish", str(file))
    assert done[0] == 0, done


def publish_retry(stack):
    request = {
        "id": "a" * 32, "tenant_id": "acme", "channel": "email", "message_id": "retried",
        "recipient": "kim@example.com", "attempt": 3, "reason": "4.2.2",
        "due_at": "2026-11-02T09:00:00Z",
    }  # fmt: skip
    with sync_producer(stack.broker.settings()) as send:
        send("delivery.retries", json.dumps(request).encode(), key=b"a" * 32)


def arrived(stack):
    rows = stack.rows("SELECT message_id FROM sendlog.email_log WHERE tenant_id = 'acme'")
    return {"hooked", "published", "retried"} <= {row["message_id"] for row in rows}


def give_command(stack, api_url, trusted):
    """Have the API publish a command, and the worker decide on it."""
    key, secret = api_keys.new_key("desk", ["acme"], ["read", "reset"])
    api_keys.store_key(stack.client, "sendlog", key)
    request = urllib.request.Request(
        f"{api_url}/api/v1/suppressions/email/ann@example.com/add",
        data=json.dumps({"reason": "asked to"}).encode(),
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30, context=trusted) as reply:
        assert reply.status in {200, 202}  # a busy worker takes its time
    wait_for(lambda: stack.rows("SELECT address FROM sendlog.suppressions"), "the entry")


def read_text(url):
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read().decode()


def leaks_in_processes():
    """Return the command lines on this machine that have a secret."""
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_text(errors="replace")
        except OSError:
            continue
        if any(secret in line for secret in SECRETS):
            lines.append(line)
    return lines


def test_a_mailer_may_neither_decide_nor_command(stack):
    mailer = stack.broker.settings(
        user="", mechanism="OAUTHBEARER", token_command=f"cat {stack.secret('token', TOKEN)}"
    )
    for topic in ("delivery.decisions", "delivery.commands", "email.events.ses"):
        with pytest.raises(BrokerError, match="Authorization"), sync_producer(mailer) as send:
            send(topic, b"{}")
    with sync_producer(mailer) as send:
        send("email.sends", b"{}")


REFUSALS = {
    "another CA": ({"ca_file": "other"}, "signed by no CA of SENDLOG_KAFKA__CA_FILE"),
    "expired": ({"listener": "expired"}, "its certificate is out of date"),
    "another host": ({"listener": "elsewhere"}, "its certificate is another host's"),
    "wrong password": ({"password": "wrong-s3cret"}, "refuses the login of admin by PLAIN: "),
    "mechanism": ({"mechanism": "SCRAM-SHA-256"}, "not offer SENDLOG_KAFKA__MECHANISM=SCRAM-"),
    "plain port": ({"listener": "open"}, "speaks no TLS: is that its unencrypted port"),
    "wants more": (
        {"protocol": "PLAINTEXT", "user": "", "password": "", "ca_file": None},
        "does it want more than SENDLOG_KAFKA__PROTOCOL=PLAINTEXT",
    ),
    "no certificate": (
        {"listener": "mutual", "protocol": "SSL", "user": ""}, "does it take SENDLOG_KAFKA__CERT",
    ),
    "wrong token": (
        {"mechanism": "OAUTHBEARER", "user": "", "token_command": "echo wrong-s3cret"},
        "it refuses the token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_why_a_broker_is_not_used_is_one_line(stack, case):
    options, words = REFUSALS[case]
    if options.get("ca_file") == "other":
        options = {"ca_file": Authority(stack.folder, "other").file}
    with pytest.raises(BrokerError, match=words) as caught:
        asyncio.run(check_connection(stack.broker.settings(**options)))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("listener", "words"),
    [
        ("expired", "out of date"), ("elsewhere", "another host's"), ("plain", "speaks no TLS"),
        ("other CA", "signed by no CA of SENDLOG_CLICKHOUSE__CA_FILE"),
    ],
)  # fmt: skip
def test_why_a_database_is_not_used_is_one_line(stack, listener, words):
    ca = stack.authority.file
    if listener == "other CA":
        listener, ca = "clickhouse", Authority(stack.folder, "others").file
    url = stack.plain_url.replace("http:", "https:")
    if listener != "plain":
        url = getattr(stack, listener).url
    files = TlsFiles(group="SENDLOG_CLICKHOUSE", ca=ca)
    with pytest.raises(FatalError, match=words) as caught:
        connect(url, user=USER, password=PASSWORD, files=files)
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_every_program_ends_with_that_line(stack):
    expired = {"SENDLOG_KAFKA__BOOTSTRAP": stack.broker.address("expired")}
    wrong = {"SENDLOG_KAFKA__PASSWORD_FILE": stack.secret("wrong", "wrong-s3cret")}
    other_ca = {"SENDLOG_CLICKHOUSE__CA_FILE": str(Authority(stack.folder, "strange").file)}
    missing = {"SENDLOG_KAFKA__CA_FILE": str(stack.folder / "none.pem")}
    hooks = {
        "SENDLOG_GATEWAY__SECRETS": json.dumps({"acme": {"postmark": {"secret": "user:password"}}})
    }
    programs = {
        "refuses the login of sendlog-worker": stack.start("worker", "worker", **wrong),
        "is out of date": stack.start("gateway", "gateway", **expired, **hooks),
        "SENDLOG_KAFKA__CA_FILE: ": stack.start("api", "api", **missing),
        "refuses the login of sendlog-op": stack.start("operator", "topics", "check", **wrong),
        "signed by no CA of SENDLOG_CLICKHOUSE__CA": stack.start("operator", "log", "email",
                                                                 "--tenant", "acme", **other_ca),
    }  # fmt: skip
    for words, program in programs.items():
        out, err = program.communicate(timeout=120)
        assert program.returncode == 1, err
        [line] = [line for line in err.splitlines() if line.startswith("sendlog: ")]
        assert words in line
        assert "s3cret" not in out + err
        assert "Traceback" not in err
