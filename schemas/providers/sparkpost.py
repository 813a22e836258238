"""SparkPost: a JSON array of `{"msys": {class: event}}`; an empty `msys` is a ping.

A number, `bounce_class`, is SparkPost's label; it also marks what is no bounce, as an automatic
reply. Only the text shows that an address is on the suppression list. Sources: SparkPost's docs,
"Webhooks event reference" and "Bounce classification codes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import TypedDict

from schemas.bounces import classify_bounce
from schemas.providers._common import (
    echoed_metadata,
    limited_tags,
    read_elements,
    reply_fields,
    validator,
)
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time, iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "sparkpost"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(ids="`rcpt_meta`", deferrals=True, opens="marked", batches=True)

EVENT_KINDS: Final = {
    "injection": "queued",
    "delivery": "delivery",
    "delay": "deferral",
    "bounce": "bounce",
    "out_of_band": "bounce",
    "policy_rejection": "failure",
    "generation_failure": "failure",
    "generation_rejection": "failure",
    "spam_complaint": "complaint",
    "list_unsubscribe": "unsubscribe",
    "link_unsubscribe": "unsubscribe",
    "open": "open",
    "initial_open": "open",
    "amp_open": "open",
    "amp_initial_open": "open",
    "click": "click",
    "amp_click": "click",
}
#: Events about incoming mail, tests of two variants, and uploads of events.
IGNORED_EVENTS: Final = frozenset({"relay_event", "ab_test_event", "ingest_event"})
#: The type of an event about an SMS, among those about mail.
SMS_EVENT: Final = "sms_status"
#: Bounce classes that are no bounce: an automatic reply, a request to (un)subscribe, a challenge.
NON_BOUNCE_KINDS: Final = {"60": "note", "80": "resubscribe", "90": "unsubscribe", "100": "note"}
#: Refusals by SparkPost itself: its policies and the suppression list, and Smart Send.
ADMIN_FAILURE_CLASS: Final = "25"
SMART_SEND_CLASS: Final = "26"
LABEL_CLASSES: Final[Mapping[str, BounceClass]] = {
    "1": "undetermined",
    "10": "hard",  # invalid recipient
    "20": "soft",
    "21": "soft",  # DNS failure
    "22": "soft",  # mailbox full
    "23": "block",  # too large
    "24": "soft",  # timeout
    "30": "hard",  # no recipient
    "40": "soft",
    "50": "block",
    "51": "block",
    "52": "block",
    "53": "block",
    "54": "block",
    "70": "soft",
}
#: SparkPost's own words: a foreign server may speak of another suppression list.
SUPPRESSED_TEXT: Final = re.compile(
    r"recipient address (?:was |is |has been )?suppressed|suppressed due to", re.IGNORECASE
)
UNSUBSCRIBED_TEXT: Final = re.compile(r"unsubscribe", re.IGNORECASE)

_REPLY_CODE: Final = re.compile(r"[245][0-5]\d")

NumberOrText = int | str | None


class _Agent(TypedDict, total=False):
    is_prefetched: bool | None


class _Event(TypedDict, total=False):
    type: str
    event_id: NumberOrText
    transmission_id: NumberOrText
    message_id: str | None
    timestamp: int | float | str | None
    raw_rcpt_to: str | None
    rcpt_to: str | None
    rcpt_meta: dict[str, object] | None
    rcpt_tags: list[str] | None
    campaign_id: str | None
    subject: str | None
    bounce_class: NumberOrText
    error_code: NumberOrText
    raw_reason: str | None
    reason: str | None
    fbtype: str | None
    target_link_url: str | None
    user_agent: str | None
    user_agent_parsed: _Agent | None
    ip_address: str | None


class _Element(TypedDict):
    msys: dict[str, object]


_read_element: Final = validator(_Element)
_read_event: Final = validator(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one batch; see `schemas.providers.Adapter`."""
    del headers
    return read_elements(payload, _element_events)


