"""MailerSend: one activity in each push, about one recipient.

An activity comes in the layout of version 2, or of version 1, which ends in December 2026: nested,
with what is particular to it in `morph`. A hard bounce may be a refusal of the sender, too. The
sender's only own data are tags: one that is a query string or JSON holds metadata. Sources:
MailerSend's developer docs, "Webhooks", and its help, "What is the difference between soft and hard
bounces"; what it pushed to users of open-source libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    Ignored,
    code_field,
    non_empty,
    reader,
    reply_fields,
    tag_metadata,
    unknown_event,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import reported_time, utc_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "mailersend"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`tags`", deferrals=True, opens="unmarked")

EVENT_KINDS: Final = {
    "activity.sent": "sent",
    "activity.delivered": "delivery",
    "activity.deferred": "deferral",
    "activity.soft_bounced": "bounce",
    "activity.hard_bounced": "bounce",
    "activity.opened": "open",
    "activity.opened_unique": "open",
    "activity.clicked": "click",
    "activity.clicked_unique": "click",
    "activity.unsubscribed": "unsubscribe",
    "activity.spam_complaint": "complaint",
    "activity.suppressed": "invalid",
}
#: The class of a label. MailerSend also calls a message hard-bounced that was blocked completely.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {
    "activity.soft_bounced": "soft",
    "activity.hard_bounced": "refused",
}
#: Accounts, lists, surveys, SMS, incoming mail and the test of an address.
IGNORED_PREFIXES: Final = (
    "activity.survey_", "bulk_email.", "email_list.", "email_single.", "inbound", "maintenance.",
    "recipient.", "sender_identity.", "sms.", "webhook.",
)  # fmt: skip
IGNORED: Final = Ignored(("type",), prefixes=IGNORED_PREFIXES)
#: The kind of a suppression by what its reason begins with: an address on hold is not bad for good.
SUPPRESSION_KINDS: Final = {"unsubscri": "skipped", "on_hold": "failure"}


class _Meta(TypedDict, total=False):
    bounce_reason: str | None
    bounce_code: int | str | None
    suppression_reason: str | None
    unsubscribe_reason: str | None
    ip: str | None
    user_agent: str | None
    url: str | None
    reason: str | None  # of version 1, from here on
    readable_reason: str | None


class _Named(TypedDict, total=False):
    id: str | None
    email: str | None


class _Email(TypedDict, total=False):
    """The message of an activity of version 1."""

    subject: str | None
    tags: list[str | None] | None
    message: _Named | None
    recipient: _Named | None


class _Data(TypedDict, total=False):
    id: str | None
    message_id: str | None
    subject: str | None
    recipient: str | None
    email: _Email | str | None  # of version 2, a second name of `recipient`
    tags: list[str | None] | None
    meta: _Meta | list[object] | None  # an empty list if there is nothing to say
    created_at: str | None
    morph: _Meta | list[object] | None


class _Event(TypedDict, total=False):
    type: str
    created_at: str | None
    data: _Data | None


_read_event: Final = reader(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the event of one activity; see `schemas.providers.Adapter`."""
    del headers
    event: _Event = _read_event(payload)
    word = event.get("type") or ""
    if word.startswith(IGNORED_PREFIXES):
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise unknown_event("MailerSend", word, "type")
    data = event.get("data")
    if data is None:
        raise UnreadableError(f"a MailerSend {word} event has to hold 'data'")
    yield {
        "label": word,
        **_message_fields(data),
        **_detail_fields(kind, data.get("meta") or data.get("morph") or {}),
        **reported_time(data.get("created_at") or event.get("created_at"), utc_time),
    }


def _message_fields(data: _Data) -> EventFields:
    """Return which message and recipient an activity is about."""
    nested = data.get("email")
    email: _Email = nested if isinstance(nested, dict) else {}
    message, recipient = email.get("message") or {}, email.get("recipient") or {}
    address = data.get("recipient") or (nested if isinstance(nested, str) else "")
    fields: EventFields = {
        "provider_message_id": data.get("message_id") or message.get("id") or "",
        "provider_event_id": data.get("id") or "",
        "subject": data.get("subject") or email.get("subject") or "",
    }
    return {
        "recipient": bare_address(address or recipient.get("email") or ""),
        **tag_metadata(data.get("tags") or email.get("tags") or []),
        **non_empty(fields),
    }


def _detail_fields(kind: str, details: _Meta | list[object]) -> EventFields:
    """Return the kind, and what is particular to it."""
    meta: _Meta = details if isinstance(details, dict) else {}
    reason = meta.get("suppression_reason") or meta.get("unsubscribe_reason") or ""
    fields: EventFields = {
        "reason_code": reason,
        "ip": meta.get("ip") or "",
        "user_agent": meta.get("user_agent") or "",
        "url": meta.get("url") or "",
    }
    if kind == "invalid":
        prefixes = (start for start in SUPPRESSION_KINDS if reason.lower().startswith(start))
        kind = SUPPRESSION_KINDS.get(next(prefixes, ""), kind)
    text = meta.get("bounce_reason") or meta.get("readable_reason") or meta.get("reason")
    return {
        "kind": kind,
        **non_empty(fields),
        **code_field(meta.get("bounce_code")),
        **reply_fields(text),
    }


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))
