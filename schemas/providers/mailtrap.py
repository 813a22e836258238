"""Mailtrap: the sending webhooks, a batch of events about one recipient, or the same as JSON Lines.

A soft bounce is tried ten times more, and a suspended message waits at Mailtrap: neither is final.
`message_id` is the same for all recipients of a message. Sources: Mailtrap's docs, "Webhooks"; its
help, "Statuses and events".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic_core import from_json, to_json
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    Ignored,
    code_field,
    echoed_metadata,
    limited_tags,
    non_empty,
    read_batch,
    read_lines,
    reply_fields,
    unknown_event,
    validator,
)
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "mailtrap"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`custom_variables`", deferrals=True, opens="unmarked", batches=True)
BATCH_MEMBER: Final = "events"

EVENT_KINDS: Final = {
    "delivery": "delivery",
    "soft bounce": "deferral",
    "bounce": "bounce",
    "suspension": "note",
    "reject": "failure",
    "open": "open",
    "click": "click",
    "spam": "complaint",
    "unsubscribe": "unsubscribe",
}
#: Incoming mail, and what people did in the account.
IGNORED_PREFIXES: Final = ("activity_log.", "inbound")
IGNORED: Final = Ignored(("event",), prefixes=IGNORED_PREFIXES)
#: In the reason for a rejection: the address is on the suppression list; and that it wants no mail.
SUPPRESSED_TEXT: Final = "suppression list"
UNSUBSCRIBED_TEXT: Final = "unsubscri"
#: The class of a `bounce_category`; `hard` only says that the refusal is for good.
CATEGORY_CLASSES: Final[Mapping[str, LabelClass]] = {
    "hard": "refused",
    "spam": "block",
    "greylisting": "soft",
}


class _Event(TypedDict, total=False):
    event: str
    message_id: str | None
    email: str | None
    timestamp: float | str | None
    event_id: str | None
    category: str | None
    custom_variables: dict[str, object] | None
    reason: str | None
    response: str | None
    response_code: int | str | None
    bounce_category: str | None
    ip: str | None
    user_agent: str | None
    url: str | None


_read_event: Final = validator(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    del headers
    try:
        body = from_json(payload)
    except ValueError:
        return read_lines(payload, _element_events, IGNORED)
    if isinstance(body, dict) and isinstance(batch := body.get(BATCH_MEMBER), list):
        return read_batch(
            batch, _element_events, lambda element: to_json({BATCH_MEMBER: [element]}), IGNORED
        )
    return _element_events(body)


def _element_events(element: object) -> Iterator[EventFields]:
    event: _Event = _read_event(element)
    word = event.get("event") or ""
    if word.startswith(IGNORED_PREFIXES):
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise unknown_event("Mailtrap", word, "event")
    reason = event.get("reason") or ""
    if kind == "failure" and SUPPRESSED_TEXT in reason.lower():
        kind = "skipped" if UNSUBSCRIBED_TEXT in reason.lower() else "invalid"
    fields: EventFields = {
        "provider_message_id": event.get("message_id") or "",
        "provider_event_id": event.get("event_id") or "",
        "label": event.get("bounce_category") or "",
        "ip": event.get("ip") or "",
        "user_agent": event.get("user_agent") or "",
        "url": event.get("url") or "",
        "tags": limited_tags([event.get("category")]),
    }
    yield {
        "kind": kind,
        "recipient": bare_address(event.get("email") or ""),
        **echoed_metadata(event.get("custom_variables")),
        **non_empty(fields),
        **code_field(event.get("response_code")),
        **reply_fields(event.get("response") or reason),
        **reported_time(event.get("timestamp"), epoch_time),
    }


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return CATEGORY_CLASSES.get(bounce.get("label", ""))
