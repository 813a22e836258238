"""What the demo feed publishes: a month of history at once, then live traffic in real time."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from processor.demo.broken import broken_records
from processor.demo.scenarios import records_per_message
from processor.demo.traffic import Message, Pace, disturbed, in_order, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from threading import Event
    from typing import TextIO

    from processor.demo.render import DemoRecord

BACKLOG_PERIOD: Final = timedelta(days=30)
#: The largest number of messages for one occasion: forty records with three addresses each.
MAX_MAILING_MESSAGES: Final = 120
#: Records a second that live traffic is planned for if `rate` is 0 (as fast as possible).
UNPACED_RATE: Final = 50_000
#: Live stories run this many times faster than real ones: an open follows its delivery by seconds,
#: a late bounce by a minute. Above `LIVE_RATE` records a second they run even faster, so that few
#: stories are unfinished at any time.
LIVE_SQUEEZE: Final = 1800
LIVE_RATE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to publish: `count` messages (0: no end), `backlog` of them as history."""

    seed: int
    tenant: str = "demo"
    backlog: int = 3000
    count: int = 0
    rate: float = 50.0
    raw: bool = True
    disturb: bool = False
    broken: bool = False


def planned_records(
    plan: Plan, now: datetime, stop: Event, expected: TextIO | None
) -> Iterator[DemoRecord]:
    """Yield the records of a plan from `now` on; after `stop`, only the rest of begun stories.

    The expected row of each message is written to `expected` as a line of JSON.
    """
    history = min(plan.backlog, plan.count) if plan.count else plan.backlog
    if history:
        # Leave room for the last occasion, which the count cuts short: none may begin after `now`.
        gap = BACKLOG_PERIOD.total_seconds() / (history + MAX_MAILING_MESSAGES)
        past = messages(
            plan.seed, now - BACKLOG_PERIOD, tenant=plan.tenant, raw=plan.raw,
            pace=Pace(gap, 1, now),
        )  # fmt: skip
        past = _with_expected(islice(past, history), stop, expected)
        yield from _in_transit(past, plan, window=2000)
    if plan.broken:
        yield from (case.record for case in broken_records(plan.seed, now, tenant=plan.tenant))
    rest = plan.count - history if plan.count else None
    if rest == 0:
        return
    rate = plan.rate or UNPACED_RATE
    pace = Pace(records_per_message() / rate, LIVE_SQUEEZE * max(1.0, rate / LIVE_RATE))
    live = messages(plan.seed, now, tenant=plan.tenant, raw=plan.raw, pace=pace)
    window = max(10, min(2000, int(rate * 2)))
    live = _with_expected(islice(live, rest), stop, expected)
    yield from _in_transit(live, plan, window=window)


def _with_expected(
    source: Iterator[Message], stop: Event, expected: TextIO | None
) -> Iterator[Message]:
    """Yield messages until `stop`, and write the expected row of each."""
    for message in takewhile(lambda _: not stop.is_set(), source):
        if expected:
            expected.write(json.dumps(message.expected._asdict(), ensure_ascii=False) + "\n")
        yield message


def _in_transit(source: Iterator[Message], plan: Plan, *, window: int) -> Iterator[DemoRecord]:
    return disturbed(source, plan.seed, window=window) if plan.disturb else in_order(source)


def paced(
    records: Iterable[DemoRecord], stop: Event, clock: Callable[[], float] = time.time
) -> Iterator[DemoRecord]:
    """Yield each record at its own time; at once if that has passed, or after `stop`."""
    for record in records:
        ahead = record.timestamp_ms / 1000 - clock()
        if ahead > 0:
            stop.wait(ahead)
        yield record


def to_json_line(record: DemoRecord) -> str:
    """Return a record as a line of JSON; bytes that are not UTF-8 become surrogates."""
    topic, key, value, headers, timestamp_ms = record
    return json.dumps(
        {
            "topic": topic,
            "key": key.decode() if key is not None else None,
            "value": value.decode("utf-8", "surrogateescape"),
            "headers": {name: header.decode() for name, header in headers},
            "timestamp_ms": timestamp_ms,
        }
    )
