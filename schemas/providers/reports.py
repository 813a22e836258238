"""Reports that mail servers send themselves: one mail in each record, as it came.

Delivery status notifications (RFC 3464), bounces that are only a text (`_bounce_texts`), and
feedback reports (RFC 5965, and Hotmail's older form). A warning of a delay is a deferral. Any other
mail is ignored: replies of people and of machines, and receipts for reading.

Which message a report is about is read from our own headers in the message that it returns
(`X-Sendlog-Message-Id`, `X-Sendlog-Tenant`, …), else from the address that the report was sent to
(`verp`, or the record header `x-callback-query` with what a publisher read of it), else from the
sender's ENVID; the returned `Message-ID` is the provider's id. Sources: RFC 3464, RFC 6533,
RFC 6522, RFC 3461, RFC 5965, RFC 6430, RFC 6591, RFC 3834.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from schemas.providers._bounce_texts import read_text
from schemas.providers._common import METADATA_FIELDS, echoed_texts, form_fields, reply_fields
from schemas.providers._mail import (
    ENVELOPE_HEADERS,
    MAX_STATUS_BYTES,
    OWN_HEADERS,
    Headers,
    Mail,
    field_address,
    field_list,
    mail_time,
    read_mail,
    untyped,
    xtext,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers.verp import QUERY_HEADER, verp_fields, verp_headers
from schemas.smtp_replies import leading_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.bounces import LabelClass
    from schemas.events import Channel, EventFields

PROVIDER: Final = "reports"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="`X-Sendlog-…`, VERP, ENVID",
    recipient="yes; of a complaint if known",
    deferrals=True,
    batches=True,
)

#: By the action of a recipient (RFC 3464, 2.3.3). Whoever relays a message, or expands a list,
#: cannot tell what comes of it.
ACTION_KINDS: Final = {
    "failed": "bounce",
    "delayed": "deferral",
    "delivered": "delivery",
    "relayed": "note",
    "expanded": "note",
}
#: By the type of feedback (RFC 5965, 7.3; the last three are of its drafts). Only a person
#: complains: a virus scanner or a check of signatures says nothing of the recipient.
FEEDBACK_KINDS: Final = {
    "abuse": "complaint",
    "fraud": "complaint",
    "other": "complaint",
    "not-spam": "note",
    "virus": "note",
    "auth-failure": "note",
    "opt-out": "unsubscribe",
    "opt-out-list": "unsubscribe",
    "miscategorized": "note",
}
#: That a report is a bounce says that the server gave up, but not on what.
LABEL_CLASSES: Final[Mapping[str, LabelClass]] = {"failed": "refused"}
#: Record headers with the envelope of a mail that came by SMTP or LMTP.
RECIPIENT_HEADER: Final = "smtp-rcpt-to"
SENDER_HEADER: Final = "smtp-mail-from"

#: The fields that name the recipient of a group.
RECIPIENT_FIELDS: Final = frozenset({"original-recipient", "final-recipient"})
#: The fields of the message, before those of its recipients.
MESSAGE_FIELDS: Final = frozenset({
    "original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date",
    "x-postfix-queue-id", "x-postfix-sender", "x-original-message-id",
})  # fmt: skip
STATUS_TYPES: Final = ("message/delivery-status", "message/global-delivery-status")
RETURNED_TYPES: Final = (
    "message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers",
    "message/rfc822-headers", "text/rfc822",
)  # fmt: skip
#: Names before the @ under which mail servers write.
SERVER_NAMES: Final = re.compile(
    r"(?:mailer-?daemon|post-?master|mail-?delivery|mdaemon|microsoftexchange\w*|daemon)(?:\+.*)?@",
    re.IGNORECASE,
)
#: Of these, the one that no person writes under.
_DAEMON_NAME: Final = re.compile(r"mailer-?daemon@", re.IGNORECASE)
FAILED_RECIPIENTS_HEADER: Final = "x-failed-recipients"
HOTMAIL_RECIPIENT_HEADER: Final = "x-hmxmroriginalrecipient"
#: What stands in place of an address that its provider keeps back (RFC 6590 leaves the form open).
_REDACTED: Final = re.compile(r"(?:redacted|hidden|removed|x{3,}|\*+|undisclosed)", re.IGNORECASE)
_QUERY_FIELDS: Final = METADATA_FIELDS | {"recipient"}
MAX_ENVELOPE_ID_CHARACTERS: Final = 512


class _Subject(NamedTuple):
    """What a report is about: fields that its events share, and the recipient if it is known."""

    fields: EventFields
    recipient: str


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of one mail; see `schemas.providers.Adapter`."""
    mail = read_mail(payload)
    if feedback := mail.part("message/feedback-report"):
        yield from _feedback_events(mail, _fields(feedback.text()), headers)
        return
    groups = _status_groups(mail)
    if groups:
        yield from _status_events(mail, groups, headers)
        return
    if _hotmail_recipient(mail):
        yield from _feedback_events(mail, [("feedback-type", "abuse")], headers)
        return
    yield from _text_events(mail, headers)


