"""Amazon SES: one event per named recipient, by SNS, raw delivery or EventBridge.

Event publishing says `eventType`, feedback notifications say `notificationType`; the rest is the
same. Sources: Amazon SES Developer Guide, "Contents of event data that Amazon SES publishes" and
"Amazon SNS notification contents for Amazon SES".

Of several addresses SES does not say who opened, clicked or unsubscribed: then it is nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import (
    METADATA_HEADERS,
    SNS_ADMINISTRATION,
    echoed_texts,
    header_metadata,
    reader,
    reply_fields,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import iso_time
from schemas.smtp_replies import leading_status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields

PROVIDER: Final = "ses"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    "tags, `X-…` headers", "yes; opens maybe not", deferrals=True, opens="unmarked", batches=True
)
NO_TYPE: Final = "an SES event has to name its eventType or notificationType"
ALL_TOPICS: Final = "all topics"
#: Refusals by SES itself (a suppression list, a check): never a new bounce or complaint.
PROVIDER_REFUSALS: Final = {
    "Suppressed": "invalid",
    "OnAccountSuppressionList": "invalid",
    "OnTenantSuppressionList": "invalid",
    "EmailValidationSuppressed": "invalid",
    "UnsubscribedRecipient": "skipped",
}
#: The class of a label: of `bounceType/bounceSubType`, else of `bounceType` alone.
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "Permanent": "hard",
    "Transient": "soft",
    "Temporary": "soft",
    "Transient/MessageTooLarge": "block",
    "Transient/ContentRejected": "block",
    "Transient/AttachmentRejected": "block",
    "Undetermined": "undetermined",
}
#: Event types that are not about a message sent: incoming mail, and a topic's greeting.
IGNORED_EVENTS: Final = frozenset({"Received", "AmazonSnsSubscriptionSucceeded"})
#: EventBridge's names for events about the account: its reputation, whether it may send.
ACCOUNT_EVENT_PREFIXES: Final = ("Advisor Recommendation Status ", "Sending Status ")
#: The SNS message by which SES tries a topic out.
VALIDATION_TEXT: Final = "Successfully validated SNS topic"
#: The headers of a mailer that sets no message tags, as JSON names them.
_HEADER_MARKS: Final = tuple(f'"{name}"' for name in METADATA_HEADERS)


class _CommonHeaders(TypedDict, total=False):
    subject: str | None


class _Tags(TypedDict, total=False):  # the metadata; other tags are not even built
    tenant_id: list[str]
    message_id: list[str]
    record_type: list[str]
    record_id: list[str]
    campaign: list[str]
    attempt: list[str]


class _Mail(TypedDict, total=False):
    messageId: str | None
    timestamp: str | None
    destination: list[str] | None
    commonHeaders: _CommonHeaders | None
    tags: _Tags | None


class _Recipient(TypedDict, total=False):
    emailAddress: str | None
    status: str | None
    diagnosticCode: str | None


class _Topic(TypedDict, total=False):
    topicName: str
    subscriptionStatus: str


class _Preferences(TypedDict, total=False):
    unsubscribeAll: bool | None
    topicSubscriptionStatus: list[_Topic] | None


class _Part(TypedDict, total=False):
    """The object named after the event's type; each has some of these."""

    timestamp: str | None
    feedbackId: str | None
    recipients: list[str] | None  # delivery
    smtpResponse: str | None
    bounceType: str | None
    bounceSubType: str | None
    bouncedRecipients: list[_Recipient] | None
    reportingMTA: str | None
    remoteMtaIp: str | None
    complainedRecipients: list[_Recipient] | None
    complaintFeedbackType: str | None
    complaintSubType: str | None
    delayType: str | None
    delayedRecipients: list[_Recipient] | None
    reason: str | None  # reject
    errorMessage: str | None  # failure
    ipAddress: str | None  # open, click
    userAgent: str | None
    link: str | None
    source: str | None  # subscription
    newTopicPreferences: _Preferences | None
    oldTopicPreferences: _Preferences | None


class _Event(TypedDict, total=False):
    eventType: str
    notificationType: str
    mail: _Mail
    send: _Part
    delivery: _Part
    bounce: _Part
    complaint: _Part
    deliveryDelay: _Part
    reject: _Part
    failure: _Part
    open: _Part
    click: _Part
    subscription: _Part


_Bridged = TypedDict("_Bridged", {"detail-type": str}, total=False)


class _Push(_Event, _Bridged, total=False):
    """A payload: an SNS envelope, an EventBridge event, or the event itself."""

    Type: str
    MessageId: str
    Message: str
    id: str
    detail: _Event


