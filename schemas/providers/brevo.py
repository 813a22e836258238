"""Brevo (formerly Sendinblue): transactional and marketing webhooks, one event or an array of them.

The `id` is that of the webhook, not of the event, and `date` is local time of an unknown zone:
neither is read. Brevo blocks what its own list forbids, and says why in words. Sources: Brevo's
developer docs, "Transactional webhooks", "Marketing webhooks" and "Batched webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    Ignored,
    echoed_metadata,
    echoed_texts,
    limited_tags,
    parsed_metadata,
    read_elements,
    reply_fields,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import MIN_EPOCH_MILLISECONDS, epoch_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "brevo"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`X-Mailin-custom`", deferrals=True, opens="marked", batches=True)

EVENT_KINDS: Final = {
    "request": "queued",
    "sent": "sent",
    "delivered": "delivery",
    "deferred": "deferral",
    "hard_bounce": "bounce",
    "soft_bounce": "bounce",
    "invalid_email": "bounce",
    "invalid": "bounce",
    "blocked": "invalid",
    "error": "failure",
    "opened": "open",
    "unique_opened": "open",
    "proxy_open": "open",
    "unique_proxy_open": "open",
    "click": "click",
    "spam": "complaint",
    "complaint": "complaint",
    "unsubscribed": "unsubscribe",
    "unsubscribe": "unsubscribe",
}
#: Opens by a mail client's proxy, which loads messages that no person may have opened.
MACHINE_OPENS: Final = frozenset({"proxy_open", "unique_proxy_open"})
#: Contacts and lists, and incoming mail: not about a message sent.
IGNORED_EVENTS: Final = frozenset(
    {
        "list_addition", "contact_updated", "contact_deleted", "unique_coupon_sent",
        "inboundEmailProcessed", "inbound_email_processed", "reply",
    }
)  # fmt: skip
IGNORED: Final = Ignored(("event",), IGNORED_EVENTS)
#: In a reason for blocking: the address is not bad, but wants no mail.
UNSUBSCRIBED_TEXT: Final = "unsubscribe"
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "hard_bounce": "hard",
    "soft_bounce": "soft",
    "invalid_email": "hard",
    "invalid": "hard",
}
#: The reason of events that have none.
PLACEHOLDER_REASON: Final = "sent"


_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "email": str | None,
        "message-id": str | None,
        "subject": str | None,
        "reason": str | None,
        "link": str | None,
        "URL": str | None,  # marketing
        "user_agent": str | None,
        "ts_epoch": float | None,
        "ts_event": float | None,
        "ts": float | None,
        "tags": list[str | None] | None,
        "campaign name": str | None,  # marketing
        "X-Mailin-custom": str | dict[str, object] | None,
        "items": object,  # mail coming in
    },
    total=False,
)
_with_numbers_as_texts: Final = with_config(ConfigDict(coerce_numbers_to_str=True))
_read_event: Final = validator(_with_numbers_as_texts(_Event))


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    del headers
    return read_elements(payload, _element_events, IGNORED)


def _element_events(element: object) -> Iterator[EventFields]:
    event: _Event = _read_event(element)
    word = event.get("event") or ""
    if word in IGNORED_EVENTS or (not word and "items" in event):
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Brevo event {word[:60]!r} is not known" if word else "a Brevo event names 'event'"
        )
    reason = event.get("reason") or ""
    if word == "blocked" and UNSUBSCRIBED_TEXT in reason.lower():
        kind = "skipped"
    fields: EventFields = {
        "kind": kind,
        "recipient": bare_address(event.get("email") or ""),
        "label": word,
        **_shared_fields(event),
    }
    if reason != PLACEHOLDER_REASON:
        fields.update(reply_fields(reason))
    if kind == "open":
        fields["machine"] = word in MACHINE_OPENS
    elif kind == "click" and (url := event.get("link") or event.get("URL")):
        fields["url"] = url
    yield fields


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))


def _shared_fields(event: _Event) -> EventFields:
    """Return the fields that events of all kinds have."""
    fields: EventFields = {}
    if campaign := event.get("campaign name"):
        fields["campaign"] = campaign
    fields.update(_custom_metadata(event.get("X-Mailin-custom")))
    if message_id := event.get("message-id"):
        fields["provider_message_id"] = bare_address(message_id)
    if subject := event.get("subject"):
        fields["subject"] = subject
    if labels := event.get("tags"):
        fields["tags"] = limited_tags(labels)
    if agent := event.get("user_agent"):
        fields["user_agent"] = agent
    time = event.get("ts_epoch")
    if time is None or time < MIN_EPOCH_MILLISECONDS:
        time = event.get("ts_event") or event.get("ts")
    if time:
        fields["occurred_at"] = epoch_time(time)
    return fields


def _custom_metadata(custom: str | dict[str, object] | None) -> EventFields:
    """Return the metadata in the sender's own header: JSON, or as in Brevo's docs `a:1|b:2`."""
    if isinstance(custom, dict):
        return echoed_metadata(custom)
    if custom and ":" in custom and custom.lstrip()[:1] != "{":
        pairs = (pair.partition(":") for pair in custom.split("|"))
        return echoed_texts({name.strip(): value.strip() for name, _, value in pairs})
    return parsed_metadata(custom)
