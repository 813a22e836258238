"""What SES and Twilio push, byte for byte: events of a story in the providers' own formats.

SES events come as SNS notifications mostly, some as raw deliveries or EventBridge events; our ids
are in `mail.tags`. Twilio calls back with a form, our ids in the query of the callback address,
and says no time. What a provider cannot express is not here (`pushed` gives None).
"""

from __future__ import annotations

from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from processor.demo.business import Letter
    from processor.demo.details import Detail
    from schemas.events import Kind

Headers = tuple[tuple[str, bytes], ...]


class Happening(NamedTuple):
    """One step of a letter's story, with its time and that of its attempt's send (ISO 8601)."""

    letter: Letter
    kind: Kind
    attempt: int
    detail: Detail
    at: str
    sent_at: str
    provider_message_id: str


def pushed(happening: Happening, rng: Random) -> tuple[bytes, Headers] | None:
    """Return the body and the headers of the provider's push, None if it has no such event."""
    if happening.letter.channel == "sms":
        return _twilio(happening)
    known = SES.get(happening.kind)
    if known is None or happening.detail.get("machine") is True:
        return None
    return _ses(happening, known, rng)


# --- SES -----------------------------------------------------------------------------------------


def _text(detail: Detail, name: str) -> str:
    return quote(str(detail.get(name, "")))


def _bounced(happening: Happening) -> tuple[str, str]:
    detail, address = happening.detail, quote(happening.letter.recipient)
    bounce_type, subtype = str(detail["reason_code"]).split("/")
    diagnostic = str(detail["diagnostic"])
    if "smtp_code" in detail:
        diagnostic = f"smtp; {diagnostic}"
    return "Bounce", (
        f'"bounce":{{"bounceType":"{bounce_type}","bounceSubType":"{subtype}",'
        f'"bouncedRecipients":[{{"emailAddress":{address},"action":"failed",'
        f'"status":{_text(detail, "enhanced_status")},"diagnosticCode":{quote(diagnostic)}}}],'
        f'"timestamp":"{happening.at}","feedbackId":"{happening.provider_message_id}-feedback",'
        f'"reportingMTA":"dns; mta.example.com"}}'
    )


def _delivered(happening: Happening) -> tuple[str, str]:
    return "Delivery", (
        f'"delivery":{{"timestamp":"{happening.at}","processingTimeMillis":812,'
        f'"recipients":[{quote(happening.letter.recipient)}],'
        f'"smtpResponse":{_text(happening.detail, "diagnostic")},'
        f'"reportingMTA":"a8-70.smtp-out.example.com"}}'
    )


def _delayed(happening: Happening) -> tuple[str, str]:
    detail = happening.detail
    return "DeliveryDelay", (
        f'"deliveryDelay":{{"timestamp":"{happening.at}",'
        f'"delayType":{_text(detail, "reason_code")},"expirationTime":"{happening.at}",'
        f'"delayedRecipients":[{{"emailAddress":{quote(happening.letter.recipient)},'
        f'"status":{_text(detail, "enhanced_status")},'
        f'"diagnosticCode":{quote("smtp; " + str(detail["diagnostic"]))}}}]}}'
    )


def _seen(happening: Happening) -> str:
    return (
        f'"timestamp":"{happening.at}","ipAddress":{_text(happening.detail, "ip")},'
        f'"userAgent":{_text(happening.detail, "user_agent")}'
    )


def _opened(happening: Happening) -> tuple[str, str]:
    return "Open", f'"open":{{{_seen(happening)}}}'


def _clicked(happening: Happening) -> tuple[str, str]:
    return "Click", (
        f'"click":{{{_seen(happening)},"link":{_text(happening.detail, "url")},"linkTags":null}}'
    )


def _complained(happening: Happening) -> tuple[str, str]:
    return "Complaint", (
        f'"complaint":{{"complainedRecipients":[{{"emailAddress":'
        f'{quote(happening.letter.recipient)}}}],"timestamp":"{happening.at}",'
        f'"feedbackId":"{happening.provider_message_id}-complaint",'
        f'"complaintFeedbackType":{_text(happening.detail, "reason_code")}}}'
    )


def _unsubscribed(happening: Happening) -> tuple[str, str]:
    return "Subscription", (
        f'"subscription":{{"contactList":"families","timestamp":"{happening.at}",'
        f'"source":{_text(happening.detail, "reason_code")},'
        f'"newTopicPreferences":{{"unsubscribeAll":true,"topicSubscriptionStatus":[]}},'
        f'"oldTopicPreferences":{{"unsubscribeAll":false,"topicSubscriptionStatus":[]}}}}'
    )


