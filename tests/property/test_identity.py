"""However ids are missing: the log is that in which every event had carried its message's id."""

from __future__ import annotations

import random
from collections import defaultdict
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processor.intake.arrow import group_events, table_of
from processor.intake.identity import Identities
from projections.clickhouse.sql import stream
from projections.clickhouse.store import insert_rows
from projections.status import fold_message, read_row
from projections.tables import KEY, projections
from projections.tables.events import TABLE as EVENTS
from projections.tables.unmatched import TABLE as UNMATCHED
from schemas.events import fingerprint, milliseconds
from tests.clickhouse import connect_to
from tests.property.test_laws import comparable
from tests.strategies import START

TENANTS = iter(range(1_000_000))
LOGS = {log.channel: log for log in projections().values()}
SENDS = {"email": "email.sends.shop", "sms": "sms.sends"}
#: What a provider says of an attempt, by channel.
PROVIDER_KINDS = {
    "email": ["delivery", "open", "click", "bounce", "deferral", "complaint"],
    "sms": ["sent", "delivery", "undelivered", "failed", "read"],
}
#: How often a worker is killed after a step, to take the same batch again; and how often while the
#: database has its insert, and takes it at any time later.
KILLED_SHARE = 0.1
#: Steps that others take before a worker starts anew, or what it left is inserted.
MAX_TURNS = 20


class History:
    """Messages with attempts, as their events came, and as they would be with all ids."""

    def __init__(self, dice, tenant, channel):
        self._dice, self._tenant, self._channel = dice, tenant, channel
        self.events, self.canonical = [], []
        for number in range(dice.randint(1, 4)):
            self._message(f"m{number}")

    def _message(self, message_id):
        dice = self._dice
        recipients = [f"r{n}@example.com" for n in range(dice.choice([1, 1, 2]))]
        for attempt in range(1, dice.randint(1, 3) + 1):
            provider_id = f"{message_id}-p{attempt}"
            # An id for all recipients, whom their mailer names, or one for each.
            for recipient in recipients:
                own_id = provider_id if dice.random() < 0.5 else f"{provider_id}-{recipient}"
                self._attempt(message_id, own_id, recipient, recipients, attempt)

    def _attempt(self, message_id, provider_id, recipient, recipients, attempt):
        dice = self._dice
        is_told = dice.random() < 0.5
        sent = {"kind": "sent", "attempt": attempt, "subject": dice.choice(["", "Hello"]),
                "record_type": "family", "record_id": "F-1"}  # fmt: skip
        if is_told:
            sent["provider_message_id"] = provider_id
        self._add(sent, message_id, recipient, "mailer")
        if not is_told:
            note = {"kind": "note", "attempt": attempt, "provider_message_id": provider_id}
            self._add(note, message_id, recipient, "mailer")
        for _ in range(dice.randint(0, 4)):
            event = {
                "kind": dice.choice(PROVIDER_KINDS[self._channel]), "provider": "ses",
                "provider_message_id": provider_id, "attempt": attempt,
                "bounce_class": dice.choice(["hard", "soft"]),
            }  # fmt: skip
            echoes = dice.random() < 0.3
            names = len(recipients) > 1 or dice.random() < 0.7
            came = {} if echoes else {"message_id": provider_id, "attempt": 1}
            if not names:
                came["recipient"] = ""
            self._add(event, message_id, recipient, "feed", came)

    def _add(self, fields, message_id, recipient, source, came_with=None):
        """Add an event of a message; `came_with` is what it has otherwise as it comes."""
        at = START + timedelta(seconds=self._dice.randint(0, 10_000))
        event = {
            "channel": self._channel, "tenant_id": self._tenant, "occurred_at": at,
            "recorded_ms": milliseconds(at), "source_offset": 1, **fields,
            "message_id": message_id, "recipient": recipient,
        }  # fmt: skip
        came = {**event, **(came_with or {})}
        came["event_id"] = fingerprint(came)
        self.canonical.append({**event, "event_id": came["event_id"], "recorded_at": at})
        self.events.append((source, came))

    def rows(self):
        """Return the rows of the log in which every event carries its message's id."""
        log, by_key = LOGS[self._channel], defaultdict(dict)
        for event in self.canonical:
            if event["kind"] in log.kinds:
                by_key[tuple(event[name] for name in KEY)][event["event_id"]] = event
        return [
            comparable(read_row(
                log, dict(zip(KEY, key, strict=True)), fold_message(log, events.values())
            ))
            for key, events in sorted(by_key.items())
        ]  # fmt: skip


