"""History on its way to a feed's topic: which payloads are published, as what, and which are not.

A payload is published unchanged to the topic of its provider, so that it becomes what the webhook
became: the same events by the same adapter. What the log has already of an inexact one is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, TypeAlias

from processor.imports.payloads import BadLine, LeftOut, SourcePayload
from processor.kafka.records import RECORDED_AT_HEADER
from processor.kafka.topics import MAX_MESSAGE_BYTES
from projections.queries.known_events import EventMark, mark_of
from schemas.addresses import NumberRegions, normalise_address
from schemas.events import EPOCH, EventFields
from schemas.providers import DEFAULT_TENANT_HEADER, TENANT_HEADER, Adapter, decode

#: Payloads that are looked up in the log together.
LOOKUP_PAYLOADS: Final = 1_000
#: Stands in for the time of events that have none: no event has this one.
_NO_TIME_MS: Final = 1
_NO_TIME: Final = EPOCH + timedelta(milliseconds=_NO_TIME_MS)

#: Returns which events of some time the log has.
FindKnown: TypeAlias = Callable[[Sequence[EventMark], datetime, datetime], set[EventMark]]


def none_known(marks: Sequence[EventMark], since: datetime, until: datetime) -> set[EventMark]:
    """Take the log for empty: it is not asked."""
    del marks, since, until
    return set()


class ImportRecord(NamedTuple):
    """A record to publish, and the events that it is expected to become."""

    value: bytes
    headers: Sequence[tuple[str, bytes]]
    events: Sequence[EventFields]
    source: SourcePayload


@dataclass(slots=True)
class ImportCounts:
    """What an import has done so far, by what became of payloads."""

    published: int = 0
    #: Events of what is published, by kind.
    events: Counter[str] = field(default_factory=Counter)
    #: What is not published, by why.
    left_out: Counter[str] = field(default_factory=Counter)
    bad: int = 0
    unmatched: int = 0
    #: Bounces that blacklist nobody by themselves.
    lenient_bounces: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None

    def add(self, record: ImportRecord) -> None:
        """Count a record that is published."""
        self.published += 1
        for event in record.events:
            self.events[event["kind"]] += 1
            at = event["occurred_at"]
            self.first_at = min(self.first_at or at, at)
            self.last_at = max(self.last_at or at, at)
            self.unmatched += event["message_id"] == event.get("provider_message_id", "")
            self.lenient_bounces += (
                event["kind"] == "bounce" and event.get("bounce_class") != "hard"
            )


@dataclass(frozen=True, kw_only=True)
class HistoryImport:
    """How payloads of one provider are imported.

    The events are the `tenant`'s, whatever a payload says; if `shared`, only those of payloads that
    name none. What happened before `since`, or from `until` on, is left out.
    """

    adapter: Adapter
    tenant: str
    shared: bool = False
    since: datetime | None = None
    until: datetime | None = None
    regions: NumberRegions = field(default_factory=NumberRegions)
    max_record_bytes: int = MAX_MESSAGE_BYTES
    find_known: FindKnown = none_known
    counts: ImportCounts = field(default_factory=ImportCounts)

    def records(
        self, items: Iterable[SourcePayload | BadLine | LeftOut]
    ) -> Iterator[ImportRecord | BadLine | LeftOut]:
        """Yield for each item, in order, its record, or why there is none.

        Raises what `find_known` raises.
        """
        items = iter(items)
        while batch := list(islice(items, LOOKUP_PAYLOADS)):
            results = [
                self._record(item) if isinstance(item, SourcePayload) else item for item in batch
            ]
            for result in self._without_known(results):
                match result:
                    case BadLine():
                        self.counts.bad += 1
                    case LeftOut(why=why):
                        self.counts.left_out[why] += 1
                    case ImportRecord():
                        self.counts.add(result)
                yield result

    def _record(self, item: SourcePayload) -> ImportRecord | BadLine | LeftOut:
        headers = dict(item.headers) | {
            DEFAULT_TENANT_HEADER if self.shared else TENANT_HEADER: self.tenant
        }
        place, arrived_ms = (item.file, item.line), item.recorded_ms
        if len(item.payload) > self.max_record_bytes:
            limit = f"the limit is {self.max_record_bytes:,}"
            return BadLine(*place, f"a payload of {len(item.payload):,} bytes, and {limit}")
        decoded = decode(
            self.adapter, item.payload, headers,
            _NO_TIME_MS if arrived_ms is None else arrived_ms, self.tenant,
        )  # fmt: skip
        if not decoded.events:
            if decoded.rejected:
                return BadLine(*place, decoded.rejected[0].reason)
            return LeftOut(*place, "about no message that was sent")
        if any(event["occurred_at"] == _NO_TIME for event in decoded.events):
            return BadLine(
                *place, "its event has no time of its own, and the file does not say when it came"
            )
        if not any(map(self._is_within, decoded.events)):
            return LeftOut(*place, "outside of --since and --until")
        if arrived_ms is not None:
            headers[RECORDED_AT_HEADER] = str(arrived_ms)
        pairs = [(name, value.encode()) for name, value in headers.items()]
        return ImportRecord(item.payload, pairs, decoded.events, item)

    def _is_within(self, event: Mapping[str, object]) -> bool:
        at = event["occurred_at"]
        assert isinstance(at, datetime)
        is_before = self.since is not None and at < self.since
        return not is_before and not (self.until is not None and at >= self.until)

    def _without_known(
        self, results: Sequence[ImportRecord | BadLine | LeftOut]
    ) -> Iterator[ImportRecord | BadLine | LeftOut]:
        """Yield results; those of inexact payloads whose events the log has are left out."""
        marks = {
            place: self._marks(result)
            for place, result in enumerate(results)
            if isinstance(result, ImportRecord) and not result.source.exact
        }
        known = set[EventMark]()
        if marks:
            inexact = [results[place] for place in marks]
            times = [
                event["occurred_at"] for each in inexact if isinstance(each, ImportRecord)
                for event in each.events
            ]  # fmt: skip
            known = self.find_known(sorted(set().union(*marks.values())), min(times), max(times))
        for place, result in enumerate(results):
            if place in marks and marks[place] <= known and isinstance(result, ImportRecord):
                yield LeftOut(result.source.file, result.source.line, "in the log already")
            else:
                yield result

    def _marks(self, record: ImportRecord) -> set[EventMark]:
        """Return what the events of a payload are recognised by."""
        channel = self.adapter.CHANNEL
        return {
            mark_of(
                tenant := event["tenant_id"], event["kind"],
                event.get("provider_message_id") or "",
                normalise_address(channel, event["recipient"], self.regions.of(tenant)),
                event["occurred_at"],
            )
            for event in record.events
        }  # fmt: skip
