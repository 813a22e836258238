"""Amazon SES: one event per named recipient, whatever brought it (SNS, raw delivery, EventBridge).

Event publishing says `eventType`, feedback notifications say `notificationType`; the rest is the
same. Fields and bounce types: Amazon SES Developer Guide, "Contents of event data that Amazon SES
publishes to Amazon SNS" and "Amazon SNS notification contents for Amazon SES".

SES does not say who opened, clicked or unsubscribed where a message went to several addresses:
the event then stands for the message, with no recipient, and is never copied to all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import OURS, bare, echo, instant, reader, reply
from schemas.smtp_replies import status_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields

PROVIDER: Final = "ses"
CHANNEL: Final[Channel] = "email"
NAMELESS: Final = "an SES event has to name its eventType or notificationType"
ALL_TOPICS: Final = "all topics"

#: Subtypes where a list of the provider speaks, or its own check of the address, and not the
#: receiving side: never a new bounce or complaint.
ECHOES: Final = {
    "Suppressed": "invalid",
    "OnAccountSuppressionList": "invalid",
    "OnTenantSuppressionList": "invalid",
    "EmailValidationSuppressed": "invalid",
    "UnsubscribedRecipient": "skipped",
}
#: The label in our words: `bounceType/bounceSubType`, else `bounceType` alone.
LABELS: Final[Mapping[str, BounceClass]] = {
    "Permanent": "hard",
    "Transient": "soft",
    "Temporary": "soft",
    "Transient/MessageTooLarge": "block",
    "Transient/ContentRejected": "block",
    "Transient/AttachmentRejected": "block",
    "Undetermined": "undetermined",
}
#: Event types that tell nothing about a message sent: mail coming in, and a topic's greeting.
NOT_OURS: Final = frozenset({"Received", "AmazonSnsSubscriptionSucceeded"})
#: How EventBridge names what is about the account: its reputation, and whether it may send.
ACCOUNT: Final = ("Advisor Recommendation Status ", "Sending Status ")
#: What SNS says about its own subscription, and SES to try a topic out.
SNS_ADMINISTRATION: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})
SES_VALIDATION: Final = "Successfully validated SNS topic"
#: Mail headers that carry our ids for a mailer that sets no message tags.
ID_HEADERS: Final = {f"x-{name.replace('_', '-')}": name for name in OURS}

_HEADER_MARKS: Final = tuple(f'"{name}"' for name in ID_HEADERS)

Maybe = str | None


class _CommonHeaders(TypedDict, total=False):
    subject: Maybe


class _Tags(TypedDict, total=False):
    """Our ids among the message tags; the others are not even built."""

    tenant_id: list[str]
    message_id: list[str]
    record_type: list[str]
    record_id: list[str]
    campaign: list[str]
    attempt: list[str]


class _Mail(TypedDict, total=False):
    messageId: Maybe
    timestamp: Maybe
    destination: list[str] | None
    commonHeaders: _CommonHeaders | None
    tags: _Tags | None


class _Recipient(TypedDict, total=False):
    emailAddress: Maybe
    status: Maybe
    diagnosticCode: Maybe


class _Topic(TypedDict, total=False):
    topicName: str
    subscriptionStatus: str


class _Preferences(TypedDict, total=False):
    unsubscribeAll: bool | None
    topicSubscriptionStatus: list[_Topic] | None


class _Part(TypedDict, total=False):
    """The object named after the event's type; each has some of these."""

    timestamp: Maybe
    feedbackId: Maybe
    recipients: list[str] | None  # delivery
    smtpResponse: Maybe
    bounceType: Maybe
    bounceSubType: Maybe
    bouncedRecipients: list[_Recipient] | None
    reportingMTA: Maybe
    remoteMtaIp: Maybe
    complainedRecipients: list[_Recipient] | None
    complaintFeedbackType: Maybe
    complaintSubType: Maybe
    delayType: Maybe
    delayedRecipients: list[_Recipient] | None
    reason: Maybe  # reject
    errorMessage: Maybe  # failure
    ipAddress: Maybe  # open, click
    userAgent: Maybe
    link: Maybe
    source: Maybe  # subscription
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
    """What arrives: an SNS envelope, an EventBridge event, or the event itself."""

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


