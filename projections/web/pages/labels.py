"""What pages say in plain words: columns, comparisons, kinds of fact, rules of the blacklist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from projections.queries.listing import Filter
from schemas.decisions import OURS
from schemas.events import Channel
from schemas.smtp_replies import describe

CHANNELS: Final[Mapping[Channel, str]] = {"email": "email", "sms": "SMS"}
LOGS: Final[Mapping[Channel, str]] = {"email": "Email Log", "sms": "SMS Log"}
OPERATORS: Final = {
    "=": "is", "!=": "is not", "~": "contains", ">=": "is at least", "<=": "is at most",
    ">": "is more than", "<": "is less than",
}  # fmt: skip
#: The same of times.
_TIMES: Final = {
    ">=": "from", "<=": "until", ">": "after", "<": "before", "=": "is", "!=": "is not",
    "~": "contains",
}  # fmt: skip
_LABELS: Final = {
    "smtp_code": "SMTP code", "message_id": "message id", "record_id": "record id",
    "provider_message_id": "provider's message id", "ip": "IP address", "url": "address",
    "tenant_id": "tenant",
}  # fmt: skip
KINDS: Final[Mapping[str, str]] = {
    "queued": "Accepted for sending", "sent": "Handed over for delivery",
    "deferral": "Deferred; the provider goes on trying", "delivery": "Delivered",
    "open": "Opened", "click": "Clicked", "bounce": "Bounced", "complaint": "Reported as spam",
    "unsubscribe": "Unsubscribed", "resubscribe": "Subscribed again",
    "invalid": "Refused: the address is blacklisted", "skipped": "Skipped: opted out",
    "failure": "Not sent", "read": "Read", "undelivered": "Could not be delivered",
    "rejected": "Stopped by the carrier", "failed": "Failed", "expired": "Expired",
    "unknown": "State unknown", "opt_out": "Opted out", "retry_scheduled": "Retry scheduled",
    "retry_exhausted": "Retries used up", "suppressed": "Address blacklisted",
    "reinstated": "Blacklisting lifted", "note": "Note",
}  # fmt: skip
#: Notes of Sendlog's own, by their reason code.
_NOTES: Final = {
    "retry_asked": "Retry asked of the mailer", "retry_cancelled": "Retry cancelled",
    "command_refused": "A change of the blacklist was refused",
    "streak_reset": "Soft bounces are counted anew",
}  # fmt: skip
RULES: Final[Mapping[str, str]] = {
    "unsubscribe": "unsubscribed", "complaint": "reported a message as spam",
    "hard_bounce": "hard bounce", "opt_out": "opted out of SMS",
    "echo": "on the provider's own blacklist", "by_hand": "listed by hand",
    "soft_bounces": "soft bounces in a row",
}  # fmt: skip
CHANGES: Final[Mapping[str, str]] = {
    "added": "Blacklisted", "extended": "Extended", "expired": "Expired", "reset": "Reset",
    "resubscribed": "Subscribed again", "refused": "Refused",
}  # fmt: skip
EFFECTS: Final[Mapping[str, str]] = {
    "invalid": "What is sent to it is refused, with status Invalid.",
    "skipped": "What is sent to it is skipped, with status Skipped.",
}
#: Of a fact: what is said of it, in order.
_DETAILS: Final = (
    "bounce_class", "reason_code", "diagnostic", "label", "due_at", "url", "user_agent", "ip",
    "provider",
)  # fmt: skip
_SAID: Final = {"due_at": "due", "label": "the provider's verdict", "diagnostic": "text",
                "reason_code": "code"}  # fmt: skip
#: That it is a decision of Sendlog's own, and which, is said otherwise.
_SAID_ALREADY: Final = frozenset({("label", OURS), *(("reason_code", note) for note in _NOTES)})
_FLAGS: Final = {
    ("machine", True): "by a machine, not a person", ("late", True): "after acceptance",
    ("handset", True): "confirmed by the handset",
    ("handset", False): "confirmed by the operator only",
}  # fmt: skip


def column(name: str) -> str:
    """Return a column's name in words."""
    return _LABELS.get(name) or name.removesuffix("_at").replace("_", " ")


def condition(wanted: Filter) -> str:
    """Return a filter in words, as "subject contains invoice"."""
    time = wanted.column == "date" or wanted.column.endswith("_at")
    operator = (_TIMES if time else OPERATORS)[wanted.operator]
    return f"{column(wanted.column)} {operator} {wanted.value or '(nothing)'}"


def kind(fact: Mapping[str, Any]) -> str:
    """Return what happened."""
    if fact["kind"] == "note" and (known := _NOTES.get(fact.get("reason_code", ""))):
        return known
    return KINDS.get(fact["kind"], fact["kind"])


def details(fact: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield (what, value) of a fact's particulars: codes in plain words first, then raw."""
    if codes := describe(fact.get("smtp_code"), fact.get("enhanced_status", "")):
        yield "reply", codes
    if fact.get("attempt", 1) > 1:
        yield "attempt", fact["attempt"]
    if fact.get("parts", 0) > 1:
        yield "segments", fact["parts"]
    for name in _DETAILS:
        value = fact.get(name)
        if value not in {None, ""} and (name, value) not in _SAID_ALREADY:
            yield _SAID.get(name) or column(name), value
    for (name, value), said in _FLAGS.items():
        if fact.get(name) is value:
            yield "", said


def count(number: int) -> str:
    """Return a number for the scale of a chart, as 1.5k."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def duration(seconds: float | None) -> str:
    """Return a time span as people say it."""
    if seconds is None:
        return "—"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
