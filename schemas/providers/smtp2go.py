"""SMTP2GO: one event in each push, as a form or a JSON object, whose names differ in case.

`processed` names all recipients of a message, and any other event one. Whether a bounce is hard is
judged by the server's reply, so the word adds nothing to it. The mail's headers that a webhook is
set up to report come back as fields, so they may hold the sender's metadata. Sources: SMTP2GO's
developer docs, "Webhooks overview" and "Webhooks"; what it pushed to users of its libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from schemas.addresses import addresses_in, bare_address
from schemas.providers._common import (
    METADATA_HEADERS,
    callback_metadata,
    header_metadata,
    non_empty,
    reply_fields,
    unknown_event,
)
from schemas.providers._forms import text_fields
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "smtp2go"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="chosen `X-…` headers", opens="unmarked", batches=True)

EVENT_KINDS: Final = {
    "processed": "queued",
    "delivered": "delivery",
    "bounce": "bounce",
    "open": "open",
    "click": "click",
    "spam": "complaint",
    "unsubscribe": "unsubscribe",
    "resubscribe": "resubscribe",
    "reject": "invalid",
}
#: In the text of a rejection: the address is not bad, but wants no mail.
UNSUBSCRIBED_TEXT: Final = "unsubscri"
BOUNCE_CLASSES: Final[Mapping[str, LabelClass]] = {"hard": "refused", "soft": "soft"}
FIELDS: Final = frozenset(
    {
        "event", "rcpt", "recipients", "email_id", "id", "time", "subject", "bounce", "message",
        "context", "url", "click_url", "link", "user-agent", "ip", *METADATA_HEADERS,
    }
)  # fmt: skip


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    body = text_fields(payload, FIELDS)
    word = body.get("event", "")
    kind = EVENT_KINDS.get(word.lower())
    if kind is None:
        raise unknown_event("SMTP2GO", word, "event")
    text = body.get("message") or body.get("context", "")
    if kind == "invalid" and UNSUBSCRIBED_TEXT in text.lower():
        kind = "skipped"
    fields: EventFields = {
        "provider_message_id": body.get("email_id", ""),
        "provider_event_id": body.get("id", ""),
        "subject": body.get("subject", ""),
        "user_agent": body.get("user-agent", ""),
        "ip": body.get("ip", ""),
        "url": next(filter(None, map(body.get, ("url", "click_url", "link"))), ""),
    }
    event: EventFields = {
        "kind": kind,
        "label": body.get("bounce") or word,
        **callback_metadata(headers),
        **header_metadata(body),
        **non_empty(fields),
        **reply_fields(text),
        **reported_time(body.get("time"), utc_time),
    }
    recipient = body.get("rcpt", "")
    several = sorted(addresses_in(body.get("recipients", ""))) if not recipient else ()
    for address in several or [bare_address(recipient)]:
        yield {**event, "recipient": address}


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return BOUNCE_CLASSES.get(bounce.get("label", "").lower())
