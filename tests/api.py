"""The API over the real engine for a test: an application, keys of two tenants, and their facts."""

from __future__ import annotations

import random
import uuid
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus

import pyarrow as pa
from starlette.testclient import TestClient

from projections.clickhouse import store
from projections.clickhouse.client import connect
from projections.clickhouse.ddl import Target
from projections.clickhouse.migrate import migrate
from projections.clickhouse.store import arrow_schema, insert
from projections.queries import api_keys
from projections.tables.dead_letters import TABLE as DEAD
from projections.tables.events import TABLE as EVENTS
from projections.tables.suppression_history import TABLE as HISTORY
from projections.web.app import build
from projections.web.state import NotTakenError
from schemas.events import KINDS, fingerprint
from tests.property.test_laws import table_of
from tests.system import wait_for

START = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
#: What only tenant B has: no answer to A's key may hold it.
SECRET = "zebra-of-b"
#: Texts that a spreadsheet, a database, a page or a terminal might trip over.
SUBJECTS = [
    "Invoice for November", "=1+1", "+cmd|' /C calc'!A0", "@SUM(A1)", "-2", "\tindented",
    "a\x00nul", "ünï “quoted” 'text'\\n", "עברית \u202e right to left", "<script>alert(1)</script>",
    'comma, "quote"\nline', "",
]  # fmt: skip


def facts_of(tenant, channel, count, seed):
    """Return facts of so many messages, recorded late and in another order than they happened."""
    dice = random.Random(seed)
    kinds = sorted(KINDS[channel] - {"queued", "sent"})
    facts = []
    for number in range(count):
        at = START + timedelta(minutes=7 * number, milliseconds=dice.randrange(1000))
        person = dice.randrange(max(2, count // 3))
        whom = f"p{person}@d{person % 3}.example" if channel == "email" else f"+4477009{person:05}"
        message = f"{tenant}-{channel}-{number}"
        for step, kind in enumerate(["sent", *dice.sample(kinds, dice.randrange(3))]):
            facts.append({
                "channel": channel, "kind": kind, "message_id": message, "recipient": whom,
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
    return completed(facts, tenant)


def completed(facts, tenant):
    out = []
    for fact in facts:
        event = {"attempt": 1, **fact, "tenant_id": tenant}
        out.append({**event, "event_id": fingerprint(event)})
    return out


@dataclass
class Api:
    """An application and what it was given; `keys` are its bearers by name."""

    url: str
    database: str
    app: object
    keys: dict
    commands: list = field(default_factory=list)
    facts: list = field(default_factory=list)
    kafka: bool = True
    obey: object = None

    def command(self, command):
        if not self.kafka:
            raise NotTakenError("away")
        self.commands.append(command)
        if self.obey:
            self.obey(command)

    @contextmanager
    def client(self, key="a", **options):
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        with TestClient(self.app, headers=headers, raise_server_exceptions=False,
                        **options) as client:  # fmt: skip
            yield client

    def connect(self):
        return connect(self.url, user="default", password="", database=self.database)

    def key(self, name, tenants, scopes=("read",)):
        key, secret = api_keys.make(name, tenants, scopes)
        api_keys.store(self.connect(), self.database, key)
        self.keys[name] = secret
        with self.client(name) as client:  # one that was just asked about the keys asks again
            wait_for(
                lambda: client.get("/api/v1/suppressions").status_code != HTTPStatus.UNAUTHORIZED,
                f"the key {name} to be known",
            )
        return key

    def feed(self, facts):
        insert(self.connect(), self.database, EVENTS, table_of(facts))
        self.facts += facts

    def line(self, tenant, address, change, *, channel="email", **fields):
        """Write a line of the history of the blacklist."""
        now = datetime.now(UTC).replace(microsecond=0)
        row = {
            "tenant_id": tenant, "channel": channel, "address": address, "occurred_at": now,
            "event_id": uuid.uuid4().hex, "recorded_at": now, "change": change,
            "rule": "hard_bounce", "since": now, "until": None, "actor": "sendlog",
            "reason": "550 5.1.1", "message_id": "m1", "cause_event_id": uuid.uuid4().hex,
            "rules_version": 1, "source_topic": "t", "source_partition": 0, "source_offset": 0,
        } | fields  # fmt: skip
        table = pa.Table.from_pylist([row], schema=arrow_schema(HISTORY))
        store.insert(self.connect(), self.database, HISTORY, table)

    def dead(self, offset, raw, reason, **fields):
        row = {
            "source_topic": "email.events.ses", "source_partition": 1, "source_offset": offset,
            "element": -1, "recorded_at": START, "died_at": START + timedelta(seconds=offset),
            "reason": reason, "raw": raw, "headers": [("h", "v")], "replayed_at": None,
        } | fields  # fmt: skip
        table = pa.Table.from_pylist([row], schema=arrow_schema(DEAD))
        store.insert(self.connect(), self.database, DEAD, table)


def made(url, database, **options):
    """Return an API over a migrated database, without facts or keys."""
    for _ in migrate(connect(url, user="default", password=""), Target(database)):
        pass
    api = Api(url, database, None, {})
    api.app = build(
        connect=api.connect, database=database, command=partial(Api.command, api),
        kafka_answers=lambda: api.kafka, **{"rate": 1e5, "burst": 100_000, **options},
    )  # fmt: skip
    return api


def furnished(url, database, **options):
    """Return an API with facts, blacklists and dead letters of the tenants a and b, and keys."""
    api = made(url, database, **{"outcome_seconds": 2, **options})
    for channel, seed in (("email", 1), ("sms", 2)):
        api.feed(facts_of("a", channel, 60, seed))
        theirs = facts_of("b", channel, 20, seed + 2)
        api.feed(completed([{**f, "subject": SECRET, "text": SECRET} for f in theirs], "b"))
    api.line("a", "p1@d1.example", "added", reason="550 a's own")
    api.line("a", "p2@d2.example", "added", rule="complaint")
    api.line("a", "+447700900001", "added", channel="sms", rule="opt_out")
    api.line("b", f"{SECRET}@example.com", "added", reason=SECRET)
    api.dead(7, b"\xff not text", f"no JSON of {SECRET}")
    api.dead(8, b"{}", "no event")
    api.key("a", ["a"], ["read", "reset"])
    api.key("a reader", ["a"])
    api.key("a admin", ["a"], ["read", "admin"])
    api.key("b", ["b"])
    api.key("both", ["a", "b"])
    api.key("operator", ["*"], ["read", "reset", "admin"])
    return api
