"""Brevo (formerly Sendinblue): transactional and marketing webhooks, one event or an array of them.

The `id` is that of the webhook, not of the event, and `date` is local time of an unknown zone:
neither is read. Brevo blocks what its own list forbids, and says why in words. Sources: Brevo's
developer docs, "Transactional webhooks", "Marketing webhooks" and "Batched webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import (
    bare,
    echo,
    elements,
    epoch,
    ours,
    ours_in,
    reply,
    tags,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields
    from schemas.providers import Rejected

PROVIDER: Final = "brevo"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
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
#: Opens by a mail client's proxy, which loads what nobody may have looked at.
BY_MACHINE: Final = frozenset({"proxy_open", "unique_proxy_open"})
#: Contacts and lists, and mail coming in: nothing about a message sent.
NOT_OURS: Final = frozenset(
    {
        "list_addition", "contact_updated", "contact_deleted", "unique_coupon_sent",
        "inboundEmailProcessed", "inbound_email_processed", "reply",
    }
)  # fmt: skip
#: What a reason for blocking says where the address is not known to be bad: it wants no mail.
UNSUBSCRIBED: Final = "unsubscribe"
LABELS: Final[Mapping[str, BounceClass]] = {
    "hard_bounce": "hard",
    "soft_bounce": "soft",
    "invalid_email": "hard",
    "invalid": "hard",
}
#: What stands for a reason where there is none.
NO_REASON: Final = "sent"
#: From here on a count since 1970 is one of milliseconds.
MILLISECONDS: Final = 100_000_000_000

Maybe = str | None

_Event = TypedDict(
    "_Event",
    {
        "event": str,
        "email": Maybe,
        "message-id": Maybe,
        "subject": Maybe,
        "reason": Maybe,
        "link": Maybe,
        "URL": Maybe,  # marketing
        "user_agent": Maybe,
        "ts_epoch": float | None,
        "ts_event": float | None,
        "ts": float | None,
        "tags": list[Maybe] | None,
        "campaign name": Maybe,  # marketing
        "X-Mailin-custom": str | dict[str, object] | None,
        "items": object,  # mail coming in
    },
    total=False,
)
_of_any_type: Final = with_config(ConfigDict(coerce_numbers_to_str=True))
_event: Final = TypeAdapter(_of_any_type(_Event)).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:  # noqa: ARG001
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    yield from elements(payload, _read)


def _read(element: object) -> Iterator[Fields]:
    event = _event(element)
    word = event.get("event") or ""
    if word in NOT_OURS or (not word and "items" in event):
        return
    kind = KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Brevo event {word[:60]!r} is not known" if word else "a Brevo event names 'event'"
        )
    reason = event.get("reason") or ""
    if word == "blocked" and UNSUBSCRIBED in reason.lower():
        kind = "skipped"
    fields: Fields = {
        "kind": kind,
        "recipient": bare(event.get("email") or ""),
        "label": word,
        **_shared(event),
    }
    if reason != NO_REASON:
        fields.update(reply(reason))
    if kind == "open":
        fields["machine"] = word in BY_MACHINE
    elif kind == "click" and (url := event.get("link") or event.get("URL")):
        fields["url"] = url
    yield fields


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    return LABELS.get(str(bounce.get("label", "")))


def _shared(event: _Event) -> Fields:
    """Return what every event says: whose message, its time, its subject and labels."""
    fields: Fields = {}
    if campaign := event.get("campaign name"):
        fields["campaign"] = campaign
    fields.update(_ids(event.get("X-Mailin-custom")))
    if message_id := event.get("message-id"):
        fields["provider_message_id"] = bare(message_id)
    if subject := event.get("subject"):
        fields["subject"] = subject
    if labels := event.get("tags"):
        fields["tags"] = tags(labels)
    if agent := event.get("user_agent"):
        fields["user_agent"] = agent
    time = event.get("ts_epoch")
    if time is None or time < MILLISECONDS:
        time = event.get("ts_event") or event.get("ts")
    if time:
        fields["occurred_at"] = epoch(time)
    return fields


def _ids(custom: str | dict[str, object] | None) -> Fields:
    """Return our ids from the sender's own header: JSON, or as in Brevo's docs `a:1|b:2`."""
    if isinstance(custom, dict):
        return ours(custom)
    if custom and ":" in custom and custom.lstrip()[:1] != "{":
        parts = (part.partition(":") for part in custom.split("|"))
        return echo({name.strip(): value.strip() for name, _, value in parts})
    return ours_in(custom)
