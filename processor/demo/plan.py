"""What the demo feed publishes: a month of history at once, then live traffic as it happens."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final

from processor.demo.broken import broken
from processor.demo.scenarios import records_per_message
from processor.demo.traffic import Message, Pace, disturbed, in_order, messages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from threading import Event
    from typing import TextIO

    from processor.demo.render import Record

HISTORY: Final = timedelta(days=30)
#: Letters of one occasion, at most (forty records with three addresses each).
LARGEST: Final = 120
#: Records a second that `rate` 0 lays live traffic out for; it is published as fast as possible.
UNPACED: Final = 50_000
#: Live stories run this many times faster than life: an open comes seconds after its delivery,
#: a late bounce after a minute. Faster still at high rates, so that few stories are under way.
LIVE_SQUEEZE: Final = 1800
LIVE_RATE: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to publish: `count` messages in all (0: no end), of which `backlog` as history."""

    seed: int
    tenant: str = "demo"
    backlog: int = 3000
    count: int = 0
    rate: float = 50.0
    raw: bool = True
    disturb: bool = False
    broken: bool = False


def planned(plan: Plan, now: datetime, stop: Event, expected: TextIO | None) -> Iterator[Record]:
    """Yield the records of a plan made at `now`; after `stop`, only the rest of told stories.

    The outcome of each message is written to `expected` as one line of JSON.
    """
    history = min(plan.backlog, plan.count) if plan.count else plan.backlog
    if history:
        # Room for the occasion that the count cuts short: none may begin after now.
        gap = HISTORY.total_seconds() / (history + LARGEST)
        past = messages(
            plan.seed, now - HISTORY, tenant=plan.tenant, raw=plan.raw, pace=Pace(gap, 1, now)
        )
        yield from _transported(_told(islice(past, history), stop, expected), plan, window=2000)
    if plan.broken:
        yield from (case.record for case in broken(plan.seed, now, tenant=plan.tenant))
    rest = plan.count - history if plan.count else None
    if rest == 0:
        return
    rate = plan.rate or UNPACED
    pace = Pace(records_per_message() / rate, LIVE_SQUEEZE * max(1.0, rate / LIVE_RATE))
    live = messages(plan.seed, now, tenant=plan.tenant, raw=plan.raw, pace=pace)
    window = max(10, min(2000, int(rate * 2)))
    yield from _transported(_told(islice(live, rest), stop, expected), plan, window=window)


def _told(source: Iterator[Message], stop: Event, expected: TextIO | None) -> Iterator[Message]:
    """Yield messages until `stop`, writing down what each must become."""
    for message in takewhile(lambda _: not stop.is_set(), source):
        if expected:
            expected.write(json.dumps(message.expected._asdict(), ensure_ascii=False) + "\n")
        yield message


def _transported(told: Iterator[Message], plan: Plan, *, window: int) -> Iterator[Record]:
    return disturbed(told, plan.seed, window=window) if plan.disturb else in_order(told)


def when_due(
    records: Iterable[Record], stop: Event, clock: Callable[[], float] = time.time
) -> Iterator[Record]:
    """Yield each record at its own time, at once if that has passed or after `stop`."""
    for record in records:
        ahead = record.timestamp_ms / 1000 - clock()
        if ahead > 0:
            stop.wait(ahead)
        yield record


def as_line(record: Record) -> str:
    """Return a record as one line of JSON; bytes that are no UTF-8 are escaped as surrogates."""
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
