"""SendGrid: the Event Webhook, a JSON array with one event per recipient and occurrence.

Custom arguments come back as members of the event itself, though the reference also lists them as
an object of their own: both are read. `sg_event_id` differs between two pushes of one event, and
two kinds of event may share one: it is kept, and not trusted. An asynchronous bounce names no
message. Source: Twilio SendGrid's docs, "Event Webhook Reference".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import OURS, elements, epoch, ours, reply, tags
from schemas.smtp_replies import status_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields
    from schemas.providers import Rejected

PROVIDER: Final = "sendgrid"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
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
NOT_OURS: Final = frozenset({"account_status_change"})
#: Reasons of `dropped` that come from SendGrid's suppression lists, in lower case.
ECHOES: Final = {
    "bounced address": "invalid",
    "spam reporting address": "invalid",
    "invalid": "invalid",
    "invalid address": "invalid",
    "unsubscribed address": "skipped",
    "group unsubscribed address": "skipped",
}
#: `bounce_classification` in our words; the others ("Mailbox Unavailable", "Unclassified") leave
#: it to the bounce's `type`.
CLASSIFICATIONS: Final[Mapping[str, BounceClass]] = {
    "invalid address": "hard",
    "technical failure": "soft",
    "technical": "soft",  # this and the last one: as the reference writes them
    "content": "block",
    "reputation": "block",
    "frequency or volume too high": "block",
    "frequency/volume": "block",
}
TYPES: Final[Mapping[str, BounceClass]] = {
    "bounce": "hard",
    "blocked": "block",
    "expired": "soft",
}
#: Where the part of `sg_message_id` begins that differs between the events of one message.
ROUTES: Final = (".filter", ".recv")

Maybe = str | None

_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "email": Maybe,
        "timestamp": int | float | str | None,
        "smtp-id": Maybe,
        "sg_event_id": Maybe,
        "sg_message_id": Maybe,
        "sg_machine_open": bool | None,
        "type": Maybe,
        "bounce_classification": Maybe,
        "reason": Maybe,
        "response": Maybe,
        "status": Maybe,
        "url": Maybe,
        "useragent": Maybe,
        "ip": Maybe,
        "category": str | list[str] | None,
        "marketing_campaign_name": Maybe,
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

_event: Final = TypeAdapter(_Event).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one batch; see `schemas.providers.Adapter`."""
    del headers
    return elements(payload, _read)


def _read(element: object) -> Iterator[Fields]:
    event: _Event = _event(element)
    word = event.get("event") or ""
    if word in NOT_OURS:
        return
    kind = KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"SendGrid event {word[:60]!r} is not known"
            if word
            else "a SendGrid event has to name its event"
        )
    fields = _shared(event, word)
    fields["kind"] = kind
    match kind:
        case "bounce":
            _bounce(event, fields)
        case "failure":
            _dropped(event, fields)
        case "deferral" | "delivery":
            fields.update(_reply(event, event.get("response") or event.get("reason")))
        case "open" | "click" | "unsubscribe" | "resubscribe":
            _engagement(event, fields)
    yield fields


def _shared(event: _Event, word: str) -> Fields:
    """Return what an event says about its message, whatever happened to it."""
    fields: Fields = {}
    for arguments in (event.get("unique_args"), event.get("custom_args")):
        if isinstance(arguments, dict):
            fields.update(ours(arguments))
    if word == "deferred":
        # There, `attempt` counts SendGrid's own attempts.
        fields.update(ours({name: event.get(name) for name in OURS if name != "attempt"}))
    else:
        fields.update(ours(event))
    fields["recipient"] = event.get("email") or ""
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        fields["occurred_at"] = epoch(timestamp)
    if message_id := _message_id(event.get("sg_message_id") or "", event.get("smtp-id") or ""):
        fields["provider_message_id"] = message_id
    if event_id := event.get("sg_event_id"):
        fields["provider_event_id"] = event_id
    if (campaign := event.get("marketing_campaign_name")) and "campaign" not in fields:
        fields["campaign"] = campaign
    if category := event.get("category"):
        fields["tags"] = tags([category] if isinstance(category, str) else category)
    return fields


def _message_id(ours_and_route: str, smtp_id: str) -> str:
    """Return the part of `sg_message_id` before its route, else the local part of `smtp-id`."""
    ours_and_route = ours_and_route.strip()
    if not ours_and_route.startswith(("filter", "recv")):
        for route in ROUTES:
            head, found, _ = ours_and_route.partition(route)
            if found and head:
                return head
    return smtp_id.strip("<> ").partition("@")[0] or ours_and_route


def _bounce(event: _Event, fields: Fields) -> None:
    kind_of_bounce = event.get("type") or ("blocked" if event["event"] == "blocked" else "")
    classification = event.get("bounce_classification") or ""
    if kind_of_bounce:
        fields["reason_code"] = kind_of_bounce
    if label := classification or kind_of_bounce:
        fields["label"] = label
    if "provider_message_id" not in fields:
        fields["late"] = True
    fields.update(_reply(event, event.get("reason")))


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    classification = str(bounce.get("label", "")).lower()
    kind_of_bounce = str(bounce.get("reason_code", "")).lower()
    return CLASSIFICATIONS.get(classification) or TYPES.get(kind_of_bounce)


def _dropped(event: _Event, fields: Fields) -> None:
    reason = event.get("reason") or ""
    fields["kind"] = ECHOES.get(reason.strip().lower(), "failure")
    if reason:
        fields["reason_code"] = reason
    if status := status_in(event.get("status") or ""):
        fields["enhanced_status"] = status


def _engagement(event: _Event, fields: Fields) -> None:
    if agent := event.get("useragent"):
        fields["user_agent"] = agent
    if address := event.get("ip"):
        fields["ip"] = address
    if event["event"] == "click" and (url := event.get("url")):
        fields["url"] = url
    if event["event"] == "open" and (machine := event.get("sg_machine_open")) is not None:
        fields["machine"] = machine


def _reply(event: _Event, text: Maybe) -> Fields:
    """Return a reply with its codes; the event's own status counts before one in the text."""
    fields = reply(text)
    if status := status_in(event.get("status") or ""):
        fields["enhanced_status"] = status
    return fields