def label_class(bounce: Mapping[str, Any]) -> LabelClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))


def envelope_addresses(payload: bytes, headers: Mapping[str, str]) -> Sequence[str]:
    """Return the addresses that may be the variable return path of a report's message.

    Those that the report was sent to come first, then those that its message was sent from.
    Raises `UnreadableError` if it is no mail.
    """
    mail = read_mail(payload)
    feedback = mail.part("message/feedback-report")
    groups = _status_groups(mail)
    fields = _fields(feedback.text()) if feedback else (groups or [[]])[0]
    return _envelope_addresses(mail, fields, _returned_headers(mail), headers)


def query_headers(payload: bytes, headers: Mapping[str, str], pattern: str) -> dict[str, str]:
    """Return the record header with what a publisher's own `verp` pattern reads of a report.

    Nothing for '', which stands for the default pattern: that one is tried when a record is read.
    """
    try:
        return verp_headers(envelope_addresses(payload, headers), pattern)
    except UnreadableError:
        return {}


# ------------------------------------------------------ delivery status notifications


def _status_groups(mail: Mail) -> list[list[tuple[str, str]]]:
    """Return the fields of the message, then those of each recipient; nothing without one."""
    part = mail.part(*STATUS_TYPES)
    if part is None and (mail.headers.message.get_content_type() != "multipart/report"):
        return []
    # Where the parts cannot be told apart, their fields still can.
    text = part.text(MAX_STATUS_BYTES) if part else mail.text
    message: list[tuple[str, str]] = []
    recipients: list[list[tuple[str, str]]] = []
    for group in field_list(text):
        names: set[str] = set()
        is_recipient = any(name in RECIPIENT_FIELDS for name, _ in group)
        if is_recipient:
            recipients.append([])
        elif recipients:  # a blank line too many, in the middle of a group
            names = {name for name, _ in recipients[-1]}
        for name, value in group:
            if name in RECIPIENT_FIELDS and name in names:  # a blank line too few
                recipients.append([])
                names = set()
            if name in MESSAGE_FIELDS or not recipients:
                message.append((name, value))
            elif name not in names:
                recipients[-1].append((name, value))
                names.add(name)
    return [message, *recipients] if recipients else []


def _status_events(
    mail: Mail, groups: Sequence[Sequence[tuple[str, str]]], headers: Mapping[str, str]
) -> Iterator[EventFields]:
    """Yield an event for each recipient; raise `UnreadableError` at the end if one has none."""
    message, *recipients = groups
    subject = _subject(mail, message, headers)
    problem = ""
    for group in recipients:
        fields = dict(reversed(group))
        word = (fields.get("action") or "").partition(" ")[0].strip("()").lower()
        if word not in ACTION_KINDS:
            problem = problem or f"action {word[:60]!r} of a recipient is not known"
            continue
        own = subject.recipient if len(recipients) == 1 else ""
        event: EventFields = {
            **subject.fields,
            **reply_fields(_diagnostic(fields)),
            "kind": ACTION_KINDS[word],
            "recipient": field_address(fields.get("original-recipient", ""))
            or own
            or field_address(fields.get("final-recipient", ""))
            or field_address(fields.get("x-actual-recipient", "")),
            "label": word,
        }
        if status := leading_status(fields.get("status", "")):
            event["enhanced_status"] = status
        time = mail_time(fields.get("last-attempt-date", "")) or subject.fields.get("occurred_at")
        if time or (time := mail_time(dict(message).get("arrival-date", ""))):
            event["occurred_at"] = time
        yield event
    if problem:
        raise UnreadableError(problem)


def _diagnostic(fields: Mapping[str, str]) -> str:
    """Return the reply; Exchange has it in a field of its own, as `<host #5.1.1 smtp;550 …>`."""
    return fields.get("diagnostic-code") or fields.get("x-supplementary-info", "").strip("<>")


# ------------------------------------------------------------------------- texts


