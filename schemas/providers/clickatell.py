"""Clickatell: message status callbacks of One API, and of its APIs before that.

One API pushes statuses in `event.messageStatusUpdate`, without numbers: the message's id joins an
event with its row. Its status word decides. The REST API pushes one status (JSON, form or query)
whose code decides, and the HTTP API a code alone. The sender's metadata comes back in the client's
message id, or in the query of the callback's address. Sources: Clickatell's docs, "One API: Message
status codes and descriptions", "REST API: Status callback", "Callback (push status and cost
notification)" and "Message status codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas.providers._common import (
    FAILURE_KINDS,
    METADATA_FIELDS,
    as_text,
    callback_metadata,
    channel_label,
    echoed_texts,
    form_fields,
    international_number,
    read_elements,
    reference_metadata,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time, reported_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "clickatell"
CHANNEL: Final[Channel] = "sms"
TELLS: Final = Tells(ids="`clientMessageId`, query", recipient="not by One API", batches=True)

#: Where the statuses of One API are.
STATUSES_PATH: Final = ("event", "messageStatusUpdate")
#: What only a recipient's message has: One API's `moText` and `moMedia`, the HTTP API's `moMsgId`,
#: the REST API's `fromNumber`.
INCOMING_PREFIXES: Final = ("mo", "fromNumber")
STATUS_KINDS: Final = {
    "UNKNOWN": "unknown",
    "QUEUED": "queued",
    "SCHEDULED": "queued",
    "SENT_TO_SUPPLIER": "sent",
    "DEVICE_ACK": "delivery",
    "READ": "read",
    "EXPIRED": "expired",
    "STOPPED_BY_USER": "failed",
    "STOPPED_BY_ADMIN": "failed",
    "DELIVERY_FAILURE": "undelivered",
    # Of a sandbox, which sends nothing.
    "EMULATED": "note",
    "INSUFFICIENT_ACCOUNT_BALANCE": "failed",
    "VOLUME_LIMIT": "failed",
    "VOLUME_LIMIT_DAILY": "failed",
    "VOLUME_LIMIT_MONTHLY": "failed",
    "RECIPIENT_DOES_NOT_EXIST": "undelivered",
    "ENCRYPTION_ACCESS_DENIED": "failed",
    "ENCRYPTION_CONTENT_ERROR": "failed",
    "MEDIA_NOT_FOUND": "failed",
    "MEDIA_SIZE_ERROR": "failed",
    "MEDIA_CHECKSUM_FAILURE": "failed",
    "MEDIA_REJECTED_BY_SUPPLIER": "failed",
    "MEDIA_METADATA_ERROR": "failed",
    "MEDIA_ACCESS_ERROR": "failed",
    "ROUTING_ERROR": "undelivered",
    "WHATSAPP_SPAM_RATE_LIMIT_REACHED": "rejected",
}
#: Prefix of errors that only WhatsApp has.
WHATSAPP_ERROR_PREFIX: Final = "WHATSAPP_"
#: Statuses of the older APIs, whose words are not documented; "delivered to the gateway" (3) is not
#: delivered.
CODE_KINDS: Final = {
    "1": "unknown",
    "2": "queued",
    "3": "sent",
    "4": "delivery",
    "5": "failed",
    "6": "failed",
    "7": "undelivered",
    "8": "queued",
    "9": "undelivered",
    "10": "expired",
    "11": "queued",
    "12": "failed",
    "13": "failed",
    "14": "failed",
}
#: The fields of a form or query that are read: the REST API's, and under them the HTTP API's.
FORM_NAMES: Final = {
    "messageId": "messageId",
    "clientMessageId": "clientMessageId",
    "to": "to",
    "statusCode": "statusCode",
    "status": "status",
    "statusDescription": "statusDescription",
    "timestamp": "timestamp",
    "apiMsgId": "messageId",
    "cliMsgId": "clientMessageId",
    "moMsgId": "moMsgId",
}

_read_status: Final = validator(dict[str, object])


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one callback; see `schemas.providers.Adapter`."""
    metadata = callback_metadata(headers)
    if payload.lstrip()[:1] in (b"{", b"["):
        return read_elements(
            payload,
            lambda element: _status_events(_read_status(element), metadata),
            path=STATUSES_PATH,
        )
    names = METADATA_FIELDS | FORM_NAMES.keys()
    form = form_fields(payload.decode("utf-8", "replace").removeprefix("?"), names)
    status = {FORM_NAMES[name]: value for name, value in form.items() if name in FORM_NAMES}
    return _status_events(status, metadata | echoed_texts(form))


def _status_events(status: Mapping[str, object], metadata: EventFields) -> Iterator[EventFields]:
    """Yield the event of one status; none for what a recipient sends."""
    if any(name.startswith(INCOMING_PREFIXES) for name in status):
        return
    message_id = as_text(status.get("messageId"))
    word, code = _word_and_code(status)
    if not message_id or not (word or code):
        raise UnreadableError("a Clickatell status names its messageId, and status or statusCode")
    channel = as_text(status.get("channel"))
    kind = STATUS_KINDS.get(word)
    if kind is None and word.startswith(WHATSAPP_ERROR_PREFIX):
        kind = "failed"
    if kind is None and not channel:
        kind = CODE_KINDS.get(code)
    if kind is None:
        raise UnreadableError(f"Clickatell status {word[:60]!r} ({code[:20]!r}) is not known")
    event: EventFields = {
        **metadata,
        **reference_metadata(as_text(status.get("clientMessageId"))),
        **reported_time(as_text(status.get("timestamp")), epoch_time),
        "kind": kind,
        "recipient": international_number(as_text(status.get("to"))),
        "provider_message_id": message_id,
        "label": channel_label(word or code, channel),
    }
    if kind in FAILURE_KINDS:
        event["reason_code"] = code or word
    if kind == "delivery":
        event["handset"] = True
    if description := as_text(status.get("statusDescription")):
        event["diagnostic"] = description
    yield event


def _word_and_code(status: Mapping[str, object]) -> tuple[str, str]:
    """Return a status's word and code; the HTTP API writes the code, with zeros, as its status."""
    word = as_text(status.get("status")).upper()
    code = as_text(status.get("statusCode")).lstrip("0")
    return ("", word.lstrip("0")) if word.isdecimal() else (word, code)
