"""Postfix: lines of its log about one delivery, or one message that expired, as they were logged.

The last line of a record is what happened. Those before it, of the same queue id, say of which
message: `message-id=` and header lines of cleanup, `from=` of qmgr; before a line that says that a
message expired, the last line about each recipient as well. `sendlog publish --postfix` puts
records together. Timestamps without year and zone are read by whoever publishes them, into the
record header `syslog-time`. Which message it is: our own headers, if cleanup logs them
(`header_checks` with INFO), else the variable return path (`verp`), else the Message-ID. Sources:
the manual pages qmgr(8), smtp(8), local(8), header_checks(5), and Postfix's source; RFC 3164 and
RFC 5424 for the timestamps.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.providers._common import callback_metadata, echoed_texts, reply_fields
from schemas.providers._mail import OWN_HEADERS, field_address
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time
from schemas.providers.verp import verp_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "postfix"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="logged `X-Sendlog-…`, VERP",
    recipient="yes; of a mail given up maybe none",
    deferrals=True,
    batches=True,
)

STATUS_KINDS: Final = {
    "sent": "delivery",
    "deferred": "deferral",
    "bounced": "bounce",
    "expired": "bounce",
    "force-expired": "bounce",
    # With soft_bounce = yes: it stays in the queue.
    "softbounce": "deferral",
}
#: Of probes that only verify an address; there is no message.
IGNORED_STATUSES: Final = frozenset({"deliverable", "undeliverable"})
#: A bounce that Postfix gave up on, but not for which cause; of an expired one the codes say it.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {"bounced": "refused", "expired": "soft"}
#: The record header with the time of the last line, ISO 8601 with a zone.
TIME_HEADER: Final = "syslog-time"
#: Postfix logs shorter ones; what is longer is cut.
MAX_LINE_CHARACTERS: Final = 8_192
#: A queue id: hexadecimal, or since Postfix 2.9 also of digits and consonants.
_QUEUE_ID: Final = r"[0-9A-F]{5,20}|[0-9B-DF-HJ-NP-TV-Zb-df-hj-np-tv-z]{10,20}"
_LINE: Final = re.compile(
    r"(?:<\d{1,3}>(?:1 )?)?"
    r"(?P<stamp>[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d))"
    r"(?:\.\d+)? (?:\S+ )?postfix[^/\s]*/(?P<program>[\w./-]+)"
    rf"(?:\[\d+\]:|(?: \S+){{3}}) (?:(?P<queue_id>{_QUEUE_ID}): )?(?P<text>.*)"
)
_DELIVERY: Final = re.compile(
    r"to=<(?P<to>[^>]*)>, (?:orig_to=<(?P<orig_to>[^>]*)>, )?relay=(?P<relay>\S+), "
    r"(?:[a-z_]+=[^,]*, )*?(?:dsn=(?P<dsn>[245]\.\d{1,3}\.\d{1,3}), )?"
    r"status=(?P<status>[\w-]+)(?: \((?P<reply>.*?)\)?)?"
)
_EXPIRED: Final = re.compile(r"from=<[^>]*>, status=(?P<status>(?:force-)?expired), .*")
_MESSAGE_ID: Final = re.compile(r"message-id=<?(?P<message_id>[^>\s]*)>?")
_SENDER: Final = re.compile(r"from=<(?P<sender>[^>]*)>, size=\d+, .*")
_HEADER: Final = re.compile(
    r"(?:info|warning): header (?P<name>[\w-]+): (?P<value>.{0,1000}?)"
    r"(?: from [^;]{0,300}; from=<.*)?"
)
#: The message goes on, to a content filter of the same machine or to another address.
_PASSED_ON: Final = re.compile(r".*\b(?:queued|forwarded) as \w+.*")
_LOCAL_RELAY: Final = re.compile(r"(?:local|virtual|127\.|localhost|\[?::1)")


class LogLine(NamedTuple):
    """A line of Postfix: its timestamp, the program, the queue id ('' without), and the rest."""

    stamp: str
    program: str
    queue_id: str
    text: str


class Delivery(NamedTuple):
    """What a line says of one recipient."""

    recipient: str
    relay: str
    enhanced_status: str
    status: str
    reply: str


def parse_line(line: str) -> LogLine | None:
    """Return a line of Postfix's log, or None for a line of anything else."""
    match = _LINE.fullmatch(line[:MAX_LINE_CHARACTERS])
    if match is None:
        return None
    program = match["program"].rpartition("/")[2]
    return LogLine(match["stamp"], program, match["queue_id"] or "", match["text"])


