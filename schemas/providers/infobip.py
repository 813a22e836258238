"""Infobip: SMS delivery reports (JSON, up to 100 in a push), one event for each.

The group of the status decides, unless its name says more; of a failure the error may say more
still. A message delivered to the operator is not yet on the handset. What is seen in another
channel is a report with `seenAt`. Links that were clicked, and incoming messages, are ignored.
Sources: Infobip's docs, "Receive outbound SMS message reports", "Receive SMS tracking
notifications", "Message status codes" and "Response status and error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.providers._common import (
    as_text,
    callback_metadata,
    explained_kind,
    international_number,
    part_count,
    read_elements,
)
from schemas.providers._infobip import RESULTS_PATH, outcome, read_result, shared_fields
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "infobip"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`callbackData`, query", batches=True)

GROUP_KINDS: Final = {
    "ACCEPTED": "queued",
    "PENDING": "sent",
    "DELIVERED": "delivery",
    "UNDELIVERABLE": "undelivered",
    "EXPIRED": "expired",
    "REJECTED": "rejected",
}
#: Statuses that say more than their group: Infobip itself rejects too, before any carrier.
STATUS_KINDS: Final = {
    name: kind
    for kind, names in {
        "queued": ["PENDING_ACCEPTED"],
        "unknown": ["EXPIRED_DLR_UNKNOWN"],
        "undelivered": ["REJECTED_DESTINATION", "REJECTED_NETWORK", "REJECTED_PREFIX_MISSING"],
        "rejected": ["SIGNALS_BLOCKED", "UNDELIVERABLE_REJECTED_OPERATOR"],
        "failed": [
            "UNDELIVERABLE_NOT_SENT", "UNDELIVERABLE_REJECTED_PLATFORM", "MISSING_TO",
            "REJECTED_SOURCE", "REJECTED_SENDER", "REJECTED_ROUTE_NOT_AVAILABLE",  # account
            "REJECTED_NOT_ENOUGH_CREDITS", "REJECTED_PREPAID_PACKAGE_EXPIRED",
            "REJECTED_DESTINATION_NOT_REGISTERED", "REJECTED_FLOODING_FILTER",
            "REJECTED_SYSTEM_ERROR", "REJECTED_DUPLICATE_MESSAGE_ID",  # request
            "REJECTED_INVALID_UDH", "REJECTED_MESSAGE_TOO_LONG",
            "REJECTED_INVALID_NOTIFY_URL", "REJECTED_MESSAGE_TEXT_TOO_LONG",
        ],
    }.items()
    for name in names
}  # fmt: skip
#: Errors that say more of a failure than its status.
ERROR_KINDS: Final = {
    name: kind
    for kind, names in {
        "opt_out": ["EC_SC_BLOCKED_BY_END_USER"],
        "undelivered": [
            "EC_UNKNOWN_SUBSCRIBER", "EC_UNIDENTIFIED_SUBSCRIBER", "EC_ILLEGAL_SUBSCRIBER",
            "EC_ILLEGAL_EQUIPMENT", "EC_ABSENT_SUBSCRIBER", "EC_ABSENT_SUBSCRIBER_SM",
            "EC_CALL_BARRED", "EC_INVALID_DESTINATION_ADDRESS", "EC_DEACTIVATED_LIST",
            "EC_DEST_ADDRESS_SUSPENDED", "EC_DESTINATION_NOT_SMS_PROVISIONED",
            "EC_DEST_ADDRESS_UNABLE_TO_RECEIVE_SMS", "EC_CANNOT_RECEIVE_SC",
        ],
        "rejected": [
            "EC_CONTENT_BLOCKED", "EC_CONTENT_BLOCKED_BY_OPERATOR", "EC_REJECTED_SPAM_BY_OPERATOR",
            "EC_SIGNALS_BLOCKED", "EC_SIGNALS_HARD_LIMIT_REACHED", "EC_SOURCE_ADDRESS_IS_BLOCKED",
            "EC_BLACKLISTED_SENDERADDRESS", "EC_BLACKLISTED_DESTINATIONADDRESS",
            "EC_DEST_ADDRESS_BLACKLISTED", "EC_DESTINATION_BLOCKED_BY_OPERATOR",
            "EC_BLOCKED_BY_CAMPAIGN_BLACKLIST", "EC_SC_BLOCKED", "EC_SC_BLOCKED_FOR_END_USER",
            "EC_SC_NOT_PROVISIONED", "EC_SMS_REJECTED_BY_MOBILE_OPERATOR",
            "EC_TF_NUMBER_NOT_VERIFIED", "EC_10DLC_LIMIT_REACHED", "EC_BLOCKED_BY_DLT",
        ],
        "expired": ["EC_MESSAGE_EXPIRED", "EC_VALIDITY_EXPIRED", "EC_VP_EXPIRED"],
    }.items()
    for name in names
}  # fmt: skip
#: Whether the handset confirmed a delivery, or only the operator.
HANDSET_CONFIRMATIONS: Final = {"DELIVERED_TO_HANDSET": True, "DELIVERED_TO_OPERATOR": False}
#: Notifications that are about a link of a message.
IGNORED_NOTIFICATIONS: Final = frozenset({"CLICKED"})


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    return read_elements(
        payload, lambda element: _result_events(read_result(element), metadata), path=RESULTS_PATH
    )


def _result_events(result: Mapping[str, object], metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of one report; none for a click, or for an incoming message."""
    if notification := as_text(result.get("notificationType")):
        if notification not in IGNORED_NOTIFICATIONS:
            raise UnreadableError(f"Infobip notification {notification[:60]!r} is not known")
        return
    has_status = bool(result.get("status"))
    if not has_status and "receivedAt" in result:
        return
    event: EventFields = {
        **metadata,
        **shared_fields(result),
        **part_count(as_text(result.get("smsCount") or result.get("messageCount"))),
    }
    if not has_status and (read_at := result.get("seenAt")):
        event |= {"kind": "read", "label": "SEEN", **reported_time(as_text(read_at), utc_time)}
    else:
        event |= _status_fields(result)
        event |= reported_time(as_text(result.get("doneAt") or result.get("sentAt")), utc_time)
    event["recipient"] = international_number(as_text(result.get("to")))
    yield event


def _status_fields(result: Mapping[str, object]) -> EventFields:
    """Return the kind of a report, with its status and error."""
    report = outcome(result, STATUS_KINDS, GROUP_KINDS)
    fields: EventFields = {
        "kind": explained_kind(report.kind, report.error, ERROR_KINDS),
        "label": report.status,
    }
    if report.error_id:
        fields["reason_code"] = report.error_id
        fields["diagnostic"] = report.description or report.error
    handset = HANDSET_CONFIRMATIONS.get(report.status)
    if handset is not None:
        fields["handset"] = handset
    return fields
