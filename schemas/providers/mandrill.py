"""Mandrill (Mailchimp Transactional): a form whose field `mandrill_events` is an array of events.

Sync events (of the allow and deny lists) and incoming mail are ignored. A single event, or the
array, is also read without the form around it, so that a rejected event can be decoded again alone.
Sources: Mailchimp Developer, "Webhooks" and the reject reasons of "Messages: send".
"""

from __future__ import annotations

from binascii import a2b_qp
from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "mandrill"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`metadata`", deferrals=True, opens="unmarked", batches=True)
EVENTS_FIELD: Final = b"mandrill_events"

EVENT_KINDS: Final = {
    "send": "sent",
    "deferral": "deferral",
    "delivered": "delivery",
    "hard_bounce": "bounce",
    "soft_bounce": "bounce",
    "open": "open",
    "click": "click",
    "spam": "complaint",
    "unsub": "unsubscribe",
    "reject": "reject",
}
#: Maintenance of the allow and deny lists, and incoming mail.
IGNORED_EVENTS: Final = frozenset({"whitelist", "blacklist", "allowlist", "denylist", "inbound"})
IGNORED: Final = Ignored(("type", "event"), IGNORED_EVENTS)
#: The kind of a message that Mandrill did not even try to send, by its reason.
REJECT_KINDS: Final = {
    "hard-bounce": "invalid",
    "soft-bounce": "invalid",
    "spam": "invalid",
    "custom": "invalid",
    "unsub": "skipped",
    "invalid": "bounce",
    "invalid-sender": "failure",
    "recipient-domain-mismatch": "failure",  # of a demo account
    "test-mode-limit": "failure",
    "unsigned": "failure",
    "rule": "failure",
}
#: Without a reason, the address is on the deny list.
DEFAULT_REJECT_KIND: Final = "invalid"
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "hard_bounce": "hard",
    "soft_bounce": "soft",
    "reject": "hard",
}
#: Bounce codes (`bgtools_code`) of refusals that are not about the address.
BLOCK_CODES: Final = frozenset({"23", "50", "51", "52", "53", "54"})
#: Kinds whose last SMTP dialogue is their own; a bounce's may be that of an earlier deferral.
KINDS_WITH_DIALOGUE: Final = frozenset({"sent", "deferral", "delivery"})


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Click(TypedDict, total=False):
    url: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Dialogue(TypedDict, total=False):
    diag: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Reject(TypedDict, total=False):
    reason: str | None
    email: str | None
    detail: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Message(TypedDict, total=False):
    _id: str | None
    email: str | None
    subject: str | None
    tags: list[str | None] | None
    metadata: dict[str, object] | list[object] | None  # an empty one comes as a list
    clicks: list[_Click] | None
    smtp_events: list[_Dialogue] | None
    diag: str | None
    bounce_description: str | None
    bgtools_code: str | None
    reject: _Reject | str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: str | None
    type: str | None  # sync events
    ts: float | None
    _id: str | None
    msg: _Message | None
    reject: _Reject | None
    url: str | None
    ip: str | None
    user_agent: str | None


_read_event: Final = validator(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one form; see `schemas.providers.Adapter`."""
    del headers
    is_json = payload.lstrip()[:1] in (b"[", b"{")
    return read_elements(payload if is_json else _events_field(payload), _element_events, IGNORED)


def _events_field(form: bytes) -> bytes:
    """Return the decoded field of a form that holds the events."""
    for pair in form.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == EVENTS_FIELD:
            # Half of such a body is escapes. Quoted-printable is the same code but for its sign,
            # and its decoder is in C, that of `urllib` is not.
            quoted = value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
            return a2b_qp(quoted)
    raise UnreadableError(f"a Mandrill form has to hold the field {EVENTS_FIELD.decode()!r}")


def _element_events(element: object) -> Iterator[EventFields]:
    event: _Event = _read_event(element)
    word = event.get("event") or event.get("type") or ""
    if word in IGNORED_EVENTS:
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Mandrill event {word[:60]!r} is not known"
            if word
            else "a Mandrill event names 'event'"
        )
    message = event.get("msg") or _Message()
    reject = _reject(event, message)
    reason = reject.get("reason") if kind == "reject" else None
    if kind == "reject":
        kind = _reject_kind(reason or "")
    reason = reason or message.get("bounce_description")
    fields: EventFields = {
        "kind": kind,
        "recipient": bare_address(message.get("email") or reject.get("email") or ""),
        "label": word,
        **_shared_fields(event, message),
        **reply_fields(_last_reply(kind, message)),
    }
    if reason:
        fields["reason_code"] = reason
    if kind == "bounce" and (code := message.get("bgtools_code")):
        fields["label"] = f"{word}/{code}"
    yield fields


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    word, _, code = bounce.get("label", "").partition("/")
    return "block" if code in BLOCK_CODES else LABEL_CLASSES.get(word)


def _reject_kind(reason: str) -> str:
    """Return the kind of a rejection; an unknown reason must not suppress an address."""
    if not reason:
        return DEFAULT_REJECT_KIND
    kind = REJECT_KINDS.get(reason.replace("_", "-"))
    if kind is None:
        raise UnreadableError(f"Mandrill reject reason {reason[:60]!r} is not known")
    return kind


def _reject(event: _Event, message: _Message) -> _Reject:
    """Return why a message was rejected; the reason is in one of several places."""
    reject = message.get("reject")
    if isinstance(reject, str):
        return {"reason": reject}
    return reject or event.get("reject") or {}


def _last_reply(kind: str, message: _Message) -> str | None:
    """Return the receiving server's last reply."""
    dialogues = message.get("smtp_events")
    if not message.get("diag") and dialogues and kind in KINDS_WITH_DIALOGUE:
        return dialogues[-1].get("diag")
    return message.get("diag")


def _shared_fields(event: _Event, message: _Message) -> EventFields:
    """Return the fields that events of all kinds have."""
    metadata = message.get("metadata")
    fields = echoed_metadata(metadata) if isinstance(metadata, dict) else {}
    if message_id := event.get("_id") or message.get("_id"):
        fields["provider_message_id"] = message_id
    if subject := message.get("subject"):
        fields["subject"] = subject
    if labels := message.get("tags"):
        fields["tags"] = limited_tags(labels)
    if (time := event.get("ts")) is not None:
        fields["occurred_at"] = epoch_time(time)
    if address := event.get("ip"):
        fields["ip"] = address
    if agent := event.get("user_agent"):
        fields["user_agent"] = agent
    clicks = message.get("clicks")
    if event.get("event") == "click" and (
        url := event.get("url") or (clicks[-1].get("url") if clicks else None)
    ):
        fields["url"] = url
    return fields
