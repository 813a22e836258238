"""Mailjet: Event API notifications, one event alone or many grouped in an array.

`sent` means that the receiving server took the message. Mailjet blocks what it does not want to
try: an address it knows to be bad is an echo of that, a domain that is wrong in itself is a bounce
at first sight, and anything else is the sender's affair. Sources: Mailjet's API guides, "Event
API: real-time notifications" and its table of errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pydantic import ConfigDict, TypeAdapter, with_config
from typing_extensions import TypedDict

from schemas.providers import UnreadableError
from schemas.providers._common import bare, elements, epoch, ours_in, reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from schemas.events import BounceClass, Channel, Fields
    from schemas.providers import Rejected

PROVIDER: Final = "mailjet"
CHANNEL: Final[Channel] = "email"

KINDS: Final = {
    "sent": "delivery",
    "open": "open",
    "click": "click",
    "bounce": "bounce",
    "blocked": "failure",
    "spam": "complaint",
    "unsub": "unsubscribe",
}
#: A blocked message is a failure, except for these errors and for whatever is about the recipient.
BLOCKED: Final = {
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
BLOCKED_RELATED_TO: Final = {"recipient": "invalid", "mailbox": "invalid", "domain": "bounce"}
GREYLISTED: Final = "greylisted"
#: The error in our words; any other is hard or soft as `PERMANENT` says.
ERRORS: Final[Mapping[str, BounceClass]] = {
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
#: Labels of what is for good: what `hard_bounce` says so of, and a domain that is blocked.
PERMANENT: Final = frozenset({"hard_bounce", "blocked"})
TRUE: Final = frozenset({"true", "1"})

Maybe = str | None


@with_config(ConfigDict(coerce_numbers_to_str=True))
class _Event(TypedDict, total=False):
    event: str
    time: float | None
    MessageID: Maybe
    mj_message_id: Maybe  # the same, and once alone
    email: Maybe
    customcampaign: Maybe
    CustomID: Maybe
    Payload: Maybe
    smtp_reply: Maybe  # sent
    ip: Maybe  # open, click, unsub
    agent: Maybe
    url: Maybe  # click
    hard_bounce: bool | str | None  # bounce
    comment: Maybe
    error_related_to: Maybe  # bounce, blocked
    error: Maybe
    source: Maybe  # spam


_event: Final = TypeAdapter(_Event).validator.validate_python


def events(payload: bytes, headers: Mapping[str, str]) -> Iterator[Fields | Rejected]:  # noqa: ARG001
    """Yield the events of one notification; see `schemas.providers.Adapter`."""
    yield from elements(payload, _read)


def _read(element: object) -> Iterator[Fields]:
    event = _event(element)
    word = event.get("event") or ""
    error = event.get("error") or ""
    kind = _kind(word, error, event.get("error_related_to") or "")
    fields: Fields = {
        "kind": kind,
        "recipient": bare(event.get("email") or ""),
        "label": word,
        **_shared(event),
        **reply(event.get("smtp_reply") or event.get("comment")),
    }
    if reason := error or event.get("source"):
        fields["reason_code"] = reason
    if kind == "bounce" and _is_true(event.get("hard_bounce")):
        fields["label"] = "hard_bounce"
    yield fields


def _kind(word: str, error: str, related_to: str) -> str:
    """Return what an event is; of a refusal, its error decides."""
    if word not in KINDS:
        raise UnreadableError(
            f"Mailjet event {word[:60]!r} is not known" if word else "a Mailjet event names 'event'"
        )
    if error == GREYLISTED and word in ("bounce", "blocked"):
        return "deferral"
    if word == "blocked":
        # A duplicate within a campaign is said to be related to its recipient.
        if error == "duplicate in campaign":
            return "failure"
        return BLOCKED.get(error) or BLOCKED_RELATED_TO.get(related_to, "failure")
    return KINDS[word]


def label_class(bounce: Mapping[str, object]) -> BounceClass | None:
    """Return what the provider's verdict means in our words; see `schemas.providers.Adapter`."""
    permanent = bounce.get("label") in PERMANENT
    return ERRORS.get(str(bounce.get("reason_code", ""))) or ("hard" if permanent else "soft")


def _shared(event: _Event) -> Fields:
    """Return what every event says: whose message, its time, and who looked at it."""
    fields: Fields = {}
    if campaign := event.get("customcampaign"):
        fields["campaign"] = campaign
    fields.update(ours_in(event.get("CustomID")))
    fields.update(ours_in(event.get("Payload")))
    if message_id := event.get("MessageID") or event.get("mj_message_id"):
        fields["provider_message_id"] = message_id
    if (time := event.get("time")) is not None:
        fields["occurred_at"] = epoch(time)
    if address := event.get("ip"):
        fields["ip"] = address
    if agent := event.get("agent"):
        fields["user_agent"] = agent
    if event.get("event") == "click" and (url := event.get("url")):
        fields["url"] = url
    return fields


def _is_true(flag: bool | str | None) -> bool:  # noqa: FBT001
    """Return a flag that some deliveries of an event write as a text."""
    return flag.lower() in TRUE if isinstance(flag, str) else bool(flag)