class _Header(TypedDict):
    name: str
    value: str


class _HeadedMail(TypedDict, total=False):
    headers: list[_Header] | None


class _Headed(TypedDict, total=False):
    mail: _HeadedMail
    detail: _Headed


_read_push: Final = reader(_Push)
_read_headed: Final = reader(_Headed)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    push: _Push = _read_push(payload)
    event_id = headers.get("x-amz-sns-message-id", "")
    if (message := push.get("Message")) is not None:
        if push.get("Type") in SNS_ADMINISTRATION or message.startswith(VALIDATION_TEXT):
            return
        event_id = push.get("MessageId") or event_id
        push = _read_push(message)  # the event, or an EventBridge event passed on by a topic
    event: _Event = push
    if "detail" in push:
        event = push["detail"]
        event_id = push.get("id") or event_id

    word = event.get("eventType") or event.get("notificationType") or push.get("detail-type", "")
    if word in IGNORED_EVENTS or word.startswith(ACCOUNT_EVENT_PREFIXES):
        return
    if word not in READERS:
        raise UnreadableError(f"SES event type {word[:60]!r} is not known" if word else NO_TYPE)
    member, read = READERS[word]
    mail = event.get("mail")
    # A Send is all in `mail`: its own member is always empty, and may be absent.
    members: Any = event
    part: _Part | None = members.get(member, {} if member == "send" else None)
    if mail is None or part is None:
        raise UnreadableError(f"an SES {word} event has to hold 'mail' and {member!r}")

    shared = _shared_fields(mail, payload if message is None else message)
    if event_id or (event_id := part.get("feedbackId") or ""):
        shared["provider_event_id"] = event_id
    for fields in read(part, mail):
        fields.update(shared)
        yield fields


def _shared_fields(mail: _Mail, source: str | bytes) -> EventFields:
    """Return the fields that all events of a notification share."""
    tags: Mapping[str, Any] = mail.get("tags") or {}
    fields = echoed_texts({name: ",".join(values) for name, values in tags.items()})
    if "message_id" not in fields:
        fields = {**_header_metadata(source), **fields}
    if message_id := mail.get("messageId"):
        fields["provider_message_id"] = message_id
    if (common := mail.get("commonHeaders")) and (subject := common.get("subject")):
        fields["subject"] = subject
    return fields


def _header_metadata(source: str | bytes) -> EventFields:
    """Return the metadata in the mail's headers, which are parsed only if they can hold some."""
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    lowered = text.lower()
    if not any(mark in lowered for mark in _HEADER_MARKS):
        return {}
    headed: _Headed = _read_headed(text)
    mail = headed.get("detail", headed).get("mail", {})
    values = {header["name"].lower(): header["value"] for header in mail.get("headers") or ()}
    return header_metadata(values)


def _sent(_: _Part, mail: _Mail) -> Iterator[EventFields]:
    time = _time(mail)
    for recipient in _destinations(mail):
        yield {"kind": "sent", "recipient": recipient, **time}


