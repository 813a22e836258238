"""What must come of a template's history: facts, rows, blacklist and retries, for any tenant.

All of it follows from the generator's stories, whose endings were written by hand. Digests are of
content without the tenant, so one of each stands for all tenants of a template.
"""

from __future__ import annotations

import json
from datetime import datetime
from hashlib import md5
from typing import NamedTuple

from processor.kafka.topics import MAILER_CHANNELS
from schemas.events import milliseconds
from tests.faults.silence import attempts_of, provider_events

SEPARATOR = "\x1f"
MASK = (1 << 64) - 1
#: The rule that blacklists the address of each scenario; those of all others are spared.
RULES = {
    "hard bounce": "hard_bounce",
    "hard bounce long after delivery": "hard_bounce",
    "click after a hard bounce": "hard_bounce",
    "hard bounce, superseded by a second attempt": "hard_bounce",
    "suppressed by the provider": "echo",
    "complaint after an open": "complaint",
    "unsubscribe after a click": "unsubscribe",
    "opted out": "opt_out",
}
#: Scenarios with soft bounces, and the retries that must be requested: more of them may be, where
#: a bounce is read before what came after it.
CERTAIN_RETRIES = {
    "soft bounce, retry pending": (2,),
    "soft bounce, then delivery": (),
    "soft bounces, retries exhausted": (),
}
MAX_ATTEMPT = 4

#: In SQL, what is digested.
SQL_FACT_KEY = (
    "concatWithSeparator('\\x1f', message_id, recipient, toString(kind), "
    "toString(toUnixTimestamp64Milli(occurred_at)), toString(attempt), toString(part), url)"
)
SQL_ROW_KEYS = {
    "email_log": (
        "concatWithSeparator('\\x1f', message_id, recipient, toString(status), "
        "toString(open_count), toString(click_count), toString(soft_bounce_count), "
        "toString(attempts), toString(complained_at IS NOT NULL), "
        "toString(unsubscribed_at IS NOT NULL), toString(machine_opened_at IS NOT NULL))"
    ),
    "sms_log": "concatWithSeparator('\\x1f', message_id, recipient, toString(status))",
}


class Digest(NamedTuple):
    """How many different things there are, and the sum of their hashes."""

    count: int
    total: int


def digest(keys):
    """Return the digest of distinct keys."""
    hashes = [int.from_bytes(md5(key.encode()).digest()[:8]) for key in set(keys)]
    return Digest(len(hashes), sum(hashes) & MASK)


def fact_keys(record):
    """Yield the key of each fact of a generated record."""
    if record.topic in MAILER_CHANNELS:
        fact = json.loads(record.value)
        at = datetime.fromisoformat(fact["occurred_at"])
        yield fact_key(
            fact["message_id"], fact["recipient"], fact["kind"], milliseconds(at),
            fact.get("attempt", 1), fact.get("part", 0), fact.get("url", ""),
        )  # fmt: skip
        return
    for event in provider_events(record):
        yield fact_key(
            event.message_id, event.recipient, event.kind, milliseconds(event.occurred_at),
            event.attempt, event.part or 0, event.url,
        )  # fmt: skip


def fact_key(*fields):
    return SEPARATOR.join(map(str, fields))


def row_key(row):
    fields = [row.message_id, row.recipient, row.status]
    if row.channel == "email":
        fields += [
            row.open_count, row.click_count, row.soft_bounce_count, row.attempts,
            int(row.complained), int(row.unsubscribed), int(row.machine_opened),
        ]  # fmt: skip
    return SEPARATOR.join(map(str, fields))


class Expectation:
    """What must come of a template."""

    def __init__(self, template):
        self.fact_keys = {key for record in template.meant for key in fact_keys(record)}
        self.facts = digest(self.fact_keys)
        rows = template.expected
        self.rows = {
            f"{channel}_log": digest(row_key(row) for row in rows if row.channel == channel)
            for channel in ("email", "sms")
        }
        #: Rows that must have a contradiction, and those that may.
        self.conflicts = {_id(row) for row in rows if row.conflict}
        self.possible_conflicts = {_id(row) for row in rows if row.conflict is not False}
        #: Rows in which the reason of the status must be, with it.
        self.reasons = {_id(row): row.reason for row in rows if row.reason}
        self.suppressions = {
            (row.channel, row.recipient, RULES[row.scenario])
            for row in rows if row.scenario in RULES
        }  # fmt: skip
        self.retries, self.possible_retries = set(), set()
        for row in rows:
            if row.scenario in CERTAIN_RETRIES:
                attempts = CERTAIN_RETRIES[row.scenario]
                self.retries |= {(*_id(row), attempt) for attempt in attempts}
                self.possible_retries |= {
                    (*_id(row), attempt) for attempt in range(2, MAX_ATTEMPT + 1)
                }
        #: The attempts that ids of providers stand for, if nothing but a note says so.
        self.attempts = {
            attempt.provider_message_id: attempt
            for attempt in (attempts_of(template.meant) if template.is_silent else ())
        }


def _id(row):
    return row.message_id, row.recipient