class KilledError(Exception):
    """A worker has ended between two steps."""


class Worker:
    """Takes batches as intake does, and now and then is killed, to start anew."""

    def __init__(self, dice, connect, database, channel, workers):
        self._dice, self._connect, self._database = dice, connect, database
        self._channel, self._workers = channel, workers

    def take(self, batches):
        """Take batches; stop after each step."""
        is_repeated = False
        while batches:
            with suppress(KilledError), self._connect() as client:
                identities = Identities(self._connect, self._database)
                while batches:
                    for _ in self._write(identities, client, *batches[0], is_repeated):
                        yield
                        self._live_or_die()
                    batches.pop(0)
                    is_repeated = False
            is_repeated = True
            yield from self._while()  # until another takes it

    def _live_or_die(self):
        if self._dice.random() < KILLED_SHARE:
            raise KilledError

    def _while(self):
        """Let others take some steps."""
        for _ in range(self._dice.randint(1, MAX_TURNS)):
            yield

    def _write(self, identities, client, source, batch, is_repeated):
        """Take a batch; stop after each step."""
        events = [dict(event) for event in batch]
        if source == "feed" and not is_repeated:
            identities.resolve(events)
        yield
        topic = SENDS[self._channel] if source == "mailer" else f"{self._channel}.events.ses"
        rows = table_of(group_events(events), topic, 0)
        if self._dice.random() < KILLED_SHARE:
            self._workers.append(self._insert_late(rows))
            raise KilledError
        insert_rows(client, self._database, EVENTS, rows)
        yield
        joined = identities.join([rows])
        yield
        insert_rows(client, self._database, UNMATCHED, joined.marks)
        yield

    def _insert_late(self, rows):
        """Insert what a worker left that was killed."""
        yield from self._while()
        with self._connect() as client:
            insert_rows(client, self._database, EVENTS, rows)


END = object()


def run_in_turn(dice, workers):
    """Let workers take their steps in a random order."""
    while workers:
        each = dice.choice(workers)
        if next(each, END) is END:
            workers.remove(each)


@pytest.mark.parametrize("channel", ["email", "sms"])
@given(seed=st.integers(0, 1 << 32))
@settings(
    max_examples=25, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_ids_that_are_missing_change_no_row(migrated, fresh_database, channel, seed):
    dice, tenant = random.Random(seed), f"t{next(TENANTS)}"
    history = History(dice, tenant, channel)
    came = history.events + dice.choices(history.events, k=5)
    dice.shuffle(came)
    shares = [[], []]
    while came:
        size = dice.randint(1, 6)
        part, came = came[:size], came[size:]
        for source in ("mailer", "feed"):
            if batch := [event for from_, event in part if from_ == source]:
                dice.choice(shares).append((source, batch))

    def connect():
        return connect_to(fresh_database.url)

    workers = []
    taker = Worker(dice, connect, migrated.name, channel, workers)
    workers += [taker.take(share) for share in shares]
    run_in_turn(dice, workers)
    log = LOGS[channel]
    rows = stream(
        migrated.client,
        f"SELECT * FROM {migrated.name}.{log.name} WHERE tenant_id = {{tenant:String}} "
        "ORDER BY tenant_id, recipient, message_id",
        {"tenant": tenant},
    )
    assert [comparable(row) for row in rows] == history.rows()
