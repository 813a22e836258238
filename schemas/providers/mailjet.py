"""Mailjet: Event API notifications, one event alone or many grouped in an array.

`sent` means that the receiving server accepted the message. Mailjet blocks what it does not want to
try: an address it knows to be bad is invalid, a domain that is wrong in itself is a bounce, and
anything else is a failure on the sender's side. Sources: Mailjet's API guides, "Event
API: real-time notifications" and its table of errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from schemas.addresses import bare_address
from schemas.providers._common import parsed_metadata, read_elements, reply_fields, validator
from schemas.providers._rejections import UnreadableError
from schemas.providers._tells import Tells
from schemas.providers._times import epoch_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, EventFields
    from schemas.providers._rejections import RejectedPart

PROVIDER: Final = "mailjet"
CHANNEL: Final[Channel] = "email"
TELLS: Final = Tells(
    ids="`CustomID`, `EventPayload`",
    deferrals=True,
    opens="unmarked",
    batches=True,
)

EVENT_KINDS: Final = {
    "sent": "delivery",
    "open": "open",
    "click": "click",
    "bounce": "bounce",
    "blocked": "failure",
    "spam": "complaint",
    "unsub": "unsubscribe",
}
#: A blocked message is a failure, except for these errors and for what is about the recipient.
BLOCK_KINDS: Final = {
    "preblocked": "invalid",
    "blacklisted": "invalid",
    "spam reporter": "invalid",
    "user unknown": "invalid",
    "mailbox inactive": "invalid",
    "invalid domain": "bounce",
    "no mail host": "bounce",
    "typofix": "bounce",
    "relay/access denied": "bounce",
}
BLOCK_KINDS_BY_RELATION: Final = {"recipient": "invalid", "mailbox": "invalid", "domain": "bounce"}
GREYLISTED_ERROR: Final = "greylisted"
#: The class by error; any other error is hard or soft by `PERMANENT_LABELS`.
ERROR_CLASSES: Final[Mapping[str, BounceClass]] = {
    "user unknown": "hard",
    "invalid domain": "hard",
    "typofix": "hard",
    "quota exceeded": "soft",
    "system issue": "soft",
    "protocol issue": "soft",
    "connection issue": "soft",
    "relay/access denied": "block",
    "sender blocked": "block",
    "content blocked": "block",
    "policy issue": "block",
    "bad or empty template": "block",
    "error in template language": "block",
}
#: Labels of permanent failures: events with `hard_bounce`, and blocked domains.
PERMANENT_LABELS: Final = frozenset({"hard_bounce", "blocked"})
TRUE_TEXTS: Final = frozenset({"true", "1"})


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: str
    time: float | None
    MessageID: str | None
    mj_message_id: str | None  # the same, and once alone
    email: str | None
    customcampaign: str | None
    CustomID: str | None
    Payload: str | None
    smtp_reply: str | None  # sent
    ip: str | None  # open, click, unsub
    agent: str | None
    url: str | None  # click
    hard_bounce: bool | str | None  # bounce
    comment: str | None
    error_related_to: str | None  # bounce, blocked
    error: str | None
    source: str | None  # spam


_read_event: Final = validator(_Event)


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[EventFields | RejectedPart]:
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    del headers
    return read_elements(payload, _element_events)


def _element_events(element: object) -> Iterator[EventFields]:
    event: _Event = _read_event(element)
    word = event.get("event") or ""
    error = event.get("error") or ""
    kind = _kind(word, error, event.get("error_related_to") or "")
    fields: EventFields = {
        "kind": kind,
        "recipient": bare_address(event.get("email") or ""),
        "label": word,
        **_shared_fields(event),
        **reply_fields(event.get("smtp_reply") or event.get("comment")),
    }
    if reason := error or event.get("source"):
        fields["reason_code"] = reason
    if kind == "bounce" and _is_true(event.get("hard_bounce")):
        fields["label"] = "hard_bounce"
    yield fields


def _kind(word: str, error: str, related_to: str) -> str:
    """Return the kind of an event; for a refusal, its error decides."""
    if word not in EVENT_KINDS:
        raise UnreadableError(
            f"Mailjet event {word[:60]!r} is not known" if word else "a Mailjet event names 'event'"
        )
    if error == GREYLISTED_ERROR and word in ("bounce", "blocked"):
        return "deferral"
    if word == "blocked":
        # Mailjet relates a duplicate within a campaign to its recipient.
        if error == "duplicate in campaign":
            return "failure"
        return BLOCK_KINDS.get(error) or BLOCK_KINDS_BY_RELATION.get(related_to, "failure")
    return EVENT_KINDS[word]


def label_class(bounce: Mapping[str, Any]) -> BounceClass | None:
    """Return the class that the provider's label stands for; see `schemas.providers.Adapter`."""
    permanent = bounce.get("label") in PERMANENT_LABELS
    return ERROR_CLASSES.get(bounce.get("reason_code", "")) or ("hard" if permanent else "soft")


def _shared_fields(event: _Event) -> EventFields:
    """Return the fields that events of all kinds have."""
    fields: EventFields = {}
    if campaign := event.get("customcampaign"):
        fields["campaign"] = campaign
    fields.update(parsed_metadata(event.get("CustomID")))
    fields.update(parsed_metadata(event.get("Payload")))
    if message_id := event.get("MessageID") or event.get("mj_message_id"):
        fields["provider_message_id"] = message_id
    if (time := event.get("time")) is not None:
        fields["occurred_at"] = epoch_time(time)
    if address := event.get("ip"):
        fields["ip"] = address
    if agent := event.get("agent"):
        fields["user_agent"] = agent
    if event.get("event") == "click" and (url := event.get("url")):
        fields["url"] = url
    return fields


def _is_true(flag: bool | str | None) -> bool:  # noqa: FBT001
    """Return a flag, which some deliveries of an event write as a text."""
    return flag.lower() in TRUE_TEXTS if isinstance(flag, str) else bool(flag)
