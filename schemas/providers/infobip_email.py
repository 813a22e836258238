"""Infobip, email: delivery reports (JSON, several in a push), and notifications of what people do.

The group of a report's status decides; of a failure its error tells a bounce from what Infobip
dropped, and from its suppression list. A retry is not reported. A notification names when the email
was sent, not when it was opened, so the record's time counts; it does not mark machines. Events
about a sending domain are ignored. Sources: Infobip's docs, "Receive email delivery reports",
"Receive user events", "Receive email platform events" and "Response status and error codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas.providers._common import (
    EXPLANATION_PREFIX,
    as_text,
    callback_metadata,
    read_elements,
    reply_fields,
)
from schemas.providers._infobip import RESULTS_PATH, outcome, read_result, shared_fields
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "infobip_email"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`callbackData`, query", opens="unmarked", batches=True)

GROUP_KINDS: Final = {
    "ACCEPTED": "queued",
    "PENDING": "sent",
    "DELIVERED": "delivery",
    "UNDELIVERABLE": "bounce",
    "EXPIRED": "bounce",
    "REJECTED": "failure",
}
STATUS_KINDS: Final = {"PENDING_ACCEPTED": "queued"}
FAILURE_KINDS: Final = frozenset({"bounce", "failure"})
#: Errors of what Infobip dropped for the recipient's sake, or failed to send; all others that are
#: not in `LABEL_CLASSES` leave the kind to the status.
ERROR_KINDS: Final = {
    "EC_SUPPRESSED_BOUNCE": "invalid",
    "EC_SUPPRESSED_SPAM_COMPLAINT": "invalid",
    "EC_RECIPIENT_DOMAIN_TYPO": "invalid",
    "EC_UNSUBSCRIBED_EMAIL_ADDRESS": "skipped",
    "EC_SPAM_DETECTED": "failure",
    "EC_INTERNAL_SYSTEM_ERROR": "failure",
}
#: The class of a bounce's label, by the error or the group of the status. "Hard" and "permanently"
#: alone do not say that the recipient is the cause.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {
    "EC_INVALID_EMAIL_ADDRESS": "hard",
    "EC_MAILBOX_PERMANENTLY_UNAVAILABLE": "hard",
    "EC_RECIPIENT_DOMAIN_MX_NOT_FOUND": "hard",
    "EC_MAILBOX_TEMPORARY_UNAVAILABLE": "soft",
    "EC_RECIPIENT_INBOX_FULL": "soft",
    "EC_SOFT_BOUNCE": "soft",
    "EC_HARD_BOUNCE": "refused",
    "EC_SENDER_IP_BLACKLISTED": "block",
    "EC_SPAM_REVERTED": "block",
    "EC_SUSPICIOUS_CONTENT": "block",
    "EC_SUSPICIOUS_SENDER": "block",
    "EC_RECIPIENT_DOMAIN_POLICY_ERROR": "block",
    "EC_UNSOLICITED_RECIPIENT": "block",
    "EC_DOMAIN_CONFIGURATION_ERROR": "block",
    "EC_DMARC_POLICY_ISSUE": "block",
    "EC_SENDER_DOMAIN_BLACKLISTED": "block",
    # Statuses without an error.
    "EXPIRED_EXPIRED": "soft",
    "EXPIRED_DLR_UNKNOWN": "soft",
}
NOTIFICATION_KINDS: Final = {
    "OPENED": "open",
    "CLICKED": "click",
    "COMPLAINED": "complaint",
    "UNSUBSCRIBED": "unsubscribe",
    "LATE_BOUNCE": "bounce",
}
LATE_BOUNCE: Final = "LATE_BOUNCE"
#: Events about a sending domain, by the type in `eventDetails`.
IGNORED_EVENTS: Final = frozenset({"HIGH_BOUNCE_RATE_WARNING", "HIGH_BOUNCE_RATE_BLOCKED"})


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    return read_elements(
        payload, lambda element: _element_events(read_result(element), metadata), path=RESULTS_PATH
    )


def _element_events(element: Mapping[str, object], metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of one report or notification; none for what is about a domain."""
    details = element.get("eventDetails")
    if isinstance(details, dict) and as_text(details.get("type")) in IGNORED_EVENTS:
        return
    is_notification = "notificationType" in element
    fields = _notification_fields(element) if is_notification else _report_fields(element)
    yield {**metadata, **shared_fields(element), **fields}


def _notification_fields(notification: Mapping[str, object]) -> EventFields:
    word = as_text(notification.get("notificationType"))
    if word not in NOTIFICATION_KINDS:
        raise UnreadableError(f"Infobip notification {word[:60]!r} is not known")
    fields: EventFields = {
        "kind": NOTIFICATION_KINDS[word],
        "label": word,
        "recipient": as_text(notification.get("recipient")),
    }
    if event_id := as_text(notification.get("eventId")):
        fields["provider_event_id"] = event_id
    if url := as_text(notification.get("url")):
        fields["url"] = url
    if word == LATE_BOUNCE:
        fields["late"] = True
    return fields


def _report_fields(result: Mapping[str, object]) -> EventFields:
    """Return the kind of a report, with the receiving server's reply and Infobip's error."""
    report = outcome(result, STATUS_KINDS, GROUP_KINDS)
    smtp = result.get("smtp")
    fields: EventFields = {
        "kind": report.kind,
        "label": report.error or report.status,
        "recipient": as_text(result.get("to")),
        **reply_fields(as_text(smtp.get("response")) if isinstance(smtp, dict) else ""),
        **reported_time(as_text(result.get("doneAt") or result.get("sentAt")), utc_time),
    }
    if report.kind in FAILURE_KINDS:
        is_bounce = report.error in LABEL_CLASSES
        fields["kind"] = "bounce" if is_bounce else ERROR_KINDS.get(report.error, report.kind)
    if report.error_id:
        fields["reason_code"] = report.error_id
        if report.description and "diagnostic" not in fields:
            fields["diagnostic"] = EXPLANATION_PREFIX + report.description
    return fields


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))
