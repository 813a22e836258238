"""Resend: one event for each notification, whose id is in the header `svix-id`.

Resend sends through Amazon SES and hands on its words for bounces. An event names all addresses of
its message. A step of sending stands for each of them; but what one of them did (a bounce, an open)
is never copied to all: then it is of the address the report names, or of the message, with no
recipient. Sources: Resend's docs, "Event types" and "Email bounces", and its OpenAPI description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import bare, instant, ours, reply
from schemas.providers.ses import ECHOES, LABELS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields

PROVIDER: Final = "resend"
CHANNEL: Final[Channel] = "email"
EVENT_IDS: Final = ("svix-id", "webhook-id")

KINDS: Final = {
    "email.scheduled": "queued",
    "email.sent": "sent",
    "email.delivered": "delivery",
    "email.delivery_delayed": "deferral",
    "email.bounced": "bounce",
    "email.complained": "complaint",
    "email.opened": "open",
    "email.clicked": "click",
    "email.failed": "failure",
    "email.suppressed": "invalid",
}
#: Steps of sending, which all addresses of a message share.
OF_ALL: Final = frozenset({"queued", "sent", "delivery", "failure"})
#: Contacts, domains, the suppression list and mail coming in: nothing about a message sent.
NOT_OURS: Final = ("contact.", "domain.", "suppression.", "email.received")
#: What a reason for suppression says where the address is not known to be bad: it wants no mail.
UNSUBSCRIBED: Final = "unsubscribe"

Maybe = str | None


class _Tag(TypedDict, total=False):
    name: Maybe
    value: object


class _Click(TypedDict, total=False):
    link: Maybe
    timestamp: Maybe
    ipAddress: Maybe
    userAgent: Maybe


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Report(TypedDict, total=False):
    """Why a message was bounced, suppressed or delayed, or failed; each has some of these."""

    type: Maybe
    subType: Maybe
    reason: Maybe
    message: Maybe
    diagnosticCode: list[Maybe] | str | None


class _Data(TypedDict, total=False):
    email_id: Maybe
    to: list[str] | str | None
    subject: Maybe
    tags: dict[str, object] | list[_Tag] | None
    bounce: _Report | None
    suppressed: _Report | None
    failed: _Report | None
    open: _Click | None
    click: _Click | None


class _Event(TypedDict, total=False):
    type: str
    created_at: Maybe
    data: _Data


# Unknown members, as a message's headers, are skipped without being built.
_event: Final = TypeAdapter(_Event).validator.validate_json


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    event = _event(payload)
    word = event.get("type") or ""
    if word.startswith(NOT_OURS):
        return
    kind = KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Resend event {word[:60]!r} is not known" if word else "a Resend event names 'type'"
        )
    data = event.get("data")
    if data is None:
        raise UnreadableError(f"a Resend {word} event has to hold 'data'")
    report = data.get("bounce") or data.get("suppressed") or data.get("failed") or _Report()
    fields: Fields = {
        "label": word,
        **_shared(data),
        **_looked(kind, event, data),
        **_told(kind, report),
    }
    event_id = next((headers[name] for name in EVENT_IDS if headers.get(name)), "")
    if event_id:
        fields["provider_event_id"] = event_id
    for recipient in _recipients(str(fields["kind"]), data, str(fields.get("diagnostic", ""))):
        yield {**fields, "recipient": recipient}


def _shared(data: _Data) -> Fields:
    """Return what every event says about its message."""
    named = data.get("tags")
    if isinstance(named, list):
        named = {name: tag.get("value") for tag in named if (name := tag.get("name"))}
    fields = ours(named)
    if message_id := data.get("email_id"):
        fields["provider_message_id"] = message_id
    if subject := data.get("subject"):
        fields["subject"] = subject
    return fields


def _looked(kind: str, event: _Event, data: _Data) -> Fields:
    """Return an event's time (a click has its own) and who looked at the message."""
    fields: Fields = {}
    time = event.get("created_at")
    if looked := data.get("click") if kind == "click" else data.get("open"):
        if kind == "click":
            time = looked.get("timestamp") or time
            if url := looked.get("link"):
                fields["url"] = url
        if address := looked.get("ipAddress"):
            fields["ip"] = address
        if agent := looked.get("userAgent"):
            fields["user_agent"] = agent
    if time:
        fields["occurred_at"] = instant(time)
    return fields


def _told(kind: str, report: _Report) -> Fields:
    """Return the kind with what a report adds to it; an echo of a suppression is no bounce."""
    said = report.get("diagnosticCode")
    texts = [said] if isinstance(said, str) else [text for text in said or () if text]
    fields = reply("; ".join(texts) or report.get("message"))
    label = "/".join(word for word in (report.get("type"), report.get("subType")) if word)
    reason = report.get("reason") or label
    if reason:
        fields["reason_code"] = reason
    if kind == "invalid" and UNSUBSCRIBED in reason.lower():
        kind = "skipped"
    if kind == "bounce":
        if label:
            fields["label"] = label
        kind = ECHOES.get(report.get("subType") or "", kind)
    fields["kind"] = kind
    return fields


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    label = str(bounce.get("label", ""))
    return LABELS.get(label) or LABELS.get(label.partition("/")[0])


def _recipients(kind: str, data: _Data, text: str) -> list[str]:
    """Return the addresses an event is about; [''] if it may be any of several."""
    to = data.get("to") or []
    everyone = [bare(address) for address in ([to] if isinstance(to, str) else to)]
    if kind in OF_ALL or len(everyone) == 1:
        return everyone or [""]
    lowered = text.lower()
    return [address for address in everyone if address and address.lower() in lowered] or [""]