_push: Final = reader(_Push)
_headed: Final = reader(_Headed)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    push: _Push = _push(payload)
    event_id = headers.get("x-amz-sns-message-id", "")
    if (message := push.get("Message")) is not None:
        if push.get("Type") in SNS_ADMINISTRATION or message.startswith(SES_VALIDATION):
            return
        event_id = push.get("MessageId") or event_id
        push = _push(message)  # the event itself, or an EventBridge event that a topic hands on
    event: _Event = push
    if "detail" in push:
        event = push["detail"]
        event_id = push.get("id") or event_id

    word = event.get("eventType") or event.get("notificationType") or push.get("detail-type", "")
    if word in NOT_OURS or word.startswith(ACCOUNT):
        return
    if word not in READERS:
        raise UnreadableError(f"SES event type {word[:60]!r} is not known" if word else NAMELESS)
    name, read = READERS[word]
    mail = event.get("mail")
    # All of a Send is in `mail`: its own member is always empty, and may as well be absent.
    members: Any = event
    part: _Part | None = members.get(name, {} if name == "send" else None)
    if mail is None or part is None:
        raise UnreadableError(f"an SES {word} event has to hold 'mail' and {name!r}")

    shared = _shared(mail, payload if message is None else message)
    if event_id or (event_id := part.get("feedbackId") or ""):
        shared["provider_event_id"] = event_id
    for own in read(part, mail):
        own.update(shared)
        yield own


def _shared(mail: _Mail, source: str | bytes) -> Fields:
    """Return what every event of a notification says about its message."""
    tags: Mapping[str, Any] = mail.get("tags") or {}
    fields = echo({name: ",".join(values) for name, values in tags.items()})
    if "message_id" not in fields:
        fields = {**_ids_of_headers(source), **fields}
    if message_id := mail.get("messageId"):
        fields["provider_message_id"] = message_id
    if (common := mail.get("commonHeaders")) and (subject := common.get("subject")):
        fields["subject"] = subject
    return fields


def _ids_of_headers(source: str | bytes) -> Fields:
    """Return our ids from the mail's headers, which are read only where they look to be there."""
    text = source if isinstance(source, str) else source.decode("utf-8", "replace")
    lowered = text.lower()
    if not any(mark in lowered for mark in _HEADER_MARKS):
        return {}
    headed: _Headed = _headed(text)
    mail = headed.get("detail", headed).get("mail", {})
    found = {header["name"].lower(): header["value"] for header in mail.get("headers") or ()}
    return echo({ours: found[name].strip() for name, ours in ID_HEADERS.items() if name in found})


def _sent(_: _Part, mail: _Mail) -> Iterator[Fields]:
    time = _time(mail)
    for recipient in _everyone(mail):
        yield {"kind": "sent", "recipient": recipient, **time}


def _delivery(part: _Part, mail: _Mail) -> Iterator[Fields]:
    fields: Fields = {"kind": "delivery", **_time(part), **reply(part.get("smtpResponse"))}
    for recipient in part.get("recipients") or [_only_one(mail)]:
        yield {"recipient": bare(recipient), **fields}


def _bounce(part: _Part, mail: _Mail) -> Iterator[Fields]:
    bounce_type = part.get("bounceType") or ""
    subtype = part.get("bounceSubType")
    label = f"{bounce_type}/{subtype}" if subtype else bounce_type
    kind = ECHOES.get(subtype or "", "bounce")
    fields: Fields = {"kind": kind, "reason_code": label, "label": label, **_time(part)}
    if kind == "bounce" and _is_late(part):
        fields["late"] = True
    for recipient in part.get("bouncedRecipients") or [_nobody(mail)]:
        yield {**fields, **_recipient(recipient)}


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    label = str(bounce.get("label", ""))
    return LABELS.get(label) or LABELS.get(label.partition("/")[0])


def _complaint(part: _Part, mail: _Mail) -> Iterator[Fields]:
    echo_of = part.get("complaintSubType") or ""
    said = part.get("complaintFeedbackType") or ""
    # "not-spam" takes a complaint back, or prevents one: nothing to hold against the address.
    kind = ECHOES.get(echo_of) or ("note" if said == "not-spam" else "complaint")
    fields: Fields = {"kind": kind, **_time(part)}
    if reason := echo_of or said:
        fields["reason_code"] = reason
    for recipient in part.get("complainedRecipients") or [_nobody(mail)]:
        yield {**fields, **_recipient(recipient)}