def _delivery(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    reply = reply_fields(part.get("smtpResponse"))
    fields: EventFields = {"kind": "delivery", **_time(part), **reply}
    for recipient in part.get("recipients") or [_sole_recipient(mail)]:
        yield {"recipient": bare_address(recipient), **fields}


def _bounce(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    bounce_type = part.get("bounceType") or ""
    subtype = part.get("bounceSubType")
    label = f"{bounce_type}/{subtype}" if subtype else bounce_type
    kind = PROVIDER_REFUSALS.get(subtype or "", "bounce")
    fields: EventFields = {"kind": kind, "reason_code": label, "label": label, **_time(part)}
    if kind == "bounce" and _is_late(part):
        fields["late"] = True
    for recipient in part.get("bouncedRecipients") or [_unnamed_recipient(mail)]:
        yield {**fields, **_recipient_fields(recipient)}


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    label = bounce.get("label", "")
    return LABEL_CLASSES.get(label) or LABEL_CLASSES.get(label.partition("/")[0])


def _complaint(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    subtype = part.get("complaintSubType") or ""
    feedback_type = part.get("complaintFeedbackType") or ""
    # "not-spam" takes a complaint back, or prevents one: it does not count against the address.
    kind = PROVIDER_REFUSALS.get(subtype, "note" if feedback_type == "not-spam" else "complaint")
    fields: EventFields = {"kind": kind, **_time(part)}
    if reason := subtype or feedback_type:
        fields["reason_code"] = reason
    for recipient in part.get("complainedRecipients") or [_unnamed_recipient(mail)]:
        yield {**fields, **_recipient_fields(recipient)}


def _delivery_delay(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    fields: EventFields = {"kind": "deferral", **_time(part)}
    if reason := part.get("delayType"):
        fields["reason_code"] = reason
    for recipient in part.get("delayedRecipients") or [_unnamed_recipient(mail)]:
        yield {**fields, **_recipient_fields(recipient)}


def _failure(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    fields: EventFields = {"kind": "failure", **_time(mail)}
    if reason := part.get("reason"):
        fields["reason_code"] = reason
    if message := part.get("errorMessage"):
        fields["diagnostic"] = message
    for recipient in _destinations(mail):
        yield {"recipient": recipient, **fields}


def _open(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    yield {"kind": "open", "recipient": _sole_recipient(mail), **_engagement(part)}


def _click(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    fields: EventFields = {"kind": "click", "recipient": _sole_recipient(mail), **_engagement(part)}
    if url := part.get("link"):
        fields["url"] = url
    yield fields


def _subscription(part: _Part, mail: _Mail) -> Iterator[EventFields]:
    before = _opted_out(part.get("oldTopicPreferences"))
    after = _opted_out(part.get("newTopicPreferences"))
    if ALL_TOPICS in after or after - before:
        kind = "unsubscribe"
    else:
        kind = "resubscribe" if before - after else "note"
    fields: EventFields = {"kind": kind, "recipient": _sole_recipient(mail), **_time(part)}
    if source := part.get("source"):
        fields["reason_code"] = source
    if after:
        fields["diagnostic"] = "unsubscribed from " + ", ".join(sorted(after))
    yield fields


def _opted_out(preferences: _Preferences | None) -> set[str]:
    """Return the names of the topics that a contact has opted out of."""
    preferences = preferences or {}
    topics = preferences.get("topicSubscriptionStatus") or ()
    names = {
        topic.get("topicName", "")
        for topic in topics
        if topic.get("subscriptionStatus", "").lower() == "optout"
    }
    return names | {ALL_TOPICS} if preferences.get("unsubscribeAll") else names


def _engagement(part: _Part) -> EventFields:
    fields = _time(part)
    if agent := part.get("userAgent"):
        fields["user_agent"] = agent
    if address := part.get("ipAddress"):
        fields["ip"] = address
    return fields


def _time(part: _Part | _Mail) -> EventFields:
    timestamp = part.get("timestamp")
    return {"occurred_at": iso_time(timestamp)} if timestamp else {}


def _destinations(mail: _Mail) -> list[str]:
    """Return all addresses the message went to; [''] if it names none."""
    return [bare_address(address) for address in mail.get("destination") or ()] or [""]


def _sole_recipient(mail: _Mail) -> str:
    """Return the one address the message went to, or '' if there are several."""
    destinations = _destinations(mail)
    return destinations[0] if len(destinations) == 1 else ""


def _unnamed_recipient(mail: _Mail) -> _Recipient:
    """Return the recipient of a report that names none: the message's only one, if it has one."""
    return {"emailAddress": _sole_recipient(mail)}


def _recipient_fields(recipient: _Recipient) -> EventFields:
    """Return one address with its codes; its status field counts before its text."""
    fields = reply_fields(recipient.get("diagnosticCode"))
    if status := leading_status(recipient.get("status") or ""):
        fields["enhanced_status"] = status
    fields["recipient"] = bare_address(recipient.get("emailAddress") or "")
    return fields


def _is_late(bounce: _Part) -> bool:
    """Return whether a bounce was reported after the message was accepted.

    Its reporter is then a foreign server. During the SMTP dialogue it is SES, which names its peer.
    """
    reporter = bounce.get("reportingMTA") or ""
    return bool(reporter) and "amazonses" not in reporter and not bounce.get("remoteMtaIp")


#: By event type: the member with what is particular to it, and the function that reads that.
READERS: Final[Mapping[str, tuple[str, Callable[[_Part, _Mail], Iterator[EventFields]]]]] = {
    "Send": ("send", _sent),
    "Delivery": ("delivery", _delivery),
    "Open": ("open", _open),
    "Click": ("click", _click),
    "Bounce": ("bounce", _bounce),
    "Complaint": ("complaint", _complaint),
    "Reject": ("reject", _failure),
    "Rendering Failure": ("failure", _failure),
    "DeliveryDelay": ("deliveryDelay", _delivery_delay),
    "Subscription": ("subscription", _subscription),
}
