"""Events of a story in the formats of SES and Twilio, byte for byte.

Most SES events are SNS notifications, some are raw deliveries or EventBridge events; our ids are in
`mail.tags`. Twilio calls back with a form, without a time; our ids are in the query of the callback
address. For an event that a provider cannot express `render_push` returns None.
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from processor.demo.business import OutgoingMessage
    from processor.demo.details import Detail
    from schemas.events import EventKind

PushHeaders = tuple[tuple[str, bytes], ...]


class ProviderEvent(NamedTuple):
    """One step of a message's story; its time and that of its attempt's send are ISO 8601."""

    message: OutgoingMessage
    kind: EventKind
    attempt: int
    detail: Detail
    occurred_at: str
    sent_at: str
    provider_message_id: str


def render_push(event: ProviderEvent, rng: Random) -> tuple[bytes, PushHeaders] | None:
    """Return the body and headers of the provider's push, or None if it has no such event."""
    if event.message.channel == "sms":
        return _twilio(event)
    describe = SES_EVENTS.get(event.kind)
    if describe is None or event.detail.get("machine") is True:
        return None
    return _ses(event, describe, rng)


# --- SES -----------------------------------------------------------------------------------------


def _text(detail: Detail, name: str) -> str:
    return quote(str(detail.get(name, "")))


def _bounced(event: ProviderEvent) -> tuple[str, str]:
    detail, address = event.detail, quote(event.message.recipient)
    bounce_type, subtype = str(detail["reason_code"]).split("/")
    diagnostic = str(detail["diagnostic"])
    if "smtp_code" in detail:
        diagnostic = f"smtp; {diagnostic}"
    return "Bounce", (
        f'"bounce":{{"bounceType":"{bounce_type}","bounceSubType":"{subtype}",'
        f'"bouncedRecipients":[{{"emailAddress":{address},"action":"failed",'
        f'"status":{_text(detail, "enhanced_status")},"diagnosticCode":{quote(diagnostic)}}}],'
        f'"timestamp":"{event.occurred_at}","feedbackId":"{event.provider_message_id}-feedback",'
        f'"reportingMTA":"dns; mta.example.com"}}'
    )


def _delivered(event: ProviderEvent) -> tuple[str, str]:
    return "Delivery", (
        f'"delivery":{{"timestamp":"{event.occurred_at}","processingTimeMillis":812,'
        f'"recipients":[{quote(event.message.recipient)}],'
        f'"smtpResponse":{_text(event.detail, "diagnostic")},'
        f'"reportingMTA":"a8-70.smtp-out.example.com"}}'
    )


def _delayed(event: ProviderEvent) -> tuple[str, str]:
    detail = event.detail
    return "DeliveryDelay", (
        f'"deliveryDelay":{{"timestamp":"{event.occurred_at}",'
        f'"delayType":{_text(detail, "reason_code")},"expirationTime":"{event.occurred_at}",'
        f'"delayedRecipients":[{{"emailAddress":{quote(event.message.recipient)},'
        f'"status":{_text(detail, "enhanced_status")},'
        f'"diagnosticCode":{quote("smtp; " + str(detail["diagnostic"]))}}}]}}'
    )


def _engagement(event: ProviderEvent) -> str:
    return (
        f'"timestamp":"{event.occurred_at}","ipAddress":{_text(event.detail, "ip")},'
        f'"userAgent":{_text(event.detail, "user_agent")}'
    )


def _opened(event: ProviderEvent) -> tuple[str, str]:
    return "Open", f'"open":{{{_engagement(event)}}}'


def _clicked(event: ProviderEvent) -> tuple[str, str]:
    return "Click", (
        f'"click":{{{_engagement(event)},"link":{_text(event.detail, "url")},"linkTags":null}}'
    )


def _complained(event: ProviderEvent) -> tuple[str, str]:
    return "Complaint", (
        f'"complaint":{{"complainedRecipients":[{{"emailAddress":'
        f'{quote(event.message.recipient)}}}],"timestamp":"{event.occurred_at}",'
        f'"feedbackId":"{event.provider_message_id}-complaint",'
        f'"complaintFeedbackType":{_text(event.detail, "reason_code")}}}'
    )


def _unsubscribed(event: ProviderEvent) -> tuple[str, str]:
    return "Subscription", (
        f'"subscription":{{"contactList":"families","timestamp":"{event.occurred_at}",'
        f'"source":{_text(event.detail, "reason_code")},'
        f'"newTopicPreferences":{{"unsubscribeAll":true,"topicSubscriptionStatus":[]}},'
        f'"oldTopicPreferences":{{"unsubscribeAll":false,"topicSubscriptionStatus":[]}}}}'
    )


def _refused(event: ProviderEvent) -> tuple[str, str]:
    if "reason_code" in event.detail:
        return "Reject", f'"reject":{{"reason":{_text(event.detail, "reason_code")}}}'
    return "Rendering Failure", (
        f'"failure":{{"errorMessage":{_text(event.detail, "diagnostic")},"templateName":"notice"}}'
    )