def _delivery_delay(part: _Part, mail: _Mail) -> Iterator[Fields]:
    fields: Fields = {"kind": "deferral", **_time(part)}
    if reason := part.get("delayType"):
        fields["reason_code"] = reason
    for recipient in part.get("delayedRecipients") or [_nobody(mail)]:
        yield {**fields, **_recipient(recipient)}


def _refused(part: _Part, mail: _Mail) -> Iterator[Fields]:
    fields: Fields = {"kind": "failure", **_time(mail)}
    if reason := part.get("reason"):
        fields["reason_code"] = reason
    if message := part.get("errorMessage"):
        fields["diagnostic"] = message
    for recipient in _everyone(mail):
        yield {"recipient": recipient, **fields}


def _open(part: _Part, mail: _Mail) -> Iterator[Fields]:
    yield {"kind": "open", "recipient": _only_one(mail), **_engagement(part)}


def _click(part: _Part, mail: _Mail) -> Iterator[Fields]:
    fields: Fields = {"kind": "click", "recipient": _only_one(mail), **_engagement(part)}
    if url := part.get("link"):
        fields["url"] = url
    yield fields


def _subscription(part: _Part, mail: _Mail) -> Iterator[Fields]:
    before = _opted_out(part.get("oldTopicPreferences"))
    after = _opted_out(part.get("newTopicPreferences"))
    if ALL_TOPICS in after or after - before:
        kind = "unsubscribe"
    else:
        kind = "resubscribe" if before - after else "note"
    fields: Fields = {"kind": kind, "recipient": _only_one(mail), **_time(part)}
    if source := part.get("source"):
        fields["reason_code"] = source
    if after:
        fields["diagnostic"] = "unsubscribed from " + ", ".join(sorted(after))
    yield fields


def _opted_out(preferences: _Preferences | None) -> set[str]:
    """Return the names of the topics that a contact does not want."""
    preferences = preferences or {}
    topics = preferences.get("topicSubscriptionStatus") or ()
    names = {
        topic.get("topicName", "")
        for topic in topics
        if topic.get("subscriptionStatus", "").lower() == "optout"
    }
    return names | {ALL_TOPICS} if preferences.get("unsubscribeAll") else names


def _engagement(part: _Part) -> Fields:
    fields = _time(part)
    if agent := part.get("userAgent"):
        fields["user_agent"] = agent
    if address := part.get("ipAddress"):
        fields["ip"] = address
    return fields


def _time(part: _Part | _Mail) -> Fields:
    timestamp = part.get("timestamp")
    return {"occurred_at": instant(timestamp)} if timestamp else {}


def _everyone(mail: _Mail) -> list[str]:
    """Return all addresses the message went to; [''] if it does not say."""
    return [bare(address) for address in mail.get("destination") or ()] or [""]


def _only_one(mail: _Mail) -> str:
    """Return the address the message went to, or '' if there are several: it may be any of them."""
    everyone = _everyone(mail)
    return everyone[0] if len(everyone) == 1 else ""


def _nobody(mail: _Mail) -> _Recipient:
    """Return the recipient of a report that names none: the only one there is, if so."""
    return {"emailAddress": _only_one(mail)}


def _recipient(recipient: _Recipient) -> Fields:
    """Return one address with its codes: those of its status field before those of its text."""
    fields = reply(recipient.get("diagnosticCode"))
    if status := status_in(recipient.get("status") or ""):
        fields["enhanced_status"] = status
    fields["recipient"] = bare(recipient.get("emailAddress") or "")
    return fields


def _is_late(bounce: _Part) -> bool:
    """Return whether a report came in after the message was accepted.

    Such a bounce holds the report of a foreign server; one during the dialogue that of SES's own,
    and the address of the server it spoke to.
    """
    reporter = bounce.get("reportingMTA") or ""
    return bool(reporter) and "amazonses" not in reporter and not bounce.get("remoteMtaIp")


#: Per event type: the member that holds what is particular to it, and who reads that.
READERS: Final[Mapping[str, tuple[str, Callable[[_Part, _Mail], Iterator[Fields]]]]] = {
    "Send": ("send", _sent),
    "Delivery": ("delivery", _delivery),
    "Open": ("open", _open),
    "Click": ("click", _click),
    "Bounce": ("bounce", _bounce),
    "Complaint": ("complaint", _complaint),
    "Reject": ("reject", _refused),
    "Rendering Failure": ("failure", _refused),
    "DeliveryDelay": ("deliveryDelay", _delivery_delay),
    "Subscription": ("subscription", _subscription),
}
