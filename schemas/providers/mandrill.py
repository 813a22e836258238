"""Mandrill (Mailchimp Transactional): a form whose field `mandrill_events` is an array of events.

Sync events (of the allow and deny lists) and mail coming in are nothing to log. A single event, or
the array, is also read without the form around it: so a rejected event can be decoded again alone.
Sources: Mailchimp Developer, "Webhooks" and the reject reasons of "Messages: send".
"""

from __future__ import annotations

from binascii import a2b_qp
from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import bare, elements, epoch, ours, reply, tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields
    from schemas.providers import Rejected

PROVIDER: Final = "mandrill"
CHANNEL: Final[Channel] = "email"
FIELD: Final = b"mandrill_events"

KINDS: Final = {
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
#: Maintenance of the allow and deny lists, and mail coming in.
NOT_OURS: Final = frozenset({"whitelist", "blacklist", "allowlist", "denylist", "inbound"})
#: Why Mandrill did not even try; where it does not say, the address is on its deny list.
REJECTS: Final = {
    "hard-bounce": "invalid",
    "soft-bounce": "invalid",
    "spam": "invalid",
    "custom": "invalid",
    "unsub": "skipped",
    "invalid": "bounce",
    "invalid-sender": "failure",
    "test-mode-limit": "failure",
    "unsigned": "failure",
    "rule": "failure",
}
UNSAID: Final = "invalid"
LABELS: Final[Mapping[str, BounceClass]] = {
    "hard_bounce": "hard",
    "soft_bounce": "soft",
    "reject": "hard",
}
#: Bounce codes (`bgtools_code`) of refusals that are not about the address.
BLOCKS: Final = frozenset({"23", "50", "51", "52", "53", "54"})
#: Events whose last SMTP dialogue is their own; a bounce's may be that of an earlier deferral.
OWN_DIALOGUE: Final = frozenset({"sent", "deferral", "delivery"})
Maybe = str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Click(TypedDict, total=False):
    url: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Dialogue(TypedDict, total=False):
    diag: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Reject(TypedDict, total=False):
    reason: Maybe
    email: Maybe
    detail: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Message(TypedDict, total=False):
    _id: Maybe
    email: Maybe
    subject: Maybe
    tags: list[Maybe] | None
    metadata: dict[str, object] | list[object] | None  # an empty one comes as a list
    clicks: list[_Click] | None
    smtp_events: list[_Dialogue] | None
    diag: Maybe
    bounce_description: Maybe
    bgtools_code: Maybe
    reject: _Reject | str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: Maybe
    type: Maybe  # sync events
    ts: float | None
    _id: Maybe
    msg: _Message | None
    reject: _Reject | None
    url: Maybe
    ip: Maybe
    user_agent: Maybe


_event: Final = TypeAdapter(_Event).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:  # noqa: ARG001
    """Yield the events of one form; see `schemas.providers.Adapter`."""
    if payload.lstrip()[:1] in (b"[", b"{"):
        yield from elements(payload, _read)
        return
    yield from elements(_array(payload), _read)


def _array(form: bytes) -> bytes:
    """Return the decoded field of a form that holds the events."""
    for pair in form.split(b"&"):
        name, _, value = pair.partition(b"=")
        if name == FIELD:
            # Half of such a body is escapes. Apart from its sign, quoted-printable is the same
            # code, and its decoder is ten times as fast as that of `urllib`.
            quoted = value.replace(b"+", b" ").replace(b"=", b"=3D").replace(b"%", b"=")
            return a2b_qp(quoted)
    raise UnreadableError(f"a Mandrill form has to hold the field {FIELD.decode()!r}")


def _read(element: object) -> Iterator[Fields]:
    event = _event(element)
    word = event.get("event") or event.get("type") or ""
    if word in NOT_OURS:
        return
    kind = KINDS.get(word)
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
        kind = _kind_of_reject(reason or "")
    reason = reason or message.get("bounce_description")
    fields: Fields = {
        "kind": kind,
        "recipient": bare(message.get("email") or reject.get("email") or ""),
        "label": word,
        **_shared(event, message),
        **reply(_said(kind, message)),
    }
    if reason:
        fields["reason_code"] = reason
    if kind == "bounce" and (code := message.get("bgtools_code")):
        fields["label"] = f"{word}/{code}"
    yield fields


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    word, _, code = str(bounce.get("label", "")).partition("/")
    return "block" if code in BLOCKS else LABELS.get(word)


def _kind_of_reject(reason: str) -> str:
    """Return what a rejection is; an unknown reason must not list an address as bad."""
    if not reason:
        return UNSAID
    kind = REJECTS.get(reason.replace("_", "-"))
    if kind is None:
        raise UnreadableError(f"Mandrill reject reason {reason[:60]!r} is not known")
    return kind


def _reject(event: _Event, message: _Message) -> _Reject:
    """Return why a message was rejected, wherever the event says so."""
    reject = message.get("reject")
    if isinstance(reject, str):
        return {"reason": reject}
    return reject or event.get("reject") or {}


def _said(kind: str, message: _Message) -> Maybe:
    """Return what the receiving server said last."""
    dialogues = message.get("smtp_events")
    if not message.get("diag") and dialogues and kind in OWN_DIALOGUE:
        return dialogues[-1].get("diag")
    return message.get("diag")


def _shared(event: _Event, message: _Message) -> Fields:
    """Return what every event says: whose message, its time, and who looked at it."""
    metadata = message.get("metadata")
    fields = ours(metadata) if isinstance(metadata, dict) else {}
    if message_id := event.get("_id") or message.get("_id"):
        fields["provider_message_id"] = message_id
    if subject := message.get("subject"):
        fields["subject"] = subject
    if labels := message.get("tags"):
        fields["tags"] = tags(labels)
    if (time := event.get("ts")) is not None:
        fields["occurred_at"] = epoch(time)
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
