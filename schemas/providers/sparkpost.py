"""SparkPost: a JSON array of `{"msys": {class: event}}`; an empty `msys` is a ping.

A number, `bounce_class`, is SparkPost's verdict; it also marks what is no bounce, as an automatic
reply. An address on the suppression list is told by the text alone. Sources: SparkPost's docs,
"Webhooks event reference" and "Bounce classification codes".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, cast

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from schemas.bounces import classify
from schemas.providers import UnreadableError
from schemas.providers._common import elements, epoch, instant, ours, reply, tags

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields
    from schemas.providers import Rejected

PROVIDER: Final = "sparkpost"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
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
#: Events about mail that comes in, tests of two variants, and uploads of events.
NOT_OURS: Final = frozenset({"relay_event", "ab_test_event", "ingest_event"})
#: The type of an event about a message that was no mail, among those that were.
TEXT_MESSAGE: Final = "sms_status"
#: Bounce classes that are no bounce: an automatic reply, a wish to (un)subscribe, a challenge.
NO_BOUNCES: Final = {"60": "note", "80": "resubscribe", "90": "unsubscribe", "100": "note"}
#: Refusals by SparkPost itself: its policies and the suppression list, and Smart Send.
ADMIN_FAILURE: Final = "25"
SMART_SEND: Final = "26"
LABELS: Final[Mapping[str, BounceClass]] = {
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
#: SparkPost's own words; a foreign server that speaks of its suppression list means another one.
SUPPRESSED: Final = re.compile(
    r"recipient address (?:was |is |has been )?suppressed|suppressed due to", re.IGNORECASE
)
UNSUBSCRIBED: Final = re.compile(r"unsubscribe", re.IGNORECASE)

_REPLY_CODE: Final = re.compile(r"[245][0-5]\d")

Maybe = str | None
Number = int | str | None


class _Agent(TypedDict, total=False):
    is_prefetched: bool | None


class _Event(TypedDict, total=False):
    type: str
    event_id: Number
    transmission_id: Number
    message_id: Maybe
    timestamp: int | float | str | None
    raw_rcpt_to: Maybe
    rcpt_to: Maybe
    rcpt_meta: dict[str, object] | None
    rcpt_tags: list[str] | None
    campaign_id: Maybe
    subject: Maybe
    bounce_class: Number
    error_code: Number
    raw_reason: Maybe
    reason: Maybe
    fbtype: Maybe
    target_link_url: Maybe
    user_agent: Maybe
    user_agent_parsed: _Agent | None
    ip_address: Maybe


class _Element(TypedDict):
    msys: dict[str, object]


_element: Final = TypeAdapter(_Element).validator.validate_python
_event: Final = TypeAdapter(_Event).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:
    """Yield the events of one batch; see `schemas.providers.Adapter`."""
    del headers
    return elements(payload, _read)


def _read(value: object) -> Iterator[Fields]:
    element: _Element = _element(value)
    for name, inner in element["msys"].items():
        if name in NOT_OURS:
            continue
        event: _Event = _event(inner)
        word = event.get("type") or ""
        if word == TEXT_MESSAGE:
            continue
        kind = KINDS.get(word)
        if kind is None:
            raise UnreadableError(
                f"SparkPost event type {word[:60]!r} is not known"
                if word
                else "a SparkPost event has to name its type"
            )
        fields = _shared(event)
        fields["kind"] = kind
        match kind:
            case "bounce" | "failure":
                _refusal(event, fields)
            case "deferral" | "delivery":
                fields.update(_reply(event))
            case "complaint":
                _complaint(event, fields)
            case "open" | "click" | "unsubscribe":
                _engagement(event, fields)
        yield fields


def _shared(event: _Event) -> Fields:
    """Return what every event says about its message."""
    fields = ours(event.get("rcpt_meta"))
    fields["recipient"] = event.get("raw_rcpt_to") or event.get("rcpt_to") or ""
    timestamp = event.get("timestamp")
    if timestamp is not None and timestamp != "":
        dated = isinstance(timestamp, str) and "-" in timestamp
        fields["occurred_at"] = instant(str(timestamp)) if dated else epoch(timestamp)
    if message_id := event.get("transmission_id") or event.get("message_id"):
        fields["provider_message_id"] = str(message_id)
    if event_id := event.get("event_id"):
        fields["provider_event_id"] = str(event_id)
    if subject := event.get("subject"):
        fields["subject"] = subject
    if (campaign := event.get("campaign_id")) and "campaign" not in fields:
        fields["campaign"] = campaign
    if labels := event.get("rcpt_tags"):
        fields["tags"] = tags(labels)
    return fields


def _refusal(event: _Event, fields: Fields) -> None:
    """Tell bounces, refusals before sending, suppressed addresses and mere replies apart."""
    fields.update(_reply(event))
    number = str(fields.get("reason_code", ""))
    text = str(fields.get("diagnostic", ""))
    if SUPPRESSED.search(text) or (number == ADMIN_FAILURE and not text):
        fields["kind"] = "skipped" if UNSUBSCRIBED.search(text) else "invalid"
    elif number == SMART_SEND:
        fields["kind"] = "failure"
    elif fields["kind"] == "bounce":
        fields["kind"] = NO_BOUNCES.get(number, "bounce")
        if fields["kind"] == "bounce":
            _bounce(event, fields, number)


def _bounce(event: _Event, fields: Fields, number: str) -> None:
    if number == ADMIN_FAILURE and not _about_address(fields):
        # Not sent for another cause than the address, as a sending domain that is not set up.
        fields["kind"] = "failure"
        return
    fields["label"] = number
    if event["type"] == "out_of_band":
        fields["late"] = True


def _about_address(fields: Fields) -> bool:
    """Return whether a reply means the address, by the rules that ship with the package.

    A deployment's rules say how bad a bounce is, not what is one.
    """
    said = str(fields.get("enhanced_status", "")), cast("int | None", fields.get("smtp_code"))
    return classify(*said, str(fields.get("diagnostic", ""))).bounce_class == "hard"


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    return LABELS.get(str(bounce.get("label", "")))


def _complaint(event: _Event, fields: Fields) -> None:
    if feedback := event.get("fbtype"):
        fields["reason_code"] = feedback
        if feedback.lower() == "not-spam":
            fields["kind"] = "note"


def _engagement(event: _Event, fields: Fields) -> None:
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


def _reply(event: _Event) -> Fields:
    """Return the reply with its codes, and the bounce class as the provider's code."""
    fields = reply(event.get("raw_reason") or event.get("reason"))
    code = str(event.get("error_code") or "")
    if _REPLY_CODE.fullmatch(code):
        fields["smtp_code"] = int(code)
    if number := str(event.get("bounce_class") or ""):
        fields["reason_code"] = number
    return fields