def delivery_of(line: LogLine) -> Delivery | None:
    """Return the delivery that a line is about, if it is."""
    match = _DELIVERY.fullmatch(line.text)
    if match is None:
        return None
    # What the message was sent to; an alias on the way is not.
    recipient = field_address(match["orig_to"] or "") or match["to"]
    status = match["status"].lower()
    return Delivery(recipient, match["relay"], match["dsn"] or "", status, match["reply"] or "")


def expired_status(line: LogLine) -> str:
    """Return the status of a message that expired, '' of any other line."""
    match = _EXPIRED.fullmatch(line.text)
    return match["status"] if match else ""


def sender_of(line: LogLine) -> str:
    """Return the envelope sender that a line of qmgr has, '' of any other line."""
    match = _SENDER.fullmatch(line.text)
    return match["sender"] if match else ""


def is_context(line: LogLine) -> bool:
    """Tell whether a line says of which message those with its queue id are."""
    return bool(
        (line.program == "cleanup" and (_MESSAGE_ID.match(line.text) or _HEADER.match(line.text)))
        or _SENDER.fullmatch(line.text)
    )


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of one record; see `schemas.providers.Adapter`."""
    lines = [parse_line(text) for text in payload.decode("utf-8", "replace").splitlines() if text]
    last = lines[-1] if lines else None
    if last is None:
        raise UnreadableError("the record ends with no line of Postfix's log")
    own = [line for line in lines[:-1] if line and line.queue_id == last.queue_id]
    delivery, expired = delivery_of(last), expired_status(last)
    if delivery is None and not expired:
        return
    status = expired or (delivery.status if delivery else "")
    if status in IGNORED_STATUSES:
        return
    if status not in STATUS_KINDS:
        raise UnreadableError(f"Postfix status {status[:60]!r} is not known")
    message = _message_fields(own, callback_metadata(headers))
    if message is None:
        return
    if time := _time(last, headers):
        message["occurred_at"] = time
    deliveries = [delivery] if delivery else _last_deliveries(own)
    for each in deliveries or [Delivery("", "", "", "", "")]:
        yield {**message, **_recipient_fields(each, last.program, status)}


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", "").removeprefix("force-"))


def _recipient_fields(delivery: Delivery, program: str, status: str) -> EventFields:
    kind = STATUS_KINDS[status]
    if kind == "delivery" and (program == "discard" or _is_passed_on(delivery)):
        kind = "note"
    fields: EventFields = {
        **reply_fields(delivery.reply),
        "kind": kind,
        "recipient": delivery.recipient,
        "label": status,
    }
    if delivery.enhanced_status:
        fields["enhanced_status"] = delivery.enhanced_status
    return fields


def _is_passed_on(delivery: Delivery) -> bool:
    passed_on = _PASSED_ON.fullmatch(delivery.reply)
    return bool(passed_on and _LOCAL_RELAY.match(delivery.relay))


def _last_deliveries(lines: Sequence[LogLine]) -> list[Delivery]:
    """Return what was said last of each recipient that did not get the message."""
    by_recipient = {
        delivery.recipient: delivery for line in lines if (delivery := delivery_of(line))
    }
    return [each for each in by_recipient.values() if STATUS_KINDS.get(each.status) == "deferral"]


def _message_fields(lines: Sequence[LogLine], metadata: EventFields) -> EventFields | None:
    """Return what the lines say of the message; None for a report of Postfix's own.

    `metadata` is what a publisher read of a return path in a form of its own.
    """
    texts: dict[str, str] = {}
    own: dict[str, str] = {}
    message_id = ""
    for line in lines:
        if match := _SENDER.fullmatch(line.text):
            if not match["sender"]:
                return None
            texts.update(verp_fields([match["sender"]]))
        elif line.program == "cleanup" and (match := _HEADER.fullmatch(line.text)):
            header = match["name"].lower()
            name = OWN_HEADERS.get(header)
            if name and (name not in own or header.startswith("x-sendlog-")):
                own[name] = match["value"].strip()
        elif line.program == "cleanup" and (match := _MESSAGE_ID.match(line.text)):
            message_id = match["message_id"]
    fields: EventFields = {**echoed_texts(texts), **metadata, **echoed_texts(own)}
    if message_id:
        fields["provider_message_id"] = message_id
    return fields


def _time(line: LogLine, headers: Mapping[str, str]) -> Any:
    """Return when a line was logged, None if nothing says it."""
    stamp = line.stamp if line.stamp[0].isdigit() else headers.get(TIME_HEADER, "")
    try:
        return iso_time(stamp) if stamp else None
    except UnreadableError:
        return None
