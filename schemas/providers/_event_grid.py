"""The envelope of Azure Event Grid, in its own schema or as CloudEvents 1.0, alone or in an array.

Sources: Azure Event Grid's docs, "Event Grid event schema" and "CloudEvents v1.0 schema with Azure
Event Grid".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from typing_extensions import TypedDict

from schemas.providers._common import Ignored, read_elements, unknown_event, validator
from schemas.providers._times import iso_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import EventFields
    from schemas.providers._rejections import RejectedPart

D = TypeVar("D")

#: What types of event of all Azure services begin with.
AZURE_PREFIX: Final = "Microsoft."


class _Envelope(TypedDict, total=False):
    id: str | None
    eventType: str | None
    type: str | None  # CloudEvents
    eventTime: str | None
    time: str | None  # CloudEvents
    data: object


_read_envelope: Final = validator(_Envelope)


@dataclass(frozen=True, slots=True)
class OtherTypes:
    """The types of event of all Azure services, but those that begin with a prefix of our own."""

    own_prefix: str

    def __contains__(self, word: object) -> bool:
        return (
            isinstance(word, str)
            and word.startswith(AZURE_PREFIX)
            and not word.startswith(self.own_prefix)
        )


def ignored_types(own_prefix: str) -> Ignored:
    """Return what an adapter ignores that reads the types of event with a prefix."""
    return Ignored(("eventType", "type"), OtherTypes(own_prefix))


def read_events(
    payload: bytes,
    layout: Callable[[object], D],
    readers: Mapping[str, Callable[[D], EventFields]],
    ignored: Ignored,
) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push: of each, `readers` has its type, and `layout` its `data`."""

    def element_events(element: object) -> Iterator[EventFields]:
        envelope: _Envelope = _read_envelope(element)
        word = envelope.get("eventType") or envelope.get("type") or ""
        if word in ignored.words:
            return
        if word not in readers:
            raise unknown_event("Event Grid", word, "eventType")
        fields = readers[word](layout(envelope.get("data")))
        if "occurred_at" not in fields:
            fields |= reported_time(envelope.get("eventTime") or envelope.get("time"), iso_time)
        if event_id := envelope.get("id"):
            fields["provider_event_id"] = event_id
        yield fields

    return read_elements(payload, element_events, ignored)
