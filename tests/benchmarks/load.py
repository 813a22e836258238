"""A history of millions of messages, made in the engine by SQL: four facts a message on average."""

from __future__ import annotations

from datetime import datetime
from string import Template

from projections.ddl import Target
from tests.system import wait_for

#: Half of all messages belong to one tenant, the rest to a hundred small ones.
BIG = "big"
#: Messages whose facts one statement inserts.
SLICE = 125_000
_YEAR = 365 * 86_400
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
    cases = ", ".join(f"luck < {below}, [{facts}]" for below, facts in scenarios.items())
    return f"multiIf({cases}, [])"


_FACTS = Template("""
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
  'load', 0, number
FROM numbers({start:UInt64}, {count:UInt64})
ARRAY JOIN facts AS fact, arrayEnumerate(facts) AS place
""")


def load(client, target: Target, messages: int, *, end: datetime, start: int = 0, stop=None):
    """Yield the number of messages done so far, of those from `start` to `stop` of `messages`.

    Their dates fill the year before `end`, the last the newest: a history grows at its end.
    """
    stop = messages if stop is None else stop
    for done in range(start, stop, SLICE):
        client.command(
            _FACTS.substitute(
                database=target.database, BIG=BIG, YEAR=_YEAR,
                SMS=_scenarios(_SMS), EMAIL=_scenarios(_EMAIL),
            ),
            parameters={
                "start": done, "count": min(SLICE, stop - done), "total": messages,
                "end": int(end.timestamp()), "people": max(2, messages // 20),
            },
        )  # fmt: skip
        yield min(done + SLICE, stop)


def quiet(client, patience=600):
    """Wait until the engine has no merge under way."""
    merges = "SELECT count() FROM system.merges"
    wait_for(lambda: client.query(merges).result_rows[0][0] == 0, "merges to end", patience)