def _text_events(mail: Mail, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of a bounce that is only a text; nothing for a mail that is none."""
    sender = mail.headers.address("from")
    names = mail.headers.get_all(FAILED_RECIPIENTS_HEADER)
    failed_recipients = [
        address
        for text in re.split(r"[\s,;]+", " ".join(names))
        if (address := field_address(text))
    ]
    is_null = "<>" in (mail.headers.get("return-path"), headers.get(SENDER_HEADER))
    if not (is_null or failed_recipients or SERVER_NAMES.match(sender)):
        return
    report = read_text(mail.text)
    if report is None:
        report_type = mail.headers.parameter("report-type").lower()
        if report_type != "disposition-notification" and (
            failed_recipients or report_type or _DAEMON_NAME.match(sender)
        ):
            raise UnreadableError("a mail server's report is in no form that is known")
        return
    replies = report.replies or dict.fromkeys(failed_recipients, "")
    if not replies:
        raise UnreadableError("a mail server's report names no recipient")
    subject = _subject(mail, (), headers, report.returned)
    for address, reply in replies.items():
        yield {
            **subject.fields,
            **reply_fields(reply),
            "kind": ACTION_KINDS[report.action],
            "recipient": (subject.recipient if len(replies) == 1 else "") or address,
            "label": report.action,
        }


# ---------------------------------------------------------------- feedback reports


def _feedback_events(
    mail: Mail, fields: Sequence[tuple[str, str]], headers: Mapping[str, str]
) -> Iterator[EventFields]:
    """Yield the event of one feedback report."""
    word = dict(reversed(fields)).get("feedback-type", "").partition(" ")[0].lower()
    if word not in FEEDBACK_KINDS:
        raise UnreadableError(f"feedback type {word[:60]!r} is not known")
    subject = _subject(mail, fields, headers)
    recipient = subject.recipient
    if not recipient:
        # Who of several complained, nobody says.
        named = {_whole_address(value) for name, value in fields if name == "original-rcpt-to"}
        recipient = named.pop() if len(named) == 1 else ""
    if not recipient:
        to = _returned_headers(mail).address("to")
        recipient = _whole_address(_hotmail_recipient(mail)) or _whole_address(to)
    yield {
        **subject.fields,
        "kind": FEEDBACK_KINDS[word],
        "recipient": recipient,
        "label": word,
        "reason_code": word,
    }


def _hotmail_recipient(mail: Mail) -> str:
    """Return the address that Hotmail puts into the message it returns, also without a report."""
    name = HOTMAIL_RECIPIENT_HEADER
    return _returned_headers(mail).get(name) or mail.headers.get(name)


def _whole_address(value: str) -> str:
    """Return an address, or '' for what stands in place of one."""
    address = field_address(value)
    name, _, domain = address.partition("@")
    hidden = _REDACTED.match(name) or _REDACTED.match(domain)
    return "" if hidden else address


# ------------------------------------------------------------ which message it is about


def _subject(
    mail: Mail,
    fields: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    returned_text: str = "",
) -> _Subject:
    returned = _returned_headers(mail, returned_text)
    addresses = _envelope_addresses(mail, fields, returned, headers)
    texts = dict(verp_fields(addresses))
    texts.update(form_fields(headers.get(QUERY_HEADER, "").removeprefix("?"), _QUERY_FIELDS))
    own = {field: value for name, field in OWN_HEADERS.items() if (value := returned.get(name))}
    texts.update(own)
    subject = echoed_texts(texts)
    envelope_id = xtext(dict(fields).get("original-envelope-id", "")).strip("<> ")
    if "message_id" not in subject and 0 < len(envelope_id) <= MAX_ENVELOPE_ID_CHARACTERS:
        subject["message_id"] = envelope_id
    message_id = (
        returned.get("message-id")
        or dict(fields).get("original-message-id", "")
        or dict(fields).get("x-original-message-id", "")
        or mail.headers.get("in-reply-to").partition(" ")[0]
    )
    if message_id := message_id.strip("<> "):
        subject["provider_message_id"] = message_id
    if title := returned.get("subject"):
        subject["subject"] = title
    if report_id := mail.headers.get("message-id").strip("<> "):
        subject["provider_event_id"] = report_id[:256]
    if time := mail_time(mail.headers.get("date")):
        subject["occurred_at"] = time
    return _Subject(subject, field_address(texts.get("recipient", "")))


def _envelope_addresses(
    mail: Mail,
    fields: Sequence[tuple[str, str]],
    returned: Headers,
    headers: Mapping[str, str],
) -> list[str]:
    named = dict(fields)
    return [
        address
        for address in (
            headers.get(RECIPIENT_HEADER, ""),
            *(text for name in ENVELOPE_HEADERS for text in mail.headers.get_all(name)),
            untyped(named.get("original-mail-from", "")),
            untyped(named.get("x-postfix-sender", "")),
            returned.get("return-path"),
        )
        if "@" in address
    ]


def _returned_headers(mail: Mail, text: str = "") -> Headers:
    """Return the headers of the message that a report returns: a part, or the end of its text."""
    part = mail.part(*RETURNED_TYPES)
    head = part.content() if part else text.encode("utf-8", "replace")
    return Headers(re.split(rb"\n[ \t]*\r?\n", head.lstrip(b"\r\n"), maxsplit=1)[0] + b"\n")


def _fields(text: str) -> list[tuple[str, str]]:
    return [field for group in field_list(text) for field in group]
