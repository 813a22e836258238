"""The message event: one immutable fact about one message to one recipient.

`MessageEvent` is the contract (JSON on the mailers' topics, the result of `normalise`). On the hot
path the same fields are a typed dict, `EventFields`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import repeat
from typing import Annotated, Any, Final, Literal, cast

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from typing_extensions import TypedDict

Channel = Literal["email", "sms"]
EventKind = Literal[
    "queued", "sent", "deferral", "delivery", "open", "click", "bounce", "complaint",
    "unsubscribe", "resubscribe", "invalid", "skipped", "failure",
    "read", "undelivered", "rejected", "failed", "expired", "unknown", "opt_out",
    "retry_scheduled", "retry_exhausted", "suppressed", "reinstated",
    "note", "joined",
]  # fmt: skip
BounceClass = Literal["hard", "soft", "block", "undetermined"]
#: `refusal`: nothing but that it was refused for good.
ClassifiedBy = Literal["code", "text", "label", "refusal"]

#: Kinds of decisions about retries and suppressions, which come back into the log as events.
DECISION_KINDS: Final = frozenset(
    {"retry_scheduled", "retry_exhausted", "suppressed", "reinstated"}
)
#: That the events under a provider's id are of another message: made by intake, taken from nobody.
JOINED_KIND: Final = "joined"
#: The kinds of events of each channel. `skipped` is accepted for SMS, as a mailer may send it, but
#: has no effect: nothing is sent to a number that opted out, so there is no status.
KINDS_BY_CHANNEL: Final[Mapping[Channel, frozenset[str]]] = {
    "email": DECISION_KINDS | {
        "queued", "sent", "deferral", "delivery", "open", "click", "bounce", "complaint",
        "unsubscribe", "resubscribe", "invalid", "skipped", "failure", "note",
    },
    "sms": DECISION_KINDS | {
        "queued", "sent", "delivery", "read", "undelivered", "rejected", "failed", "expired",
        "unknown", "opt_out", "skipped", "note",
    },
}  # fmt: skip

#: Kinds by which an address is suppressed or reinstated, or a retry becomes due: the policy needs
#: all of them. Of sends it needs later attempts, and those to suppressed addresses.
POLICY_KINDS: Final = (
    "bounce", "complaint", "opt_out", "unsubscribe", "resubscribe", "invalid",
)  # fmt: skip
#: Kinds that show that an address works: they end a streak of soft bounces, and retries.
SUCCESS_KINDS: Final = ("delivery", "open", "click")
#: Classes of a bounce that another attempt cannot mend; any other bounce is soft.
FINAL_CLASSES: Final = ("hard", "block")
#: Why a message needs no further attempt, by the kind of event that ends it; a bounce ends it only
#: if it is not soft.
RETRY_ENDS: Final[Mapping[str, str]] = {
    "delivery": "it was delivered",
    "open": "it was opened",
    "click": "it was clicked",
    "complaint": "its recipient complained",
    "bounce": "it bounced for good",
    "invalid": "it was refused",
    "skipped": "it was skipped",
    "failure": "it failed",
}

#: A time outside these comes from a wrong unit or clock, and would head every sorted list.
MIN_EVENT_TIME: Final = datetime(1990, 1, 1, tzinfo=UTC)
MAX_EVENT_TIME: Final = datetime(2100, 1, 1, tzinfo=UTC)
#: How far the clock of who reports an event may be ahead of the broker's.
MAX_CLOCK_SKEW: Final = timedelta(minutes=10)
#: No provider reported events by webhook longer ago than this, so an older time is that of a clock
#: that was never set; but a mailer may publish the sends of many years.
MAX_EVENT_AGE: Final = timedelta(days=20 * 365)

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512)]
MAX_RECIPIENT_CHARACTERS: Final = 320
Recipient = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True, to_lower=True, min_length=1, max_length=MAX_RECIPIENT_CHARACTERS
    ),
]
Text = Annotated[str, StringConstraints(max_length=65_536)]
Code = Annotated[str, StringConstraints(max_length=256)]
SmallCount = Annotated[int, Field(ge=0, le=65_535)]
#: Attempts count from 1: what counts them from 0 means the first, and has its fingerprint.
Attempt = Annotated[SmallCount, AfterValidator(lambda number: number or 1)]
Time = Annotated[AwareDatetime, Field(ge=MIN_EVENT_TIME, lt=MAX_EVENT_TIME)]


class Source(BaseModel):
    """Where in Kafka a fact came from."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int
    offset: int


