"""An endless, reproducible stream of messages, and the effects of transport on it.

Everything follows from the seed and the start; no clock is read. `messages` yields each message
with all its records, `in_order` merges the records by time, `disturbed` repeats, reorders and
delays them, as redelivery and several partitions do, and loses none.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple

from processor.demo.business import Business, OutgoingMessage, random_uuid
from processor.demo.render import DemoRecord, render_records
from processor.demo.scenarios import SCENARIOS, ExpectedRow, Scenario
from schemas.events import milliseconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

#: The messages of an occasion are sent in a burst, in this share of the time they have.
BURST_SHARE: Final = 0.25


class Message(NamedTuple):
    """A row of the log, as it must be, and the records that make it, in order of time."""

    expected: ExpectedRow
    records: list[DemoRecord]


class Pace(NamedTuple):
    """How traffic is spread over time.

    `gap` is the average number of seconds between two messages. Stories run `squeeze` times faster.
    No step is later than `until`: the stories of late messages are squeezed to fit.
    """

    gap: float = 20.0
    squeeze: float = 1.0
    until: datetime | None = None


#: The traffic of a small business: a message every twenty seconds, in real time.
USUAL_PACE: Final = Pace()


def messages(
    seed: int,
    start: datetime,
    *,
    tenant: str = "demo",
    raw: bool = True,
    pace: Pace = USUAL_PACE,
    families: int = 400,
) -> Iterator[Message]:
    """Yield messages without end, in order of the time of their first record.

    The business (`families` and their addresses) follows from `seed`, its messages from `seed` and
    `start`. With `raw`, events of providers have the provider's own format.
    """
    begin = milliseconds(start)
    rng = Random(f"{seed}/{begin}")  # noqa: S311 - reproducible, not secret
    business = Business(Random(seed), rng, tenant=tenant, families=families)  # noqa: S311
    weights = {
        channel: tuple(accumulate(scenario.weight for scenario in table))
        for channel, table in SCENARIOS.items()
    }
    writer = StoryWriter(rng, pace, raw)
    now_ms, gap_ms = float(begin), pace.gap * 1000
    for mailing in business.mailings():
        mailing_ms = gap_ms * len(mailing)
        at = now_ms + mailing_ms * (1 - BURST_SHARE) * rng.random()
        now_ms += mailing_ms
        for outgoing in mailing:
            channel = outgoing.channel
            scenario = rng.choices(SCENARIOS[channel], cum_weights=weights[channel])[0]
            message = business.with_fresh_address(outgoing) if scenario.spoils else outgoing
            yield writer.write(message, scenario, int(at))
            at += gap_ms * BURST_SHARE


def every_scenario(
    seed: int, start: datetime, *, tenant: str = "demo", raw: bool = True
) -> list[Message]:
    """Return one message for each scenario of each channel, in the order of the tables."""
    rng = Random(seed)  # noqa: S311
    business = Business(rng, rng, tenant=tenant, families=20)
    writer, messages = StoryWriter(rng, USUAL_PACE, raw), []
    for channel, table in SCENARIOS.items():
        outgoing = (message for mailing in business.mailings() for message in mailing)
        of_channel = (message for message in outgoing if message.channel == channel)
        for scenario, message in zip(table, of_channel, strict=False):
            fresh = business.with_fresh_address(message)._replace(message_id=random_uuid(rng))
            messages.append(writer.write(fresh, scenario, milliseconds(start)))
    return messages


class StoryWriter(NamedTuple):
    """Writes stories: draws their times and alternatives."""

    rng: Random
    pace: Pace
    raw: bool

    def write(self, message: OutgoingMessage, scenario: Scenario, at: int) -> Message:
        """Return a message with its story, which begins at `at` (milliseconds since 1970)."""
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
        expected = ExpectedRow(
            message.channel, message.tenant_id, message.message_id, message.recipient,
            scenario.name, *scenario.ending,
        )  # fmt: skip
        return Message(expected, render_records(message, story, rng, raw=self.raw))


def in_order(messages: Iterable[Message]) -> Iterator[DemoRecord]:
    """Yield the records of all messages in order of time; so must be the messages themselves."""
    waiting: list[tuple[int, int, DemoRecord]] = []
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
) -> Iterator[DemoRecord]:
    """Yield all records, out of order within about `window` records, some twice, some very late.

    `duplicates` is the share of records that come twice, `late` the share that come twenty windows
    later. Nothing is lost: what is still held back comes at the end.
    """
    rng = Random(seed)  # noqa: S311
    pool: list[DemoRecord] = []
    held: deque[tuple[int, DemoRecord]] = deque()
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
            yield _take_random(pool, rng)
    while pool:
        yield _take_random(pool, rng)
    for _, record in held:
        yield record


def _take_random(pool: list[DemoRecord], rng: Random) -> DemoRecord:
    """Remove a random record from the pool, and return it."""
    place = int(rng.random() * len(pool))
    pool[place], pool[-1] = pool[-1], pool[place]
    return pool.pop()
