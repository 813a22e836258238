"""SendGrid: the Event Webhook, a JSON array with one event per recipient and occurrence.

Custom arguments come back as members of the event itself, though the reference also lists them as
an object of their own: both are read. `sg_event_id` differs between two pushes of one event, and
two kinds of event may share one: it is kept, but not part of an event's identity. An asynchronous
bounce names no message. Source: Twilio SendGrid's docs, "Event Webhook Reference".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.providers._common import (
    METADATA_FIELDS,
    Ignored,
    echoed_metadata,
    limited_tags,
    read_elements,
    reply_fields,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time
from schemas.smtp_replies import leading_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "sendgrid"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="custom arguments", deferrals=True, opens="marked", batches=True)

EVENT_KINDS: Final = {
    "processed": "queued",
    "deferred": "deferral",
    "delivered": "delivery",
    "bounce": "bounce",
    "blocked": "bounce",  # as the type of a bounce, and once an event of its own
    "dropped": "failure",
    "open": "open",
    "click": "click",
    "spamreport": "complaint",
    "unsubscribe": "unsubscribe",
    "group_unsubscribe": "unsubscribe",
    "group_resubscribe": "resubscribe",
}
#: Events about the account, not about a message.
IGNORED_EVENTS: Final = frozenset({"account_status_change"})
IGNORED: Final = Ignored(("event",), IGNORED_EVENTS)
#: Reasons of `dropped` that come from SendGrid's suppression lists; in lower case.
PROVIDER_REFUSALS: Final = {
    "bounced address": "invalid",
    "spam reporting address": "invalid",
    "invalid": "invalid",
    "invalid address": "invalid",
    "unsubscribed address": "skipped",
    "group unsubscribed address": "skipped",
}
#: The class by `bounce_classification`; for any other ("Mailbox Unavailable", "Unclassified") the
#: bounce's `type` counts.
CLASSIFICATION_CLASSES: Final[Mapping[str, BounceClass]] = {
    "invalid address": "hard",
    "technical failure": "soft",
    "technical": "soft",  # this one and "frequency/volume": as the reference writes them
    "content": "block",
    "reputation": "block",
    "frequency or volume too high": "block",
    "frequency/volume": "block",
}
BOUNCE_TYPE_CLASSES: Final[Mapping[str, BounceClass]] = {
    "bounce": "hard",
    "blocked": "block",
    "expired": "soft",
}
#: The start of the part of `sg_message_id` that differs between the events of one message.
ROUTE_MARKERS: Final = (".filter", ".recv")


_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "email": str | None,
        "timestamp": int | float | str | None,
        "smtp-id": str | None,
        "sg_event_id": str | None,
        "sg_message_id": str | None,
        "sg_machine_open": bool | None,
        "type": str | None,
        "bounce_classification": str | None,
        "reason": str | None,
        "response": str | None,
        "status": str | None,
        "url": str | None,
        "useragent": str | None,
        "ip": str | None,
        "category": str | list[str] | None,
        "marketing_campaign_name": str | None,
        "custom_args": object,
        "unique_args": object,
        "tenant_id": object,
        "message_id": object,
        "record_type": object,
        "record_id": object,
        "campaign": object,
        "attempt": object,
    },
    total=False,
)

_read_event: Final = validator(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one batch; see `schemas.providers.Adapter`."""
    del headers
    return read_elements(payload, _element_events, IGNORED)


def _element_events(element: object) -> Iterator[EventFields]:
    event: _Event = _read_event(element)
    word = event.get("event") or ""
    if word in IGNORED_EVENTS:
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"SendGrid event {word[:60]!r} is not known"
            if word
            else "a SendGrid event has to name its event"
        )
    fields = _shared_fields(event, word)
    fields["kind"] = kind
    match kind:
        case "bounce":
            _add_bounce(event, fields)
        case "failure":
            _add_drop(event, fields)
        case "deferral" | "delivery":
            fields.update(_reply(event, event.get("response") or event.get("reason")))
        case "open" | "click" | "unsubscribe" | "resubscribe":
            _add_engagement(event, fields)
    yield fields


def _shared_fields(event: _Event, word: str) -> EventFields:
    """Return the fields that events of all kinds have."""
    fields: EventFields = {}
    for arguments in (event.get("unique_args"), event.get("custom_args")):
        if isinstance(arguments, dict):
            fields.update(echoed_metadata(arguments))
    if word == "deferred":
        # In these, `attempt` counts SendGrid's own attempts.
        fields.update(
            echoed_metadata(
                {name: event.get(name) for name in METADATA_FIELDS if name != "attempt"}
            )
        )
    else:
        fields.update(echoed_metadata(event))
    fields["recipient"] = event.get("email") or ""
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        fields["occurred_at"] = epoch_time(timestamp)
    if message_id := _message_id(event.get("sg_message_id") or "", event.get("smtp-id") or ""):
        fields["provider_message_id"] = message_id
    if event_id := event.get("sg_event_id"):
        fields["provider_event_id"] = event_id
    if (campaign := event.get("marketing_campaign_name")) and "campaign" not in fields:
        fields["campaign"] = campaign
    if category := event.get("category"):
        fields["tags"] = limited_tags([category] if isinstance(category, str) else category)
    return fields


def _message_id(sg_message_id: str, smtp_id: str) -> str:
    """Return the part of `sg_message_id` before its route, else the local part of `smtp-id`."""
    sg_message_id = sg_message_id.strip()
    if not sg_message_id.startswith(("filter", "recv")):
        for route in ROUTE_MARKERS:
            head, marker, _ = sg_message_id.partition(route)
            if marker and head:
                return head
    return smtp_id.strip("<> ").partition("@")[0] or sg_message_id


def _add_bounce(event: _Event, fields: EventFields) -> None:
    bounce_type = event.get("type") or ("blocked" if event["event"] == "blocked" else "")
    classification = event.get("bounce_classification") or ""
    if bounce_type:
        fields["reason_code"] = bounce_type
    if label := classification or bounce_type:
        fields["label"] = label
    if "provider_message_id" not in fields:
        fields["late"] = True
    fields.update(_reply(event, event.get("reason")))


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    classification = bounce.get("label", "").lower()
    bounce_type = bounce.get("reason_code", "").lower()
    return CLASSIFICATION_CLASSES.get(classification) or BOUNCE_TYPE_CLASSES.get(bounce_type)


def _add_drop(event: _Event, fields: EventFields) -> None:
    reason = event.get("reason") or ""
    fields["kind"] = PROVIDER_REFUSALS.get(reason.strip().lower(), "failure")
    if reason:
        fields["reason_code"] = reason
    if status := leading_status(event.get("status") or ""):
        fields["enhanced_status"] = status


def _add_engagement(event: _Event, fields: EventFields) -> None:
    if agent := event.get("useragent"):
        fields["user_agent"] = agent
    if address := event.get("ip"):
        fields["ip"] = address
    if event["event"] == "click" and (url := event.get("url")):
        fields["url"] = url
    if event["event"] == "open" and (machine := event.get("sg_machine_open")) is not None:
        fields["machine"] = machine


def _reply(event: _Event, text: str | None) -> EventFields:
    """Return a reply with its codes; the event's own status counts before one in the text."""
    fields = reply_fields(text)
    if status := leading_status(event.get("status") or ""):
        fields["enhanced_status"] = status
    return fields
