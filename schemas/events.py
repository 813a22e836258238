"""The message event: one immutable fact about one message to one recipient.

`MessageEvent` is the contract (JSON on the mailers' topics, the result of `normalise`). On the hot
path the same fields travel as a plain dict, `Fields`, which holds only what is set: building and
validating one costs about half of what a model object does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import repeat
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

Channel = Literal["email", "sms"]
Kind = Literal[
    "queued", "sent", "deferral", "delivery", "open", "click", "bounce", "complaint",
    "unsubscribe", "resubscribe", "invalid", "skipped", "failure",
    "read", "undelivered", "rejected", "failed", "expired", "unknown", "opt_out",
    "retry_scheduled", "retry_exhausted", "suppressed", "reinstated",
    "note",
]  # fmt: skip
BounceClass = Literal["hard", "soft", "block", "undetermined"]
ClassifiedBy = Literal["code", "text", "label"]

#: Decisions of the retry and blacklist rules, which come back into the log as facts.
DECISIONS: Final = frozenset({"retry_scheduled", "retry_exhausted", "suppressed", "reinstated"})
#: The kinds a fact of each channel may have. `skipped` is accepted for SMS (a mailer may say it),
#: but has no effect there: to someone opted out of SMS nothing is sent, so there is no status.
KINDS: Final[Mapping[Channel, frozenset[str]]] = {
    "email": DECISIONS | {
        "queued", "sent", "deferral", "delivery", "open", "click", "bounce", "complaint",
        "unsubscribe", "resubscribe", "invalid", "skipped", "failure", "note",
    },
    "sms": DECISIONS | {
        "queued", "sent", "delivery", "read", "undelivered", "rejected", "failed", "expired",
        "unknown", "opt_out", "skipped", "note",
    },
}  # fmt: skip

#: A time outside these is a unit mixed up or a broken clock, and would head every sorted list.
EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Recipient = Annotated[
    str, StringConstraints(strip_whitespace=True, to_lower=True, min_length=1, max_length=320)
]
Text = Annotated[str, StringConstraints(max_length=65_536)]
Code = Annotated[str, StringConstraints(max_length=256)]
SmallCount = Annotated[int, Field(ge=0, le=65_535)]
Time = Annotated[AwareDatetime, Field(ge=EARLIEST, lt=LATEST)]


class Source(BaseModel):
    """Where in Kafka a fact came from."""

    model_config = ConfigDict(frozen=True)

    topic: str
    partition: int
    offset: int


class MessageEvent(BaseModel):
    """One fact about one message to one recipient.

    Required of a mailer: `channel`, `kind`, `tenant_id`, `message_id`, `recipient`, `occurred_at`.
    `event_id`, `recorded_at` and `source` are filled in by intake and never taken from outside;
    unknown fields are ignored. Times are UTC with milliseconds; a time without a zone is refused.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    event_id: str = Field("", description="Fingerprint of the content, 32 hex digits; computed")
    channel: Channel
    kind: Kind
    tenant_id: Identifier = Field(description="The business the message belongs to")
    message_id: Annotated[str, StringConstraints(max_length=512)] = Field(
        description="The id both mailer and provider know; empty if a provider names none"
    )
    recipient: Annotated[
        str, StringConstraints(strip_whitespace=True, to_lower=True, max_length=320)
    ] = Field(description="Address, lower-cased; or E.164 number; empty if a provider names none")
    occurred_at: Time = Field(description="The event's own time; else the record's")
    recorded_at: AwareDatetime | None = Field(None, description="The Kafka record's timestamp")
    provider: Code = ""
    provider_message_id: Annotated[str, StringConstraints(max_length=512)] = ""
    record_type: Code = Field("", description="Whose record it belongs to: family, staff, …")
    record_id: Code = ""
    subject: Text = Field("", description="Email subject")
    text: Text = Field("", description="SMS text")
    attempt: SmallCount = Field(1, description="1 for the first send")
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


#: A message event on the hot path: the fields that are set, by name. Times are aware datetimes, but
#: `recorded_at` is in milliseconds since 1970, as Kafka has it.
Fields: TypeAlias = dict[str, object]


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def milliseconds(time: datetime) -> int:
    """Return whole milliseconds since 1970 (UTC) of an aware `time`, rounded down."""
    since = time - EPOCH
    return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000


def fingerprint(event: Mapping[str, Any], *, own_time: bool = True) -> str:
    """Return the identity of a fact: 32 hex digits over its content.

    `own_time` says whether `occurred_at` came from the payload. Where it is only the time at which
    the record arrived, it must not count, or each copy of one notification were another fact.
    `part` counts because two segments of one SMS may be reported in the same words and second.
    """
    get = event.get
    time = milliseconds(event["occurred_at"]) if own_time else ""
    # One template rather than a join of a list: half the time, and every event pays it.
    content = (
        f"{time}\x1f{event['tenant_id']}\x1f{event['channel']}\x1f{event['kind']}\x1f"
        f"{get('provider') or ''}\x1f{event['message_id']}\x1f{event['recipient']}\x1f"
        f"{get('attempt') or 1}\x1f{get('url') or ''}\x1f{get('smtp_code') or ''}\x1f"
        f"{get('enhanced_status') or ''}\x1f{get('reason_code') or ''}\x1f{get('part') or ''}"
    )
    return _digest(content)


def fingerprints(columns: Mapping[str, Sequence[object]], times: Sequence[int]) -> list[str]:
    """Return the `fingerprint` of many events: of the columns of what they all have set.

    `times` are those at which they occurred, in milliseconds since 1970. Of columns it takes half
    of the time (1.2 instead of 2.1 µs each).
    """
    parts: list[Iterable[str]] = [map(str, times)]
    for name in _TELLING:
        nothing = "1" if name == "attempt" else ""
        values = columns.get(name) or repeat(None, len(times))
        if name in _NUMBERS:
            parts.append([str(value) if value else nothing for value in values])
        else:
            parts.append([value or nothing for value in cast("Iterable[str | None]", values)])
    return list(map(_digest, map("\x1f".join, zip(*parts, strict=True))))


#: What tells one fact from another, beside its time, in the order in which `fingerprint` reads it.
_TELLING: Final = (
    "tenant_id", "channel", "kind", "provider", "message_id", "recipient", "attempt", "url",
    "smtp_code", "enhanced_status", "reason_code", "part",
)  # fmt: skip
#: Those that are numbers.
_NUMBERS: Final = frozenset({"attempt", "smtp_code", "part"})


#: Copied for each fact: with its size given anew, a hash takes half as long again.
_NOTHING: Final = blake2b(digest_size=16)


def _digest(content: str) -> str:
    digest = _NOTHING.copy()
    digest.update(content.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
