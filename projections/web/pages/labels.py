"""The words of pages for names in the data: columns, operators, kinds of events, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

from projections.queries.listing import Filter
from schemas.decisions import DECISION_LABEL, SUPPRESSION_RULES, RuleName
from schemas.events import Channel
from schemas.reasons import explain_code
from schemas.smtp_replies import describe_codes

CHANNEL_NAMES: Final[Mapping[Channel, str]] = {"email": "email", "sms": "SMS"}
LOG_NAMES: Final[Mapping[Channel, str]] = {"email": "Email Log", "sms": "SMS Log"}
OPERATOR_NAMES: Final = {
    "=": "is", "!=": "is not", "~": "contains", ">=": "is at least", "<=": "is at most",
    ">": "is more than", "<": "is less than",
}  # fmt: skip
#: The operators of times, where other words are usual.
_TIME_OPERATOR_NAMES: Final = {
    ">=": "from", "<=": "until", ">": "after", "<": "before", "=": "is", "!=": "is not",
    "~": "contains",
}  # fmt: skip
_COLUMN_NAMES: Final = {
    "smtp_code": "SMTP code", "message_id": "message id", "record_id": "record id",
    "provider_message_id": "provider's message id", "ip": "IP address", "url": "link",
    "tenant_id": "tenant",
}  # fmt: skip
KIND_NAMES: Final[Mapping[str, str]] = {
    "queued": "Accepted for sending", "sent": "Handed over for delivery",
    "deferral": "Delayed; it is tried again", "delivery": "Delivered",
    "open": "Opened", "click": "Clicked", "bounce": "Bounced", "complaint": "Reported as spam",
    "unsubscribe": "Unsubscribed", "resubscribe": "Subscribed again",
    "invalid": "Refused: the address is blacklisted", "skipped": "Skipped: opted out",
    "failure": "Not sent", "read": "Read", "undelivered": "Could not be delivered",
    "rejected": "Stopped by the phone company", "failed": "Failed",
    "expired": "Not delivered in time", "unknown": "State unknown", "opt_out": "Opted out",
    "retry_scheduled": "Another attempt planned", "retry_exhausted": "No attempts are left",
    "suppressed": "Address blacklisted", "reinstated": "Blacklisting lifted", "note": "Note",
    "joined": "Joined",
}  # fmt: skip
#: Notes of Sendlog's own, by reason code.
_NOTE_NAMES: Final = {
    "resend_asked": "Asked to be sent again", "resend_refused": "Not sent again",
    "retry_asked": "Another attempt asked for", "retry_cancelled": "Planned attempt cancelled",
    "command_refused": "A change of the blacklist was refused",
    "streak_reset": "Failed attempts are counted anew",
}  # fmt: skip
#: Notes whose text people wrote, or are to read.
_RESEND_NOTES: Final = frozenset({"resend_asked", "resend_refused"})
CHANGE_NAMES: Final[Mapping[str, str]] = {
    "added": "Blacklisted", "extended": "Extended", "expired": "Expired", "reset": "Reset",
    "resubscribed": "Subscribed again", "refused": "Refused",
}  # fmt: skip
#: What becomes of an address in a bulk reset.
FATE_NAMES: Final[Mapping[str, str]] = {
    "would_lift": "can be reset", "lifted": "reset", "refused": "not reset",
    "not_listed": "not blacklisted", "pending": "on its way; do not ask twice",
    "not_published": "not asked for",
}  # fmt: skip
EFFECTS: Final[Mapping[str, str]] = {
    "invalid": "What is sent to it is refused, with status Invalid.",
    "skipped": "What is sent to it is skipped, with status Skipped.",
}
#: What somebody did, by the audit log.
AUDIT_ACTIONS: Final[Mapping[str, str]] = {
    "sign_in": "Signed in", "sign_out": "Signed out", "look": "Looked", "export": "Exported",
    "resend": "Asked to send again", "reset": "Reset", "bulk_reset": "Reset, with others",
    "add": "Blacklisted by hand",
    "provider_lists": "Taken off providers' lists",
    "key_create": "Key made", "key_rotate": "Key rotated", "key_revoke": "Key revoked",
    "embed_secret": "Embed secret shown", "embed_token": "Embed token made",
}  # fmt: skip
AUDIT_OUTCOMES: Final[Mapping[str, str]] = {
    "refused": "refused", "pending": "not known yet", "failed": "could not be asked",
}  # fmt: skip
AUDIT_WAYS: Final[Mapping[str, str]] = {
    "api": "API", "page": "page", "embedded": "embedded page", "cli": "command line",
}  # fmt: skip
#: Kinds of events that tell of a failure by codes and texts.
_FAILURE_KINDS: Final = frozenset(
    {"bounce", "deferral", "undelivered", "rejected", "failed", "expired"}
)
#: Columns of an event that are technical details, in order.
_DETAIL_COLUMNS: Final = (
    "bounce_class", "reason_code", "diagnostic", "label", "user_agent", "ip", "provider",
    "other_id",
)  # fmt: skip
_DETAIL_NAMES: Final = {"due_at": "due", "label": "the provider's verdict", "diagnostic": "text",
                        "reason_code": "code", "other_id": "other id"}  # fmt: skip
#: Values that the title of the event shows already.
_REDUNDANT_DETAILS: Final = frozenset(
    {("label", DECISION_LABEL), *(("reason_code", note) for note in _NOTE_NAMES)}
)
_FLAG_NAMES: Final = {
    ("machine", True): "by a machine, not a person",
    ("late", True): "after it was accepted at first",
    ("handset", True): "confirmed by the phone",
    ("handset", False): "confirmed by the phone company only",
}  # fmt: skip


def column_name(name: str) -> str:
    """Return the name of a column for people."""
    return _COLUMN_NAMES.get(name) or name.removesuffix("_at").replace("_", " ")


def filter_text(filter_: Filter) -> str:
    """Return a filter as text, as "subject contains invoice"."""
    column, value = filter_.column, filter_.value
    is_time = column == "date" or column.endswith("_at")
    operator = (_TIME_OPERATOR_NAMES if is_time else OPERATOR_NAMES)[filter_.operator]
    return f"{column_name(column)} {operator} {value or '(nothing)'}"


def rule_text(rule: str) -> str:
    """Return the words for the rule of a suppression; a name that is no rule stays."""
    definition = SUPPRESSION_RULES.get(cast("RuleName", rule))
    return definition.words if definition else rule


def event_title(event: Mapping[str, Any]) -> str:
    """Return what happened, from the kind of an event."""
    if event["kind"] == "note" and (name := _NOTE_NAMES.get(event.get("reason_code", ""))):
        return name
    return KIND_NAMES.get(event["kind"], event["kind"])


def event_notes(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the (name, value) of what people understand of an event: why it failed, and flags."""
    if event["kind"] in _FAILURE_KINDS:
        cause = explain_code(
            event["channel"], event.get("provider", ""), event.get("reason_code", ""),
            event.get("enhanced_status", ""), event.get("smtp_code"),
            "soft" if event["kind"] == "deferral" else event.get("bounce_class") or "",
            diagnostic=event.get("diagnostic", ""),
        )  # fmt: skip
        if cause.name != "unknown":
            yield "", cause.words
    if event["kind"] == "note" and event.get("reason_code") in _RESEND_NOTES:
        yield "", event.get("diagnostic", "")
    for (column, value), name in _FLAG_NAMES.items():
        if event.get(column) is value:
            yield "", name
    for name in ("due_at", "url"):
        if text := event.get(name):
            yield _DETAIL_NAMES.get(name) or column_name(name), text


def event_details(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the (name, value) of an event's technical details: codes in words first, then raw."""
    if codes := describe_codes(event.get("smtp_code"), event.get("enhanced_status", "")):
        yield "reply", codes
    if event.get("attempt", 1) > 1:
        yield "attempt", event["attempt"]
    if event.get("parts", 0) > 1:
        yield "segments", event["parts"]
    for column in _DETAIL_COLUMNS:
        value = event.get(column)
        if value not in {None, ""} and (column, value) not in _REDUNDANT_DETAILS:
            yield _DETAIL_NAMES.get(column) or column_name(column), value


def short_number(number: int) -> str:
    """Return a number in short form, as 1.5k."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            return f"{number / size:g}{unit}"
    return str(number)


def time_span_text(seconds: float | None) -> str:
    """Return a time span in one unit, as "10 min"."""
    if seconds is None:
        return "—"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s"
