"""Zoho ZeptoMail: one kind of event in each push, for each message with its recipients.

A bounce names its recipient. An open or a click does not: it belongs to the message's recipient if
there is one, and is never copied to several. The sender's own reference is `client_reference`.
Sources: ZeptoMail's help, "Webhooks", and its page "Instant email notifications with webhooks".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from pydantic_core import to_json
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    as_text,
    limited_tags,
    non_empty,
    read_batch,
    reader,
    reference_metadata,
    reply_fields,
    unknown_event,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "zeptomail"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="`client_reference`",
    recipient="yes; of several maybe none",
    opens="unmarked",
    batches=True,
)

#: By event name, in lower case and without what stands between its words.
EVENT_KINDS: Final = {
    "delivered": "delivery",
    "softbounce": "bounce",
    "hardbounce": "bounce",
    "emailopen": "open",
    "open": "open",
    "emaillinkclick": "click",
    "click": "click",
    "feedbackloop": "complaint",
}
#: ZeptoMail calls a bounce hard if the address is invalid.
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {"softbounce": "soft", "hardbounce": "hard"}
_WORD_SEPARATORS: Final = str.maketrans("", "", " _-")


class _Address(TypedDict, total=False):
    address: str | None


class _To(TypedDict, total=False):
    email_address: _Address | list[_Address] | None


class _Info(TypedDict, total=False):
    to: list[_To] | None
    cc: list[_To] | None
    bcc: list[_To] | None
    client_reference: str | None
    email_reference: str | None
    subject: str | None
    tag: str | None


class _Detail(TypedDict, total=False):
    reason: str | None
    diagnostic_message: str | None
    bounced_recipient: str | None
    time: str | None
    ip_address: str | None
    user_agent: str | None
    clicked_link: str | None


class _Data(TypedDict, total=False):
    details: list[_Detail] | _Detail | None


class _Message(TypedDict, total=False):
    request_id: str | None
    email_info: _Info | None
    event_data: list[_Data] | _Data | None


class _Push(TypedDict, total=False):
    event_name: object
    event_message: list[object] | dict[str, object] | None
    webhook_request_id: str | None


_read_push: Final = reader(_Push)
_read_message: Final = validator(_Message)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one push; see `schemas.providers.Adapter`."""
    del headers
    if payload[:1] == b"%":  # it may be encoded as a form is
        payload = unquote_to_bytes(payload.replace(b"+", b" "))
    push: _Push = _read_push(payload)
    word = as_text(push.get("event_name"))
    name = word.lower().translate(_WORD_SEPARATORS)
    if name not in EVENT_KINDS:
        raise unknown_event("ZeptoMail", word, "event_name")
    messages = push.get("event_message")
    if not messages:
        raise UnreadableError(f"a ZeptoMail {name} event has to hold 'event_message'")
    shared: EventFields = {"kind": EVENT_KINDS[name], "label": name}
    if event_id := push.get("webhook_request_id"):
        shared["provider_event_id"] = event_id
    return read_batch(
        messages if isinstance(messages, list) else [messages],
        lambda message: _message_events(message, shared),
        lambda message: to_json({"event_name": word, "event_message": [message]}),
    )


def _message_events(element: object, shared: EventFields) -> Iterator[EventFields]:
    message: _Message = _read_message(element)
    info = message.get("email_info") or _Info()
    fields: EventFields = {
        "provider_message_id": message.get("request_id") or info.get("email_reference") or "",
        "subject": info.get("subject") or "",
        "tags": limited_tags([info.get("tag")]),
    }
    common: EventFields = {
        **non_empty(fields),
        **reference_metadata(info.get("client_reference")),
        **shared,
    }
    sole = _sole_recipient(info)
    details = [
        detail
        for data in _as_list(message.get("event_data"))
        for detail in _as_list(data.get("details"))
    ]
    for detail in details or [_Detail()]:
        yield {**common, **_detail_fields(detail, sole)}


def _detail_fields(detail: _Detail, sole_recipient: str) -> EventFields:
    fields: EventFields = {
        "ip": detail.get("ip_address") or "",
        "user_agent": detail.get("user_agent") or "",
        "url": detail.get("clicked_link") or "",
        "reason_code": detail.get("reason") or "",
    }
    return {
        "recipient": bare_address(detail.get("bounced_recipient") or sole_recipient),
        **non_empty(fields),
        **reply_fields(detail.get("diagnostic_message") or detail.get("reason")),
        **reported_time(detail.get("time"), iso_time),
    }


def _sole_recipient(info: _Info) -> str:
    """Return the one address that a message went to, or '' if there are several."""
    addresses = {
        address
        for recipients in (info.get("to"), info.get("cc"), info.get("bcc"))
        for recipient in recipients or ()
        for named in _as_list(recipient.get("email_address"))
        if (address := named.get("address"))
    }
    return addresses.pop() if len(addresses) == 1 else ""


def _as_list(value: Any) -> list[Any]:
    """Return one or several of something as a list, for ZeptoMail writes either."""
    if isinstance(value, list):
        return value
    return [value] if value else []


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))