#: For each kind, a function to the eventType and the member that describes it.
SES_EVENTS: Final[Mapping[EventKind, Callable[[ProviderEvent], tuple[str, str]]]] = {
    "sent": lambda _: ("Send", '"send":{}'),
    "delivery": _delivered,
    "deferral": _delayed,
    "open": _opened,
    "click": _clicked,
    "bounce": _bounced,
    "invalid": _bounced,
    "complaint": _complained,
    "unsubscribe": _unsubscribed,
    "failure": _refused,
}
#: Events without a time of their own: they happen at the mail's time.
UNTIMED_TYPES: Final = frozenset({"Send", "Reject", "Rendering Failure"})
EVENTBRIDGE_TYPES: Final = {
    "Send": "Email Sent", "Delivery": "Email Delivered", "DeliveryDelay": "Email Delivery Delayed",
    "Open": "Email Opened", "Click": "Email Clicked", "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received", "Subscription": "Email Subscribed",
    "Reject": "Email Rejected", "Rendering Failure": "Email Rendering Failed",
}  # fmt: skip


def _ses(
    event: ProviderEvent, describe: Callable[[ProviderEvent], tuple[str, str]], rng: Random
) -> tuple[bytes, PushHeaders]:
    event_type, described = describe(event)
    message, party = event.message, event.message.party
    recipient, campaign = quote(message.recipient), message.campaign or "none"
    mail_at = event.occurred_at if event_type in UNTIMED_TYPES else event.sent_at
    document = (
        f'{{"eventType":"{event_type}","mail":{{"timestamp":"{mail_at}",'
        f'"source":"office@studio.example.com",'
        f'"sourceArn":"arn:aws:ses:us-east-1:123456789012:identity/studio.example.com",'
        f'"sendingAccountId":"123456789012","messageId":"{event.provider_message_id}",'
        f'"destination":[{recipient}],"headersTruncated":false,"commonHeaders":{{'
        f'"from":["The Studio <office@studio.example.com>"],"to":[{recipient}],'
        f'"subject":{quote(message.body)}}},"tags":{{"ses:configuration-set":["studio"],'
        f'"ses:from-domain":["studio.example.com"],"tenant_id":[{quote(message.tenant_id)}],'
        f'"message_id":["{message.message_id}"],"record_type":["{party.record_type}"],'
        f'"record_id":["{party.record_id}"],"campaign":["{campaign}"],'
        f'"attempt":["{event.attempt}"]}}}},{described}}}'
    )
    transport = rng.random()
    if transport < 0.1:
        return document.encode(), ()
    push_id = f"{rng.getrandbits(64):016x}-5a2c-4000-8000-000000000001"
    if transport < 0.15:
        return (
            f'{{"version":"0","id":"{push_id}","detail-type":"{EVENTBRIDGE_TYPES[event_type]}",'
            f'"source":"aws.ses","account":"123456789012","time":"{event.occurred_at}",'
            f'"region":"us-east-1","resources":[],"detail":{document}}}'
        ).encode(), ()
    return (
        f'{{"Type":"Notification","MessageId":"{push_id}",'
        f'"TopicArn":"arn:aws:sns:us-east-1:123456789012:ses-events",'
        f'"Subject":"Amazon SES Email Event Notification","Message":{quote(document)},'
        f'"Timestamp":"{event.occurred_at}","SignatureVersion":"1","Signature":"EXAMPLE"}}'
    ).encode(), (
        ("x-amz-sns-message-type", b"Notification"),
        ("x-amz-sns-message-id", push_id.encode()),
    )


# --- Twilio --------------------------------------------------------------------------------------

TWILIO_STATUSES: Final[Mapping[EventKind, str]] = {
    "queued": "queued", "sent": "sent", "delivery": "delivered", "read": "read",
    "undelivered": "undelivered", "rejected": "undelivered", "failed": "failed",
    "expired": "failed", "opt_out": "failed",
}  # fmt: skip


def _twilio(event: ProviderEvent) -> tuple[bytes, PushHeaders] | None:
    status = TWILIO_STATUSES.get(event.kind)
    if status is None or "part" in event.detail:
        return None
    message, sid = event.message, event.provider_message_id
    code = event.detail.get("reason_code")
    body = (
        f"{f'ErrorCode={code}&' if code else ''}SmsSid={sid}&SmsStatus={status}"
        f"&MessageStatus={status}&To={quote_plus(message.recipient)}&MessageSid={sid}"
        f"&AccountSid=AC{0:032d}&From=%2B12015550100&ApiVersion=2010-04-01"
    )
    query = (
        f"tenant_id={quote_plus(message.tenant_id)}&message_id={message.message_id}"
        f"&record_type={message.party.record_type}&record_id={message.party.record_id}"
    )
    return body.encode(), (("x-callback-query", query.encode()),)
