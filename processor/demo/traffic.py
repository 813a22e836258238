"""The endless, reproducible stream of messages, and what transport does to it.

Everything follows from the seed and the start: no clock is read here. `messages` tells each
message's whole story; `in_order` merges the stories by time; `disturbed` repeats, reorders and
delays records as redelivery and several partitions do, and loses none.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.demo.business import Business, Letter, identifier
from processor.demo.render import Record, render
from processor.demo.scenarios import SCENARIOS, Expected, Scenario
from schemas.events import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

#: The letters of one occasion go out in a burst: in this part of the time that is theirs.
BURST: Final = 0.25


class Message(NamedTuple):
    """One row of the log: the records that make it, in order of time, and what it must say."""

    expected: Expected
    records: list[Record]


class Pace(NamedTuple):
    """How traffic is spread over time.

    `gap`: seconds between two messages, on average. `squeeze`: stories run so many times faster.
    `until`: no step is later than this; the stories of late messages are squeezed to fit.
    """

    gap: float = 20.0
    squeeze: float = 1.0
    until: datetime | None = None


#: The traffic of a small business: a message every twenty seconds, told in real time.
USUAL: Final = Pace()


def messages(
    seed: int,
    start: datetime,
    *,
    tenant: str = "demo",
    raw: bool = True,
    pace: Pace = USUAL,
    families: int = 400,
) -> Iterator[Message]:
    """Yield messages without end, in order of the time of their first record.

    The business (`families` and their addresses) is the same for one `seed`; what it writes, the
    same for one seed and `start`. `raw` gives providers' events in their own formats, else all is
    facts.
    """
    begin = milliseconds(start)
    rng = Random(f"{seed}/{begin}")  # noqa: S311 - reproducible, not secret
    business = Business(Random(seed), rng, tenant=tenant, families=families)  # noqa: S311
    weights = {
        channel: tuple(accumulate(scenario.weight for scenario in table))
        for channel, table in SCENARIOS.items()
    }
    teller = Teller(rng, pace, raw)
    now, gap = float(begin), pace.gap * 1000
    for letters in business.letters():
        theirs = gap * len(letters)
        at = now + theirs * (1 - BURST) * rng.random()
        now += theirs
        for letter in letters:
            channel = letter.channel
            scenario = rng.choices(SCENARIOS[channel], cum_weights=weights[channel])[0]
            addressed = business.fresh(letter) if scenario.spoils else letter
            yield teller.tell(addressed, scenario, int(at))
            at += gap * BURST


def every_scenario(
    seed: int, start: datetime, *, tenant: str = "demo", raw: bool = True
) -> list[Message]:
    """Return one message for each scenario of each channel, in the order of the tables."""
    rng = Random(seed)  # noqa: S311
    business = Business(rng, rng, tenant=tenant, families=20)
    teller, told = Teller(rng, USUAL, raw), []
    for channel, table in SCENARIOS.items():
        letters = (letter for some in business.letters() for letter in some)
        ours = (letter for letter in letters if letter.channel == channel)
        for scenario, letter in zip(table, ours, strict=False):
            fresh = business.fresh(letter)._replace(message_id=identifier(rng))
            told.append(teller.tell(fresh, scenario, milliseconds(start)))
    return told


class Teller(NamedTuple):
    """Tells stories: draws their times and alternatives."""

    rng: Random
    pace: Pace
    raw: bool

    def tell(self, letter: Letter, scenario: Scenario, at: int) -> Message:
        """Return the story of one letter, from the time `at` (milliseconds since 1970)."""
        rng, pace = self.rng, self.pace
        times, passed = [], 0.0
        for step in scenario.steps:
            passed += step.after * (0.5 + rng.random())
            times.append(passed)
        scale = 1000 / pace.squeeze
        if pace.until and passed:
            scale = min(scale, max(0, milliseconds(pace.until) - at) / passed)
        story, earliest = [], at
        for step, time in zip(scenario.steps, times, strict=True):
            earliest = max(earliest, at + int(time * scale))
            story.append((step, earliest))
            earliest += 1  # the steps keep their order, however fast the story runs
        expected = Expected(
            letter.channel, letter.tenant_id, letter.message_id, letter.recipient, scenario.name,
            *scenario.outcome,
        )  # fmt: skip
        return Message(expected, render(letter, story, rng, raw=self.raw))


def in_order(messages: Iterable[Message]) -> Iterator[Record]:
    """Yield the records of all messages in order of time; these must come in order of theirs."""
    waiting: list[tuple[int, int, Record]] = []
    count = 0
    for message in messages:
        start = message.records[0].timestamp_ms
        while waiting and waiting[0][0] <= start:
            yield heappop(waiting)[2]
        for record in message.records:
            heappush(waiting, (record.timestamp_ms, count, record))
            count += 1
    while waiting:
        yield heappop(waiting)[2]


def disturbed(
    messages: Iterable[Message],
    seed: int,
    duplicates: float = 0.1,
    window: int = 2000,
    late: float = 0.01,
) -> Iterator[Record]:
    """Yield all records, out of order within about `window` records, some twice, some very late.

    `duplicates` and `late` are the shares of records that come a second time, and of those that
    come twenty windows later. Nothing is lost: what is held back comes at the end.
    """
    rng = Random(seed)  # noqa: S311
    pool: list[Record] = []
    held: deque[tuple[int, Record]] = deque()
    for count, record in enumerate(in_order(messages)):
        if rng.random() < late:
            held.append((count + 20 * window, record))
        else:
            pool.append(record)
        if rng.random() < duplicates:
            pool.append(record)
        while held and held[0][0] <= count:
            pool.append(held.popleft()[1])
        while len(pool) > window:
            yield _drawn(pool, rng)
    while pool:
        yield _drawn(pool, rng)
    for _, record in held:
        yield record


def _drawn(pool: list[Record], rng: Random) -> Record:
    """Take one record out of the pool."""
    place = int(rng.random() * len(pool))
    pool[place], pool[-1] = pool[-1], pool[place]
    return pool.pop()
