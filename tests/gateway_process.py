"""The real gateway as a process of a test, and a client that sends webhooks to it."""

from __future__ import annotations

import http.client
import json
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from urllib.parse import urlsplit

from deploy.local.addresses import free_port
from deploy.local.process import Program, Server
from tests import signing
from tests.signing import SECRETS, SHARED

#: What providers' addresses begin with; the gateway itself listens elsewhere.
PUBLIC = "https://hooks.example.com"


class GatewayProcess(Server):
    """A gateway. A test that stops or kills it starts it again."""

    def __init__(self, bootstrap, folder, hooks, name="gateway", **environment):
        self.port = free_port()
        self.metrics = free_port()
        secrets = folder / f"{name}.toml"
        secrets.write_text(
            "".join(
                f"[{tenant}.{provider}]\n"
                + "".join(f"{field} = {json.dumps(value)}\n" for field, value in fields.items())
                for (tenant, provider), fields in hooks.items()
            )
        )
        program = Program(
            name=name,
            command=[sys.executable, "-m", "processor", "gateway"],
            environment={
                "SENDLOG_KAFKA__BOOTSTRAP": bootstrap,
                "SENDLOG_GATEWAY__PORT": str(self.port),
                "SENDLOG_GATEWAY__SECRETS_FILE": str(secrets),
                "SENDLOG_GATEWAY__PUBLIC_URL": PUBLIC,
                "SENDLOG_METRICS_PORT": str(self.metrics),
                "SENDLOG_LOG_FORMAT": "json",
                **environment,
            },
            ready=lambda: self.status("/healthz") == 200,
        )
        super().__init__(program, folder / f"{name}.log")

    def status(self, path):
        """Return the status of a GET, 0 if nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as reply:
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def counted(self, sample):
        """Return a metric by its name with labels, as Prometheus reads it; 0 if it is not there."""
        url = f"http://127.0.0.1:{self.metrics}/metrics"
        with urllib.request.urlopen(url, timeout=10) as reply:
            lines = reply.read().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if sample in line), 0)

    def events(self, name):
        """Return the log's lines of an event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == name]

    @contextmanager
    def client(self):
        """Give a function that sends a webhook and returns status, headers and problem."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

        def send(webhook, **options):
            address = urlsplit(webhook.url)
            target = address.path + ("?" + address.query if address.query else "")
            body = options.pop("body", webhook.body)
            connection.request(
                webhook.method, target, body=body, headers=webhook.headers, **options
            )
            reply = connection.getresponse()
            text = reply.read()
            is_problem = (reply.headers.get("content-type") or "").endswith("json")
            return reply.status, reply.headers, json.loads(text) if is_problem else {}

        try:
            yield send
        finally:
            connection.close()

    def send(self, webhook, **options):
        """Send one webhook on a connection of its own."""
        with self.client() as send:
            return send(webhook, **options)


def webhook(provider, body=b"", *, method="POST", query="", tenant="acme", headers=None):
    """Return an unsigned webhook to the gateway's public address."""
    url = f"{PUBLIC}/hooks/{tenant}/{provider}{'?' + query if query else ''}"
    return signing.Hook(method=method, url=url, headers=headers or {}, body=body)


def hooks_of(providers, tenant="acme"):
    """Return the configuration of hooks with the secrets of `tests.signing`."""
    return {(tenant, name): {"secret": SECRETS.get(name, SHARED)} for name in providers}
