"""The words of pages for names in the data: columns, operators, kinds of events, rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

from projections.queries.days import DAYS_AGO
from projections.queries.listing import Filter
from projections.tables import projections
from projections.web.pages.times import local_time_text
from projections.web.pages.typed_words import RECENT_DAY, RECENT_DAYS
from projections.web.pages.url import is_time_column
from projections.web.translation import gettext, ngettext, number_text, pgettext
from schemas.decisions import DECISION_LABEL, SUPPRESSION_RULES, RuleName
from schemas.events import Channel
from schemas.reasons import explain_code
from schemas.smtp_replies import describe_codes

CHANNEL_NAMES: Final[Mapping[Channel, str]] = {"email": "email", "sms": "SMS"}
#: The names of channels where they stand alone.
CHANNEL_TITLES: Final[Mapping[Channel, str]] = {"email": "Email", "sms": "SMS"}
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
    "add": "Blacklisted by hand", "publish": "Blacklist published again",
    "provider_lists": "Taken off providers' lists",
    "key_create": "Key made", "key_rotate": "Key rotated", "key_revoke": "Key revoked",
    "embed_secret": "Embed secret shown", "embed_token": "Embed token made",
    "forget": "Person forgotten", "export_person": "Person's data exported",
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

#: Words of this module that the catalogue has without a context.
_TABLES: Final[tuple[Mapping[Any, str], ...]] = (
    CHANNEL_NAMES, CHANNEL_TITLES, LOG_NAMES, OPERATOR_NAMES, _TIME_OPERATOR_NAMES, KIND_NAMES,
    _NOTE_NAMES, FATE_NAMES, EFFECTS, _DETAIL_NAMES, _FLAG_NAMES,
)  # fmt: skip


def label_messages() -> Iterator[tuple[str, str]]:
    """Yield the (context, text) of each word of this module, and of names of columns."""
    yield from (("", text) for table in _TABLES for text in table.values())
    yield from (("change", text) for text in CHANGE_NAMES.values())
    tables = (AUDIT_ACTIONS, AUDIT_OUTCOMES, AUDIT_WAYS)
    yield from (("audit", text) for table in tables for text in table.values())
    yield from (("rule", rule.words) for rule in SUPPRESSION_RULES.values())
    names = (name for log in projections().values() for name in log.columns)
    yield from (("column", english_column_name(name)) for name in (*names, *_DETAIL_COLUMNS))


def column_name(name: str) -> str:
    """Return the name of a column for people."""
    return pgettext("column", english_column_name(name))


def english_column_name(name: str) -> str:
    """Return the name of a column as the sources have it."""
    return _COLUMN_NAMES.get(name) or name.removesuffix("_at").replace("_", " ")


def filter_text(filter_: Filter) -> str:
    """Return a filter as text, as "subject contains invoice"."""
    column, value = filter_.column, filter_.value
    is_time = is_time_column(column)
    operator = (_TIME_OPERATOR_NAMES if is_time else OPERATOR_NAMES)[filter_.operator]
    if column == "status":
        value = status_text(value)
    if is_time:
        value = _time_text(value)
    return f"{column_name(column)} {gettext(operator)} {value or gettext('(nothing)')}"


def _time_text(value: str) -> str:
    """Return the time of a filter as its reader sees times; another day, or none, stays."""
    if value in RECENT_DAYS:
        return pgettext(RECENT_DAY, value)
    if match := DAYS_AGO.fullmatch(value):
        number = int(match[1])
        return ngettext("%(number)d day ago", "%(number)d days ago", number, number=number)
    try:
        time = datetime.fromisoformat(value) if "T" in value else None
    except ValueError:
        return value
    if time is None:
        return value
    return local_time_text(time if time.tzinfo else time.replace(tzinfo=UTC))


def status_text(status: str) -> str:
    """Return the name of a status for people."""
    return pgettext("status", status)


def change_text(change: str) -> str:
    """Return what a change of an entry did, for people."""
    return pgettext("change", CHANGE_NAMES[change])


def rule_text(rule: str) -> str:
    """Return the words for the rule of a suppression; a name that is no rule stays."""
    definition = SUPPRESSION_RULES.get(cast("RuleName", rule))
    return pgettext("rule", definition.words) if definition else rule


def event_title(event: Mapping[str, Any]) -> str:
    """Return what happened, from the kind of an event."""
    if event["kind"] == "note" and (name := _NOTE_NAMES.get(event.get("reason_code", ""))):
        return gettext(name)
    return gettext(KIND_NAMES.get(event["kind"], event["kind"]))


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
            yield "", gettext(cause.words)
    if event["kind"] == "note" and event.get("reason_code") in _RESEND_NOTES:
        yield "", gettext(event.get("diagnostic", ""))
    for (column, value), name in _FLAG_NAMES.items():
        if event.get(column) is value:
            yield "", gettext(name)
    for name in ("due_at", "url"):
        if text := event.get(name):
            yield _detail_name(name), text


def event_details(event: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the (name, value) of an event's technical details: codes in words first, then raw."""
    if codes := describe_codes(event.get("smtp_code"), event.get("enhanced_status", "")):
        yield gettext("reply"), codes
    if event.get("attempt", 1) > 1:
        yield column_name("attempt"), event["attempt"]
    if event.get("parts", 0) > 1:
        yield gettext("segments"), event["parts"]
    for column in _DETAIL_COLUMNS:
        value = event.get(column)
        if value not in {None, ""} and (column, value) not in _REDUNDANT_DETAILS:
            yield _detail_name(column), value


def _detail_name(column: str) -> str:
    name = _DETAIL_NAMES.get(column)
    return gettext(name) if name else column_name(column)


def short_number(number: int) -> str:
    """Return a number in short form, as 1.5k."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if number >= size:
            digits = len(f"{number / size:g}".partition(".")[2])
            return f"{number_text(number / size, digits)}{unit}"
    return str(number)


def time_span_text(seconds: float | None) -> str:
    """Return a time span in one unit, as "10 min"."""
    if seconds is None:
        return "—"
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{number_text(seconds / size)} {unit}"
    return f"{number_text(seconds, 1)} s"
