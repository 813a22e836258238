"""Topics of nothing but bad records are read slowly, so that the others go on.

After so many bad records in a row, the topic is paused after each chunk for as long as its records
would take at a slow pace. They become dead letters, at that pace; a record that can be read ends
it, and so does quiet. What is paused stays in Kafka, and nothing is shared between workers or kept
for the next: whoever reads on counts anew.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Final

from processor import metrics
from processor.intake.decoder import DecodedChunk
from processor.kafka.topics import has_adapter
from processor.logging import get

log = get(__name__)

#: After so many seconds without another bad record a topic is read as usual again.
QUIET_SECONDS: Final = 60.0


class TopicPauses:
    """Counts bad records in a row; runs in the event loop."""

    def __init__(self, *, after_bad: int, rate: float, pause: Callable[[str, bool], None]) -> None:
        """Take the number of bad records in a row, the records a second from then on, and a pause.

        `pause` is called with a topic, and whether it is to be paused or to go on.
        """
        self._after_bad, self._rate, self._pause = after_bad, rate, pause
        self._bad_in_a_row: Counter[str] = Counter()
        #: What happens next to each topic that is read slowly: it goes on, or is read as usual.
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._paused_until: dict[str, float] = {}

    def count(self, decoded: DecodedChunk) -> None:
        """Count a chunk's bad records; pause its topic if it has nothing else."""
        topic = decoded.chunk.topic
        if not decoded.is_all_rejected:
            self._end(topic)
            return
        if not has_adapter(topic):  # every record is rejected, by definition
            return
        bad = len({rejection.record.offset for rejection in decoded.rejections})
        self._bad_in_a_row[topic] += bad
        if self._bad_in_a_row[topic] < self._after_bad:
            return
        if topic not in self._timers:
            metrics.PAUSED_TOPICS.labels(topic=topic).set(1)
            log.error(
                "topic_paused", topic=topic, bad_in_a_row=self._bad_in_a_row[topic],
                reason=decoded.rejections[-1].reason, records_per_second=self._rate,
            )  # fmt: skip
        self._pause(topic, True)
        # A chunk that was fetched before the pause makes it longer.
        begin = max(asyncio.get_running_loop().time(), self._paused_until.get(topic, 0.0))
        self._paused_until[topic] = begin + bad / self._rate
        self._set_timer(topic, self._paused_until[topic], self._go_on)

    def _go_on(self, topic: str) -> None:
        self._pause(topic, False)
        self._set_timer(topic, asyncio.get_running_loop().time() + QUIET_SECONDS, self._end)

    def _end(self, topic: str) -> None:
        """Read a topic as usual from now on."""
        self._bad_in_a_row[topic] = 0
        if timer := self._timers.pop(topic, None):
            timer.cancel()
            del self._paused_until[topic]
            self._pause(topic, False)
            metrics.PAUSED_TOPICS.labels(topic=topic).set(0)
            log.info("topic_resumed", topic=topic)

    def _set_timer(self, topic: str, at: float, step: Callable[[str], None]) -> None:
        if timer := self._timers.get(topic):
            timer.cancel()
        self._timers[topic] = asyncio.get_running_loop().call_at(at, step, topic)
