"""The API over the real engine for tests: an application, keys of two tenants, and their data."""

from __future__ import annotations

import random
import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus

import pyarrow as pa
from starlette.testclient import TestClient

from deploy.local.database import CLUSTER
from projections.clickhouse import store
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import arrow_schema, insert_rows
from projections.queries import api_keys
from projections.tables.dead_letters import TABLE as DEAD
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.web.app import build_api
from projections.web.state import CommandNotPublishedError
from schemas.events import KINDS_BY_CHANNEL, fingerprint
from tests.clickhouse import connect_to
from tests.property.test_laws import table_of
from tests.system import wait_for

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
#: A text that only tenant B has: no answer to A's key may have it.
SECRET = "zebra-of-b"
#: Texts that a spreadsheet, a database, a page or a terminal might trip over.
SUBJECTS = [
    "Invoice for November", "=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2", "\tindented",
    "a\x00nul", "ünï “quoted” 'text'\\n", "עברית \u202e right to left", "<script>alert(1)</script>",
    'comma, "quote"\nline', "",
]  # fmt: skip


def sample_events(tenant, channel, count, seed):
    """Return events of `count` messages, recorded late and not in the order of their times."""
    dice = random.Random(seed)
    kinds = sorted(KINDS_BY_CHANNEL[channel] - {"queued", "sent"})
    events = []
    for number in range(count):
        at = START + timedelta(minutes=7 * number, milliseconds=dice.randrange(1000))
        person = dice.randrange(max(2, count // 3))
        recipient = (
            f"p{person}@d{person % 3}.example" if channel == "email" else f"+4477009{person:05}"
        )
        message = f"{tenant}-{channel}-{number}"
        for step, kind in enumerate(["sent", *dice.sample(kinds, dice.randrange(3))]):
            events.append({
                "channel": channel, "kind": kind, "message_id": message, "recipient": recipient,
                "occurred_at": at + timedelta(minutes=step * dice.randrange(1, 200)),
                "recorded_at": at + timedelta(minutes=dice.randrange(2000)),
                "provider": dice.choice(["ses", "postmark"]), "provider_message_id": f"x{number}",
                "record_type": dice.choice(["family", "staff"]), "record_id": str(person),
                "subject" if channel == "email" else "text": dice.choice(SUBJECTS),
                "smtp_code": 550 if kind == "bounce" else 0,
                "bounce_class": dice.choice(["hard", "soft"]) if kind == "bounce" else "",
                "enhanced_status": "5.1.1" if kind == "bounce" else "",
                "diagnostic": "=nobody here" if kind == "bounce" else "", "attempt": 1,
                "tags": dice.sample(["x", "ü", "=y"], dice.randrange(3)),
            })  # fmt: skip
    return complete_events(events, tenant)


def complete_events(events, tenant):
    """Return events with their tenant and id."""
    complete = [{"attempt": 1, **event, "tenant_id": tenant} for event in events]
    return [{**event, "event_id": fingerprint(event)} for event in complete]


def token_of(page):
    """Return the token of the forms of a page."""
    return re.search(r'name="token" value="([^"]+)"', page)[1]


@dataclass
class Api:
    """An application over a database; `keys` are secrets by name.

    `on_command` is called with each command that the application publishes.
    """

    url: str
    database: str
    app: object
    keys: dict
    commands: list = field(default_factory=list)
    events: list = field(default_factory=list)
    kafka_answers: bool = True
    on_command: object = None

    def publish_command(self, command):
        if not self.kafka_answers:
            raise CommandNotPublishedError("away")
        self.commands.append(command)
        if self.on_command:
            self.on_command(command)

    @contextmanager
    def client(self, key="a", **options):
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        with TestClient(self.app, headers=headers, raise_server_exceptions=False,
                        **options) as client:  # fmt: skip
            yield client

    def sign_in(self, client, key):
        """Give a client the session of a key; return the token of its forms."""
        token = token_of(client.get("/sign-in").text)
        client.post("/sign-in", data={"token": token, "key": self.keys[key], "next": "/"})
        return token

    def connect(self):
        return connect_to(self.url, database=self.database)

    def add_role_key(self, name, tenants, role=""):
        """Store a key with a role; it is known as soon as the application reads keys."""
        key, secret = api_keys.new_key(name, tenants, [], role or name)
        api_keys.store_key(self.connect(), self.database, key)
        self.keys[name] = secret
        self.app.state.app_state.keys._loaded_at = float("-inf")
        return key

    def add_key(self, name, tenants, scopes=("read",)):
        key, secret = api_keys.new_key(name, tenants, scopes)
        api_keys.store_key(self.connect(), self.database, key)
        self.keys[name] = secret
        with self.client(name) as client:  # the application may have read the keys just before
            wait_for(
                lambda: client.get("/api/v1/suppressions").status_code != HTTPStatus.UNAUTHORIZED,
                f"the key {name} to be known",
            )
        return key

    def add_events(self, events):
        insert_rows(self.connect(), self.database, EVENTS, table_of(events))
        self.events += events

    def add_history_row(self, tenant, address, change, *, channel="email", **fields):
        """Write a row of the history of the blacklist."""
        now = datetime.now(UTC)
        row = {
            "tenant_id": tenant, "channel": channel, "address": address, "occurred_at": now,
            "event_id": uuid.uuid4().hex, "recorded_at": now, "change": change,
            "rule": "hard_bounce", "since": now, "until": None, "actor": "sendlog",
            "reason": "550 5.1.1", "message_id": "m1", "cause_event_id": uuid.uuid4().hex,
            "rules_version": 1, "source_topic": "t", "source_partition": 0, "source_offset": 0,
        } | fields  # fmt: skip
        table = pa.Table.from_pylist([row], schema=arrow_schema(HISTORY))
        store.insert_rows(self.connect(), self.database, HISTORY, table)

    def add_dead_letter(self, offset, raw, reason, **fields):
        row = {
            "source_topic": "email.events.ses", "source_partition": 1, "source_offset": offset,
            "element": -1, "recorded_at": START, "died_at": START + timedelta(seconds=offset),
            "reason": reason, "raw": raw, "headers": [("h", "v")], "replayed_at": None,
        } | fields  # fmt: skip
        table = pa.Table.from_pylist([row], schema=arrow_schema(DEAD))
        store.insert_rows(self.connect(), self.database, DEAD, table)


def empty_api(url, database, *, shards=None, **options):
    """Return an API over a migrated database without data and keys."""
    client = shards.connect() if shards else connect_to(url)
    for _ in migrate(client, Target(database, CLUSTER if shards else "")):
        pass
    api = Api(url, database, None, {})
    api.app = build_api(
        connect=api.connect, database=database, publish_command=partial(Api.publish_command, api),
        kafka_answers=lambda: api.kafka_answers, **{"rate": 1e5, "burst": 100_000, **options},
    )  # fmt: skip
    return api


def api_with_data(url, database, **options):
    """Return an API with events, entries and dead letters of the tenants a and b, and keys."""
    api = empty_api(url, database, **{"outcome_seconds": 2, **options})
    for channel, seed in (("email", 1), ("sms", 2)):
        api.add_events(sample_events("a", channel, 60, seed))
        events = sample_events("b", channel, 20, seed + 2)
        secret = {"subject": SECRET, "text": SECRET}
        api.add_events(complete_events([event | secret for event in events], "b"))
    api.add_history_row("a", "p1@d1.example", "added", reason="550 a's own")
    api.add_history_row("a", "p2@d2.example", "added", rule="complaint")
    api.add_history_row("a", "+447700900001", "added", channel="sms", rule="opt_out")
    api.add_history_row("b", f"{SECRET}@example.com", "added", reason=SECRET)
    api.add_dead_letter(7, b"\xff not text", f"no JSON of {SECRET}")
    api.add_dead_letter(8, b"{}", "no event")
    api.add_key("a", ["a"], ["read", "reset"])
    api.add_key("a reader", ["a"])
    api.add_key("a admin", ["a"], ["read", "admin"])
    api.add_key("b", ["b"])
    api.add_key("both", ["a", "b"])
    api.add_key("operator", ["*"], ["read", "reset", "admin"])
    return api