def _element_events(value: object) -> Iterator[EventFields]:
    element: _Element = _read_element(value)
    for name, inner in element["msys"].items():
        if name in IGNORED_EVENTS:
            continue
        event: _Event = _read_event(inner)
        word = event.get("type") or ""
        if word == SMS_EVENT:
            continue
        kind = EVENT_KINDS.get(word)
        if kind is None:
            raise UnreadableError(
                f"SparkPost event type {word[:60]!r} is not known"
                if word
                else "a SparkPost event has to name its type"
            )
        fields = _shared_fields(event)
        fields["kind"] = kind
        match kind:
            case "bounce" | "failure":
                _add_refusal(event, fields)
            case "deferral" | "delivery":
                fields.update(_reply(event))
            case "complaint":
                _add_complaint(event, fields)
            case "open" | "click" | "unsubscribe":
                _add_engagement(event, fields)
        yield fields


def _shared_fields(event: _Event) -> EventFields:
    """Return the fields that events of all kinds have."""
    fields = echoed_metadata(event.get("rcpt_meta"))
    fields["recipient"] = event.get("raw_rcpt_to") or event.get("rcpt_to") or ""
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        if isinstance(timestamp, str) and "-" in timestamp:
            fields["occurred_at"] = iso_time(timestamp)
        else:
            fields["occurred_at"] = epoch_time(timestamp)
    if message_id := event.get("transmission_id") or event.get("message_id"):
        fields["provider_message_id"] = str(message_id)
    if event_id := event.get("event_id"):
        fields["provider_event_id"] = str(event_id)
    if subject := event.get("subject"):
        fields["subject"] = subject
    if (campaign := event.get("campaign_id")) and "campaign" not in fields:
        fields["campaign"] = campaign
    if labels := event.get("rcpt_tags"):
        fields["tags"] = limited_tags(labels)
    return fields


def _add_refusal(event: _Event, fields: EventFields) -> None:
    """Add the reply, and set the kind: what is called a bounce may be a refusal or an answer."""
    fields.update(_reply(event))
    number = fields.get("reason_code", "")
    text = fields.get("diagnostic", "")
    if SUPPRESSED_TEXT.search(text) or (number == ADMIN_FAILURE_CLASS and not text):
        fields["kind"] = "skipped" if UNSUBSCRIBED_TEXT.search(text) else "invalid"
    elif number == SMART_SEND_CLASS:
        fields["kind"] = "failure"
    elif fields["kind"] == "bounce":
        fields["kind"] = NON_BOUNCE_KINDS.get(number, "bounce")
        if fields["kind"] == "bounce":
            _add_bounce(event, fields, number)


def _add_bounce(event: _Event, fields: EventFields, number: str) -> None:
    if number == ADMIN_FAILURE_CLASS and not _about_address(fields):
        # Not sent for a cause other than the address, as a sending domain that is not set up.
        fields["kind"] = "failure"
        return
    fields["label"] = number
    if event["type"] == "out_of_band":
        fields["late"] = True


def _about_address(fields: EventFields) -> bool:
    """Return whether a reply is about the address, by the bounce rules that ship with the package.

    A deployment's rules decide how bad a bounce is, not what is a bounce.
    """
    codes = fields.get("enhanced_status", ""), fields.get("smtp_code")
    return classify_bounce(*codes, fields.get("diagnostic", "")).bounce_class == "hard"


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    return LABEL_CLASSES.get(bounce.get("label", ""))


def _add_complaint(event: _Event, fields: EventFields) -> None:
    if feedback := event.get("fbtype"):
        fields["reason_code"] = feedback
        if feedback.lower() == "not-spam":
            fields["kind"] = "note"


def _add_engagement(event: _Event, fields: EventFields) -> None:
    if agent := event.get("user_agent"):
        fields["user_agent"] = agent
    if address := event.get("ip_address"):
        fields["ip"] = address
    if fields["kind"] == "click" and (url := event.get("target_link_url")):
        fields["url"] = url
    if fields["kind"] != "unsubscribe" and (parsed := event.get("user_agent_parsed")):
        machine = parsed.get("is_prefetched")
        if machine is not None:
            fields["machine"] = machine


def _reply(event: _Event) -> EventFields:
    """Return the reply with its codes, and the bounce class as reason code."""
    fields = reply_fields(event.get("raw_reason") or event.get("reason"))
    code = str(event.get("error_code") or "")
    if _REPLY_CODE.fullmatch(code):
        fields["smtp_code"] = int(code)
    if number := str(event.get("bounce_class") or ""):
        fields["reason_code"] = number
    return fields