def _refused(happening: Happening) -> tuple[str, str]:
    if "reason_code" in happening.detail:
        return "Reject", f'"reject":{{"reason":{_text(happening.detail, "reason_code")}}}'
    return "Rendering Failure", (
        f'"failure":{{"errorMessage":{_text(happening.detail, "diagnostic")},'
        f'"templateName":"notice"}}'
    )


#: What makes the event of each kind: its eventType, and the member that describes it.
SES: Final[Mapping[Kind, Callable[[Happening], tuple[str, str]]]] = {
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
#: Events without a time of their own: the mail's is theirs.
TIMED_BY_MAIL: Final = frozenset({"Send", "Reject", "Rendering Failure"})
DETAIL_TYPES: Final = {
    "Send": "Email Sent", "Delivery": "Email Delivered", "DeliveryDelay": "Email Delivery Delayed",
    "Open": "Email Opened", "Click": "Email Clicked", "Bounce": "Email Bounced",
    "Complaint": "Email Complaint Received", "Subscription": "Email Subscribed",
    "Reject": "Email Rejected", "Rendering Failure": "Email Rendering Failed",
}  # fmt: skip


def _ses(
    happening: Happening, describe: Callable[[Happening], tuple[str, str]], rng: Random
) -> tuple[bytes, Headers]:
    event_type, described = describe(happening)
    letter, party = happening.letter, happening.letter.party
    recipient, campaign = quote(letter.recipient), letter.campaign or "none"
    mail_at = happening.at if event_type in TIMED_BY_MAIL else happening.sent_at
    event = (
        f'{{"eventType":"{event_type}","mail":{{"timestamp":"{mail_at}",'
        f'"source":"office@studio.example.com",'
        f'"sourceArn":"arn:aws:ses:us-east-1:123456789012:identity/studio.example.com",'
        f'"sendingAccountId":"123456789012","messageId":"{happening.provider_message_id}",'
        f'"destination":[{recipient}],"headersTruncated":false,"commonHeaders":{{'
        f'"from":["The Studio <office@studio.example.com>"],"to":[{recipient}],'
        f'"subject":{quote(letter.body)}}},"tags":{{"ses:configuration-set":["studio"],'
        f'"ses:from-domain":["studio.example.com"],"tenant_id":[{quote(letter.tenant_id)}],'
        f'"message_id":["{letter.message_id}"],"record_type":["{party.record_type}"],'
        f'"record_id":["{party.record_id}"],"campaign":["{campaign}"],'
        f'"attempt":["{happening.attempt}"]}}}},{described}}}'
    )
    transport = rng.random()
    if transport < 0.1:
        return event.encode(), ()
    push_id = f"{rng.getrandbits(64):016x}-5a2c-4000-8000-000000000001"
    if transport < 0.15:
        return (
            f'{{"version":"0","id":"{push_id}","detail-type":"{DETAIL_TYPES[event_type]}",'
            f'"source":"aws.ses","account":"123456789012","time":"{happening.at}",'
            f'"region":"us-east-1","resources":[],"detail":{event}}}'
        ).encode(), ()
    return (
        f'{{"Type":"Notification","MessageId":"{push_id}",'
        f'"TopicArn":"arn:aws:sns:us-east-1:123456789012:ses-events",'
        f'"Subject":"Amazon SES Email Event Notification","Message":{quote(event)},'
        f'"Timestamp":"{happening.at}","SignatureVersion":"1","Signature":"EXAMPLE"}}'
    ).encode(), (
        ("x-amz-sns-message-type", b"Notification"),
        ("x-amz-sns-message-id", push_id.encode()),
    )


# --- Twilio --------------------------------------------------------------------------------------

TWILIO: Final[Mapping[Kind, str]] = {
    "queued": "queued", "sent": "sent", "delivery": "delivered", "read": "read",
    "undelivered": "undelivered", "rejected": "undelivered", "failed": "failed",
    "expired": "failed", "opt_out": "failed",
}  # fmt: skip


def _twilio(happening: Happening) -> tuple[bytes, Headers] | None:
    status = TWILIO.get(happening.kind)
    if status is None or "part" in happening.detail:
        return None
    letter, sid = happening.letter, happening.provider_message_id
    code = happening.detail.get("reason_code")
    body = (
        f"{f'ErrorCode={code}&' if code else ''}SmsSid={sid}&SmsStatus={status}"
        f"&MessageStatus={status}&To={quote_plus(letter.recipient)}&MessageSid={sid}"
        f"&AccountSid=AC{0:032d}&From=%2B12015550100&ApiVersion=2010-04-01"
    )
    query = (
        f"tenant_id={quote_plus(letter.tenant_id)}&message_id={letter.message_id}"
        f"&record_type={letter.party.record_type}&record_id={letter.party.record_id}"
    )
    return body.encode(), (("x-callback-query", query.encode()),)
