"""Azure Communication Services SMS: reports on delivery, by Event Grid.

A report is about one message to one number, after all attempts. Why it failed is told only in
words, of which the docs name one: of a number that sent STOP. The tag that the sender set comes
back. Sources: Azure Event Grid's docs, "Azure Communication Services - SMS events"; Azure
Communication Services' docs, "SMS FAQ".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from typing_extensions import TypedDict

from schemas.providers._common import (
    international_number,
    part_count,
    reference_metadata,
    validator,
)
from schemas.providers._event_grid import ignored_types, read_events
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "azure_sms"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`tag`", batches=True)

STATUS_KINDS: Final = {"delivered": "delivery", "failed": "failed"}
#: In the details of a failure, in lower case: the number opted out.
OPTED_OUT_TEXT: Final = "sender blocked for given recipient"
IGNORED: Final = ignored_types("Microsoft.Communication.SMSDelivery")


class _Attempt(TypedDict, total=False):
    segmentsSucceeded: int | None
    segmentsFailed: int | None


class _Data(TypedDict, total=False):
    messageId: str | None
    to: str | None
    deliveryStatus: str | None
    deliveryStatusDetails: str | None
    deliveryAttempts: list[_Attempt] | None
    receivedTimestamp: str | None
    tag: str | None
    Tag: str | None  # as the docs spell it


_read_data: Final = validator(_Data)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    del headers
    return read_events(payload, _read_data, READERS, IGNORED)


def _report(data: _Data) -> EventFields:
    word = data.get("deliveryStatus") or ""
    kind = STATUS_KINDS.get(word.lower())
    if kind is None:
        raise UnreadableError(f"Azure SMS deliveryStatus {word[:60]!r} is not known")
    details = data.get("deliveryStatusDetails") or ""
    if kind == "failed" and OPTED_OUT_TEXT in details.lower():
        kind = "opt_out"
    last = (data.get("deliveryAttempts") or [_Attempt()])[-1]
    fields: EventFields = {
        **reference_metadata(data.get("tag") or data.get("Tag")),
        **part_count((last.get("segmentsSucceeded") or 0) + (last.get("segmentsFailed") or 0)),
        **reported_time(data.get("receivedTimestamp"), iso_time),
        "kind": kind,
        "recipient": international_number(data.get("to") or ""),
        "provider_message_id": data.get("messageId") or "",
        "label": word,
    }
    if details:
        fields["diagnostic"] = details
    return fields


#: The function that reads a report, by its type.
READERS: Final[Mapping[str, Callable[[_Data], EventFields]]] = {
    "Microsoft.Communication.SMSDeliveryReportReceived": _report,
}
