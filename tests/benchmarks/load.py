"""A history of millions of messages, made in the engine by SQL: four facts a message or so."""

from __future__ import annotations

import time
from datetime import datetime
from string import Template

from projections.clickhouse.ddl import Target

#: Half of all messages belong to one tenant, the rest to fifty small ones.
BIG = "big"
#: Messages whose events one statement inserts.
SLICE_MESSAGES = 125_000
#: The topic that events of a history name: what comes from Kafka names another.
TOPIC = "load"
#: Without a merge for so long the engine counts as quiet; that is waited for so long.
QUIET_SECONDS, QUIET_TIMEOUT_SECONDS = 3, 1200
#: Over which the dates of messages are spread.
YEAR_SECONDS = 365 * 86_400
#: What happens to an email, by a number of 0 to 99: kind, seconds after the message's date,
#: attempt. The first scenario whose number is above counts.
_EMAIL = {
    2: "('queued', 0, 1), ('sent', 2, 1), ('bounce', 5, 1)",
    4: "('queued', 0, 1), ('sent', 2, 1), ('bounce', 9, 1), ('sent', 900, 2), ('delivery', 905, 2)",
    5: "('queued', 0, 1), ('sent', 2, 1), ('delivery', 6, 1), ('complaint', 7200, 1)",
    6: "('queued', 0, 1), ('invalid', 1, 1)",
    7: "('skipped', 0, 1)",
    8: "('queued', 0, 1), ('sent', 2, 1)",
    35: "('queued', 0, 1), ('sent', 2, 1), ('delivery', 4, 1)",
    80: "('queued', 0, 1), ('sent', 2, 1), ('delivery', 4, 1), ('open', 3600, 1), "
        "('open', 90000, 1)",
    100: "('queued', 0, 1), ('sent', 2, 1), ('delivery', 4, 1), ('open', 1800, 1), "
         "('click', 1860, 1)",
}  # fmt: skip
_SMS = {
    5: "('queued', 0, 1), ('sent', 1, 1), ('undelivered', 60, 1)",
    100: "('queued', 0, 1), ('sent', 1, 1), ('delivery', 9, 1)",
}


def _scenarios(scenarios: dict[int, str]) -> str:
    cases = ", ".join(f"luck < {below}, [{steps}]" for below, steps in scenarios.items())
    return f"multiIf({cases}, [])"


_INSERT = Template("""
INSERT INTO $database.events (
  tenant_id, channel, kind, occurred_at, event_id, message_id, recipient, recorded_at, provider,
  provider_message_id, record_type, record_id, subject, text, attempt, bounce_class, smtp_code,
  enhanced_status, diagnostic, classified_by, url, source_topic, source_partition, source_offset
)
WITH
  sipHash64(number) AS dice,
  dice % 100 AS luck,
  intDiv(dice, 100) % 10 = 0 AS is_sms,
  if(number % 2 = 0, '$BIG', concat('tenant-', toString(number % 100))) AS tenant,
  intDiv(dice, 1000) % intDiv({people:UInt64}, 2) AS person,
  toDateTime64({end:UInt32} - intDiv(({total:UInt64} - number) * $YEAR, {total:UInt64}), 3, 'UTC')
    + toIntervalMillisecond(dice % 1000) AS date,
  if(is_sms, $SMS, $EMAIL) AS facts
SELECT
  tenant, if(is_sms, 'sms', 'email'), fact.1 AS kind,
  date + toIntervalSecond(fact.2) AS occurred,
  lower(hex(sipHash128(number, place))), lower(hex(sipHash128(number))),
  if(is_sms, concat('+4179', leftPad(toString(person), 7, '0')),
     concat('person.', toString(person), '@example', toString(person % 40), '.com')),
  occurred + toIntervalMillisecond(800),
  if(kind IN ('queued', 'invalid', 'skipped'), '', if(is_sms, 'twilio', 'ses')),
  if(kind IN ('queued', 'invalid', 'skipped'), '', hex(sipHash64(number, 1))),
  'family', concat('F-', toString(person)),
  if(kind = 'queued' AND NOT is_sms,
     concat(['Invoice', 'Reminder', 'Newsletter', 'Tickets', 'Welcome', 'Schedule'][1 + dice % 6],
            ' ', toString(intDiv(dice, 7) % 50000)), ''),
  if(kind = 'queued' AND is_sms, concat('Your lesson moves to ', toString(dice % 24), ':00'), ''),
  fact.3,
  if(kind = 'bounce', if(luck < 2, 'hard', 'soft'), ''),
  if(kind = 'bounce', if(luck < 2, 550, 452), 0),
  if(kind = 'bounce', if(luck < 2, '5.1.1', '4.2.2'), ''),
  if(kind = 'bounce', if(luck < 2, 'smtp; 550 5.1.1 no such user', 'smtp; 452 4.2.2 full'), ''),
  if(kind = 'bounce', 'code', ''),
  if(kind = 'click', 'https://example.com/pay', ''),
  '$TOPIC', 0, number
FROM numbers({start:UInt64}, {count:UInt64})
ARRAY JOIN facts AS fact, arrayEnumerate(facts) AS place
""")


def load(
    client, target: Target, messages: int, *, end: datetime, start: int = 0, stop=None, big=BIG
):
    """Yield the number of messages done so far, of those from `start` to `stop` of `messages`.

    Their dates fill the year before `end`, the last the newest: a history grows at its end. Every
    other message belongs to the tenant `big`.
    """
    stop = messages if stop is None else stop
    for done in range(start, stop, SLICE_MESSAGES):
        client.command(
            _INSERT.substitute(
                database=target.database, BIG=big, YEAR=YEAR_SECONDS, TOPIC=TOPIC,
                SMS=_scenarios(_SMS), EMAIL=_scenarios(_EMAIL),
            ),
            parameters={
                "start": done, "count": min(SLICE_MESSAGES, stop - done), "total": messages,
                "end": int(end.timestamp()), "people": 2 * people(messages),
            },
        )  # fmt: skip
        yield min(done + SLICE_MESSAGES, stop)


def people(messages: int) -> int:
    """Return how many people a history of so many messages is about: records `F-0` and on."""
    return max(1, messages // 40)


def filled(client, target: Target, messages: int, console, **more):
    """Load a history as `load` does, print how far, and return whether the engine got quiet."""
    printed_at = time.monotonic()
    for done in load(client, target, messages, **more):
        if time.monotonic() > printed_at + 15:
            printed_at = time.monotonic()
            console.print(f"{done:,} messages loaded")
    return quiet(client, console)


def quiet(client, console, timeout_seconds=QUIET_TIMEOUT_SECONDS):
    """Wait until the engine merges no more; return whether that came in time."""
    begun = last = time.monotonic()
    while (now := time.monotonic()) < last + QUIET_SECONDS:
        if client.query("SELECT count() FROM system.merges").result_rows[0][0]:
            last = now
            if now > begun + timeout_seconds:
                console.print(f"after {timeout_seconds} s merges are still under way: going on")
                return False
        time.sleep(0.2)
    return True
