"""Azure Communication Services email: reports on delivery and engagement, by Event Grid.

A report is about one recipient, except that one of engagement may name none. Azure counts every
status but `Delivered` as failed; `Expanded` is a list whose members get reports of their own, and
`Failed` says of the cause nothing. A sender's metadata is not echoed. Sources: Azure Event Grid's
docs, "Azure Communication Services - Email events"; `AcsEmailDeliveryReportStatus` of its SDKs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import reply_fields, validator
from schemas.providers._event_grid import ignored_types, read_events
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "azure"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="",
    recipient="yes; opens and clicks may not",
    opens="unmarked",
    batches=True,
)

STATUS_KINDS: Final = {
    "Delivered": "delivery",
    "Expanded": "note",
    "Suppressed": "invalid",
    "Bounced": "bounce",
    "Quarantined": "bounce",
    "FilteredSpam": "bounce",
    "Failed": "bounce",
}
#: `Bounced` is for addresses and domains that do not exist.
STATUS_CLASSES: Final[Mapping[str, BounceClass]] = {
    "Bounced": "hard",
    "Quarantined": "block",
    "FilteredSpam": "block",
}
ENGAGEMENT_KINDS: Final = {"view": "open", "click": "click"}
IGNORED: Final = ignored_types("Microsoft.Communication.Email")


class _Details(TypedDict, total=False):
    statusMessage: str | None


class _Data(TypedDict, total=False):
    recipient: str | None
    messageId: str | None
    status: str | None
    deliveryStatusDetails: _Details | None
    deliveryAttemptTimestamp: str | None
    deliveryAttemptTimeStamp: str | None  # as the docs spell it
    engagementType: str | None
    engagementContext: str | None
    userAgent: str | None
    userActionTimestamp: str | None
    userActionTimeStamp: str | None  # as the docs spell it


_read_data: Final = validator(_Data)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    del headers
    return read_events(payload, _read_data, READERS, IGNORED)


def _delivery(data: _Data) -> EventFields:
    status = data.get("status") or ""
    if status not in STATUS_KINDS:
        raise UnreadableError(f"Azure email status {status[:60]!r} is not known")
    details = data.get("deliveryStatusDetails") or _Details()
    return {
        **_shared_fields(data),
        **reply_fields(details.get("statusMessage")),
        **reported_time(
            data.get("deliveryAttemptTimestamp") or data.get("deliveryAttemptTimeStamp"), iso_time
        ),
        "kind": STATUS_KINDS[status],
        "label": status,
        "reason_code": status,
    }


def _engagement(data: _Data) -> EventFields:
    word = (data.get("engagementType") or "").lower()
    if word not in ENGAGEMENT_KINDS:
        raise UnreadableError(f"Azure engagementType {word[:60]!r} is not known")
    fields: EventFields = {
        **_shared_fields(data),
        **reported_time(
            data.get("userActionTimestamp") or data.get("userActionTimeStamp"), iso_time
        ),
        "kind": ENGAGEMENT_KINDS[word],
    }
    if agent := data.get("userAgent"):
        fields["user_agent"] = agent
    if word == "click" and (url := data.get("engagementContext")):
        fields["url"] = url
    return fields


def _shared_fields(data: _Data) -> EventFields:
    return {
        "recipient": bare_address(data.get("recipient") or ""),
        "provider_message_id": data.get("messageId") or "",
    }


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return STATUS_CLASSES.get(bounce.get("label", ""))


#: The function that reads a report, by its type.
READERS: Final[Mapping[str, Callable[[_Data], EventFields]]] = {
    "Microsoft.Communication.EmailDeliveryReportReceived": _delivery,
    "Microsoft.Communication.EmailEngagementTrackingReportReceived": _engagement,
}
