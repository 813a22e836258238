"""Resend: one event for each notification, whose id is in the header `svix-id`.

Resend sends through Amazon SES and passes on its words for bounces. An event names all addresses of
its message. A step of sending holds for each of them; what one of them did (a bounce, an open) is
never copied to all: it belongs to the address that the report names, else it has no recipient.
Sources: Resend's docs, "Event types" and "Email bounces", and its OpenAPI description.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.addresses import addresses_in, bare_address
from schemas.providers._common import Ignored, echoed_metadata, reply_fields
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time
from schemas.providers.ses import LABEL_CLASSES, PROVIDER_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields

PROVIDER: Final = "resend"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="`tags`",
    recipient="yes; of several maybe none",
    deferrals=True,
    opens="unmarked",
    batches=True,
)
EVENT_ID_HEADERS: Final = ("svix-id", "webhook-id")

EVENT_KINDS: Final = {
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
#: Steps of sending, which hold for all addresses of a message.
SHARED_KINDS: Final = frozenset({"queued", "sent", "delivery", "failure"})
#: Contacts, domains, the suppression list and incoming mail: not about a message sent.
IGNORED_PREFIXES: Final = ("contact.", "domain.", "suppression.", "email.received")
IGNORED: Final = Ignored(("type",), prefixes=IGNORED_PREFIXES)
#: In a reason for suppression: the address is not bad, but wants no mail.
UNSUBSCRIBED_TEXT: Final = "unsubscribe"


class _Tag(TypedDict, total=False):
    name: str | None
    value: object


class _Click(TypedDict, total=False):
    link: str | None
    timestamp: str | None
    ipAddress: str | None
    userAgent: str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Report(TypedDict, total=False):
    """Why a message bounced, was suppressed or failed; each has some of these."""

    type: str | None
    subType: str | None
    reason: str | None
    message: str | None
    diagnosticCode: list[str | None] | str | None


class _Data(TypedDict, total=False):
    email_id: str | None
    to: list[str] | str | None
    subject: str | None
    tags: dict[str, object] | list[_Tag] | None
    bounce: _Report | None
    suppressed: _Report | None
    failed: _Report | None
    open: _Click | None
    click: _Click | None


class _Event(TypedDict, total=False):
    type: str
    created_at: str | None
    data: _Data


# From bytes, so that unknown members, as a message's headers, are never built.
_read_event: Final = TypeAdapter(_Event).validator.validate_json


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    event: _Event = _read_event(payload)
    word = event.get("type") or ""
    if word.startswith(IGNORED_PREFIXES):
        return
    kind = EVENT_KINDS.get(word)
    if kind is None:
        raise UnreadableError(
            f"Resend event {word[:60]!r} is not known" if word else "a Resend event names 'type'"
        )
    data = event.get("data")
    if data is None:
        raise UnreadableError(f"a Resend {word} event has to hold 'data'")
    report = data.get("bounce") or data.get("suppressed") or data.get("failed") or _Report()
    fields: EventFields = {
        "label": word,
        **_shared_fields(data),
        **_time_and_engagement(kind, event, data),
        **_report_fields(kind, report),
    }
    event_id = next((headers[name] for name in EVENT_ID_HEADERS if headers.get(name)), "")
    if event_id:
        fields["provider_event_id"] = event_id
    destinations, texts = _destinations(data), _texts(report)
    for recipient in _recipients(fields["kind"], destinations, texts):
        reply = reply_fields(_own_text(recipient, destinations, texts))
        yield {**fields, **reply, "recipient": recipient}


def _shared_fields(data: _Data) -> EventFields:
    """Return the fields that events of all kinds have."""
    tags = data.get("tags")
    if isinstance(tags, list):
        tags = {name: tag.get("value") for tag in tags if (name := tag.get("name"))}
    fields = echoed_metadata(tags)
    if message_id := data.get("email_id"):
        fields["provider_message_id"] = message_id
    if subject := data.get("subject"):
        fields["subject"] = subject
    return fields


def _time_and_engagement(kind: str, event: _Event, data: _Data) -> EventFields:
    """Return an event's time (a click has its own), link, IP address and user agent."""
    fields: EventFields = {}
    time = event.get("created_at")
    if engagement := data.get("click") if kind == "click" else data.get("open"):
        if kind == "click":
            time = engagement.get("timestamp") or time
            if url := engagement.get("link"):
                fields["url"] = url
        if address := engagement.get("ipAddress"):
            fields["ip"] = address
        if agent := engagement.get("userAgent"):
            fields["user_agent"] = agent
    if time:
        fields["occurred_at"] = iso_time(time)
    return fields


def _report_fields(kind: str, report: _Report) -> EventFields:
    """Return the kind and what a report adds to it; a refusal by the provider is no bounce."""
    fields: EventFields = {}
    label = "/".join(word for word in (report.get("type"), report.get("subType")) if word)
    reason = report.get("reason") or label
    if reason:
        fields["reason_code"] = reason
    if kind == "invalid" and UNSUBSCRIBED_TEXT in reason.lower():
        kind = "skipped"
    if kind == "bounce":
        if label:
            fields["label"] = label
        kind = PROVIDER_REFUSALS.get(report.get("subType") or "", kind)
    fields["kind"] = kind
    return fields


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    label = bounce.get("label", "")
    return LABEL_CLASSES.get(label) or LABEL_CLASSES.get(label.partition("/")[0])


def _destinations(data: _Data) -> list[str]:
    to = data.get("to") or []
    return [bare_address(address) for address in ([to] if isinstance(to, str) else to)]


def _texts(report: _Report) -> list[str]:
    """Return the servers' replies, one for each recipient that bounced; else Resend's own text."""
    replies = report.get("diagnosticCode") or []
    texts = [text for text in ([replies] if isinstance(replies, str) else replies) if text]
    message = report.get("message")
    return texts or ([message] if message else [])


def _recipients(kind: str, destinations: list[str], texts: list[str]) -> list[str]:
    """Return the addresses an event is about; [''] if it may be any of several."""
    if kind in SHARED_KINDS or len(destinations) == 1:
        return destinations or [""]
    named = frozenset[str]().union(*map(addresses_in, texts))
    return [address for address in destinations if address.lower() in named] or [""]


def _own_text(recipient: str, destinations: list[str], texts: list[str]) -> str:
    """Return the texts that name a recipient, else the one at its place, else all."""
    if own := [text for text in texts if recipient.lower() in addresses_in(text)]:
        return "; ".join(own)
    if len(destinations) == len(texts) and recipient in destinations:
        return texts[destinations.index(recipient)]
    return "; ".join(texts)