class MessageEvent(BaseModel):
    """One fact about one message to one recipient.

    Required of a mailer: `channel`, `kind`, `tenant_id`, `message_id`, `recipient`, `occurred_at`.
    `event_id`, `recorded_at`, `source` and `adapter_version` are filled in by intake and never
    taken from outside; unknown fields are ignored. Times are UTC with milliseconds; a time
    without a zone is refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str = Field("", description="Fingerprint of the content, 32 hex digits; computed")
    channel: Channel
    kind: EventKind
    tenant_id: Identifier = Field(description="The business the message belongs to")
    message_id: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="The id both mailer and provider know; empty if a provider names none"
    )
    recipient: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True, to_lower=True, max_length=MAX_RECIPIENT_CHARACTERS
        ),
    ] = Field(description="Address, lower-cased; or E.164 number; empty if a provider names none")
    other_id: Annotated[str, StringConstraints(max_length=512)] = Field(
        "",
        description="The id it came under, if that is not its message's; of `joined`, the "
        "message that the events under this id are of; computed",
    )
    recipient_error: Code = Field(
        "", description="Why the recipient is no address or number, and stands as it came; computed"
    )
    occurred_at: Time = Field(description="The event's own time; else the record's")
    recorded_at: AwareDatetime | None = Field(None, description="The Kafka record's timestamp")
    provider: Code = ""
    provider_message_id: Annotated[str, StringConstraints(max_length=512)] = ""
    record_type: Code = Field("", description="Whose record it belongs to: family, staff, …")
    record_id: Code = ""
    record_name: Code = Field("", description="How people call that record, as The Clark family")
    record_url: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="Where the business application has it; a link if it is http or https"
    )
    preview_url: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="Where people can read the message; a link if it is http or https"
    )
    subject: Text = Field("", description="Email subject")
    text: Text = Field("", description="SMS text")
    attempt: Attempt = Field(1, description="1 for the first send; 0 is read as 1")
    bounce_class: BounceClass | None = Field(None, description="Bounces only")
    smtp_code: SmallCount | None = None
    enhanced_status: Code = Field("", description="RFC 3463, as 5.1.1")
    reason_code: Code = Field("", description="The provider's own code or label")
    diagnostic: Text = Field("", description="The provider's text")
    label: Code = Field("", description="The provider's own verdict")
    classified_by: ClassifiedBy | None = Field(None, description="What the bounce class rests on")
    late: bool = Field(False, description="A bounce reported after acceptance")
    provider_event_id: Code = Field("", description="For tracing; not trusted for identity")
    part: SmallCount | None = Field(None, description="Segment of an SMS, from 1")
    parts: SmallCount | None = None
    machine: bool | None = Field(None, description="Open or click by a machine, not a person")
    handset: bool | None = Field(
        None, description="SMS delivery confirmed by the handset, not only by the operator"
    )
    due_at: Time | None = Field(None, description="retry_scheduled: when the retry is due")
    url: Text = ""
    user_agent: Text = ""
    ip: Code = ""
    campaign: Code = ""
    tags: list[Code] = Field(default_factory=list, max_length=100)
    source: Source | None = None
    adapter_version: SmallCount = Field(
        0, description="Of the adapter that read it; 0: a mailer's own event, or unknown; computed"
    )


#: Fields that intake fills in, and takes from nobody.
COMPUTED_FIELDS: Final = frozenset(
    {"event_id", "other_id", "recipient_error", "recorded_at", "source", "adapter_version"}
)


def is_soft(event: MessageEvent) -> bool:
    """Return whether an event is a bounce that another attempt may mend."""
    return event.kind == "bounce" and event.bounce_class not in FINAL_CLASSES


def is_unexplained_refusal(event: MessageEvent) -> bool:
    """Return whether an event is a bounce for good that nothing names the cause of."""
    return event.kind == "bounce" and event.classified_by == "refusal"


def is_success(event: MessageEvent) -> bool:
    """Return whether an event shows that its address works; opens by machines do not."""
    return event.kind in SUCCESS_KINDS and (event.kind == "delivery" or not event.machine)


class EventFields(TypedDict, total=False):
    """A message event on the hot path: only the fields that are set.

    Cheaper to build and validate than a `MessageEvent` (E-025). Times are aware datetimes, except
    `recorded_ms`: milliseconds since 1970, as in Kafka. `source_offset` is the record's; topic and
    partition are the chunk's.
    """

    event_id: str
    channel: Channel
    kind: str
    tenant_id: str
    message_id: str
    recipient: str
    other_id: str
    recipient_error: str
    occurred_at: datetime
    recorded_ms: int
    provider: str
    provider_message_id: str
    record_type: str
    record_id: str
    record_name: str
    record_url: str
    preview_url: str
    subject: str
    text: str
    attempt: int | None
    bounce_class: BounceClass | None
    smtp_code: int | None
    enhanced_status: str
    reason_code: str
    diagnostic: str
    label: str
    classified_by: ClassifiedBy | None
    late: bool
    provider_event_id: str
    part: int | None
    parts: int | None
    machine: bool | None
    handset: bool | None
    due_at: datetime | None
    url: str
    user_agent: str
    ip: str
    campaign: str
    tags: list[str]
    source_offset: int


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(time: datetime) -> int:
    """Return whole milliseconds since 1970 (UTC) of an aware `time`, rounded down."""
    since = time - EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def iso_milliseconds(time: datetime) -> str:
    """Return an aware `time` in UTC as ISO 8601 with milliseconds, rounded down, and Z."""
    return f"{time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def bounded_time(occurred_at: datetime, recorded_ms: int) -> datetime:
    """Return when an event happened, or else its record's time (milliseconds since 1970).

    The record's counts where it cannot have happened so long before it, or after it: a bounce dated
    2099 would overrule all that follows it. The fingerprint keeps the event's own time.
    """
    recorded_at = EPOCH + timedelta(milliseconds=recorded_ms)
    if not MIN_EVENT_TIME <= recorded_at < MAX_EVENT_TIME:
        return occurred_at  # it says nothing
    is_plausible = -MAX_CLOCK_SKEW <= recorded_at - occurred_at <= MAX_EVENT_AGE
    return occurred_at if is_plausible else recorded_at


def fingerprint(event: Mapping[str, Any], *, own_time: bool = True) -> str:
    """Return the identity of an event: 32 hex digits over its content.

    `own_time` says whether `occurred_at` came from the payload. The time of the record must not
    count, or each copy of a notification would be another event. `part` counts because reports on
    two segments of one SMS may agree in everything else.
    """
    get = event.get
    time = milliseconds(event["occurred_at"]) if own_time else ""
    # One template, not a join of a list: this is paid by every event (E-026).
    content = (
        f"{time}\x1f{event['tenant_id']}\x1f{event['channel']}\x1f{event['kind']}\x1f"
        f"{get('provider') or ''}\x1f{event['message_id']}\x1f{event['recipient']}\x1f"
        f"{get('attempt') or 1}\x1f{get('url') or ''}\x1f{get('smtp_code') or ''}\x1f"
        f"{get('enhanced_status') or ''}\x1f{get('reason_code') or ''}\x1f{get('part') or ''}"
    )
    return _digest(content)


def fingerprints(columns: Mapping[str, Sequence[object]], times: Sequence[int]) -> list[str]:
    """Return the `fingerprint` of each of many events, from the columns that all of them have.

    `times` are their `occurred_at` in milliseconds since 1970. By columns it is faster (E-023).
    """
    parts: list[Iterable[str]] = [map(str, times)]
    for name in _IDENTITY_FIELDS:
        default = "1" if name == "attempt" else ""
        values = columns.get(name) or repeat(None, len(times))
        if name in _NUMERIC_FIELDS:
            parts.append([str(value) if value else default for value in values])
        else:
            parts.append([value or default for value in cast("Iterable[str | None]", values)])
    return list(map(_digest, map("\x1f".join, zip(*parts, strict=True))))


#: The fields that identify an event, beside its time, in the order of `fingerprint`.
_IDENTITY_FIELDS: Final = (
    "tenant_id", "channel", "kind", "provider", "message_id", "recipient", "attempt", "url",
    "smtp_code", "enhanced_status", "reason_code", "part",
)  # fmt: skip
#: The numbers among `_IDENTITY_FIELDS`.
_NUMERIC_FIELDS: Final = frozenset({"attempt", "smtp_code", "part"})


#: Copied for each event, which is faster than a new hash (E-001).
_EMPTY_HASH: Final = blake2b(digest_size=16)


def _digest(content: str) -> str:
    digest = _EMPTY_HASH.copy()
    digest.update(content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
