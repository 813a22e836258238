"""The models of the API's answers, with examples for the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from projections.web.row_models import EmailRow, JsonTime, SmsRow
from schemas.decisions import Effect, EntryChange, RuleName
from schemas.events import Channel
from schemas.resets import RemovalOutcome

NextCursor = Annotated[
    str | None,
    Field(description="The cursor of the page after, null after the last", examples=[None]),
]
PreviousCursor = Annotated[
    str | None,
    Field(description="The cursor of the page before, null at the first", examples=[None]),
]
_STRICT = ConfigDict(extra="forbid")


def _page(name: str, row: Any, **fields: Any) -> type[BaseModel]:
    return create_model(
        name, __config__=_STRICT, rows=(list[row], ...), next=(NextCursor, ...), **fields
    )


_LOG_FIELDS: dict[str, Any] = {
    "previous": (PreviousCursor, ...),
    "total": (
        int,
        Field(None, description="Only with `total=true`: how many rows there are, up to 10,000",
              examples=[837]),
    ),
    "total_is_exact": (
        bool, Field(None, description="With `total`: false if there are more", examples=[True]),
    ),
}  # fmt: skip
EmailPage = _page("EmailPage", EmailRow, **_LOG_FIELDS)
SmsPage = _page("SmsPage", SmsRow, **_LOG_FIELDS)


class RecipientEmail(EmailRow):  # type: ignore[misc, valid-type]
    """An email in the list of messages to an address."""

    channel: Literal["email"]


class RecipientSms(SmsRow):  # type: ignore[misc, valid-type]
    """An SMS in the list of messages to a number."""

    channel: Literal["sms"]


RecipientPage = _page(
    "RecipientPage", Annotated[RecipientEmail | RecipientSms, Field(discriminator="channel")]
)


class OverruledRule(BaseModel):
    """A status rule that holds too, but comes after the one that decided."""

    status: str = Field(examples=["Click"])
    rule: str = Field(examples=["a click by a person"])


class ExplainedEvent(BaseModel):
    """An event with the fields that are set, and its role in the status."""

    model_config = ConfigDict(extra="allow")

    event_id: str
    kind: str = Field(examples=["bounce"])
    occurred_at: JsonTime = Field(examples=["2026-11-20T09:00:04.000Z"])
    recorded_at: JsonTime = Field(examples=["2026-11-20T09:00:05.000Z"])
    alone: str = Field(description="The status if there were no other", examples=["Bounce"])
    role: Literal["decides", "lost", ""] = Field(
        description="decides: it alone gives this status; lost: it would have given another"
    )


class ExplainedEdge(BaseModel):
    """An event that says which message a provider's id means."""

    model_config = _STRICT

    provider_message_id: str
    message_id: str
    recipient: str
    attempt: int
    provider: str = Field(description="Empty if the mailer said it and named none")
    occurred_at: JsonTime
    stands: bool = Field(description="False if an earlier one names another message")


class ExplainedCause(BaseModel):
    """Why a message failed, for people who know no codes; the table is `schemas/reasons.toml`."""

    name: str = Field(description="It stays the same", examples=["mailbox_unknown"])
    words: str = Field(
        description="They may get better", examples=["This email address does not exist"]
    )


class ExplainedMessage(BaseModel):
    """A message: its row, the rule that decided its status, and all its events."""

    model_config = _STRICT

    tenant_id: str = Field(examples=["acme"])
    recipient: str = Field(examples=["parent@example.com"])
    message_id: str = Field(examples=["m-2041"])
    channel: Channel
    status: str = Field(examples=["Bounce"])
    status_reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    cause: ExplainedCause | None = Field(description="Null if nothing failed")
    preview_url: str = Field(
        description="Where people can read the message, as its mailer last said, or empty",
        examples=["https://app.example.com/messages/7"],
    )
    advice: str = Field(
        description="What to do, in one sentence or two",
        examples=["Check the spelling, or ask them for the right address."],
    )
    rule: str = Field(
        examples=["a hard or block bounce that no later delivered attempt superseded"]
    )
    rule_place: int = Field(description="Of the rule in its table, from 1", examples=[1])
    overruled: list[OverruledRule]
    row: EmailRow | SmsRow  # type: ignore[valid-type]
    edges: list[ExplainedEdge] = Field(
        description="What says whose the ids are that providers gave, in these facts or others"
    )
    facts: list[ExplainedEvent] = Field(description="In order of time")
    next: str | None = Field(description="The cursor of the next facts; null after the last")


class StatusCount(BaseModel):
    """How many messages of a day, provider or domain have a status."""

    group: str = Field(examples=["2026-11-20"])
    status: str = Field(examples=["Delivery"])
    messages: int = Field(examples=[1204])


class TimeToDelivery(BaseModel):
    """How long messages took from sent to delivered; null if none arrived."""

    messages: int = Field(description="Those of which both times are known", examples=[1310])
    median_seconds: float | None = Field(examples=[1.9])
    p95_seconds: float | None = Field(examples=[14.2])


class Statistics(BaseModel):
    """Counts of the messages dated `since` or later and before `until`."""

    model_config = _STRICT

    since: JsonTime
    until: JsonTime
    by: Literal["day", "provider", "domain"]
    counts: list[StatusCount] = Field(
        description="By provider and domain: the thousand largest groups"
    )
    time_to_delivery: TimeToDelivery


class SuppressionEntry(BaseModel):
    """The blacklist entry of an address: its strongest reason; `rules` are all that hold."""

    model_config = ConfigDict(extra="ignore")

    tenant_id: str = Field(examples=["acme"])
    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    rule: RuleName = Field(examples=["hard_bounce"])
    since: JsonTime
    until: JsonTime | None = Field(description="When it ends by itself")
    reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    actor: str = Field(examples=["sendlog"])
    message_id: str = Field(description="The message that led to it", examples=["m-2041"])
    effect: Effect = Field(description="What becomes of a later send")
    rules: list[RuleName]


class SuppressionPage(BaseModel):
    """A page of the blacklist."""

    model_config = _STRICT

    rows: list[SuppressionEntry]
    next: NextCursor


class SuppressionState(BaseModel):
    """Whether an address is blacklisted; if so, its entry and the messages refused since."""

    model_config = _STRICT

    tenant_id: str = Field(examples=["acme"])
    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    listed: bool
    entry: SuppressionEntry | None
    refused_since: int = Field(description="Messages refused since it is listed", examples=[3])


class AddressSuppression(BaseModel):
    """Whether an address is blacklisted; if so, its entry."""

    model_config = _STRICT

    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    listed: bool
    entry: SuppressionEntry | None


class SuppressionChange(BaseModel):
    """A change of the entry of an address, or a refused command."""

    model_config = ConfigDict(extra="ignore")

    occurred_at: JsonTime
    recorded_at: JsonTime
    change: EntryChange
    rule: str = Field(examples=["hard_bounce"])
    since: JsonTime | None
    until: JsonTime | None
    actor: str = Field(examples=["sendlog"])
    reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    message_id: str = Field(examples=["m-2041"])
    event_id: str
    cause_event_id: str = Field(description="The fact or command that led to it")
    rules_version: int


class SuppressionHistory(BaseModel):
    """The changes of the entry of an address, the oldest first."""

    model_config = _STRICT

    rows: list[SuppressionChange]


class ListRemoval(BaseModel):
    """What came of asking a provider to take an address off its own lists."""

    model_config = _STRICT

    provider: str = Field(examples=["SendGrid"])
    outcome: RemovalOutcome = Field(description="not_listed: it was on none")
    detail: str = Field(description="of a failure: why")


class AppliedCommand(BaseModel):
    """A command that took effect: the change, and whether the address is blacklisted now."""

    model_config = _STRICT

    command_id: str
    line: SuppressionChange
    now: SuppressionState
    elsewhere: list[str] = Field(description="What else has to be done, in another place")
    provider_lists: list[ListRemoval] = Field(description="What was done of it by us")


class ListRemovals(BaseModel):
    """What came of asking the tenant's providers to take an address off their own lists."""

    model_config = _STRICT

    provider_lists: list[ListRemoval]


class PendingCommand(BaseModel):
    """A command that Kafka has and no worker has applied yet: do not send it again.

    Its `command_id` will be the `cause_event_id` of a change in the history of the address.
    """

    model_config = _STRICT

    command_id: str
    detail: str


class UnmatchedEvent(BaseModel):
    """An event that fits no message."""

    model_config = _STRICT

    occurred_at: JsonTime
    channel: Channel
    provider: str = Field(examples=["ses"])
    kind: str = Field(examples=["delivery"])
    provider_message_id: str = Field(description="The provider's id, or empty")
    recipient: str = Field(description="Address or number, or empty")
    reason: str = Field(examples=["no event says which message the provider's id means"])
    near: list[str] = Field(
        description="Ids of messages to the same address, sent just before: guesses"
    )


class UnmatchedEvents(BaseModel):
    """The newest events that fit no message."""

    model_config = _STRICT

    rows: list[UnmatchedEvent]


class EmbedToken(BaseModel):
    """A token for the frame of one record, and the address of the frame with it."""

    model_config = _STRICT

    token: str = Field(examples=["eyJhbGciOiJIUzI1NiIsImtpZCI6…"])
    expires_at: JsonTime
    url: str = Field(
        examples=["https://sendlog.example.com/embed/records/family/F-1162?token=eyJ…"]
    )


class DeadLetterSummary(BaseModel):
    """A record that could not be read, without its bytes."""

    model_config = _STRICT

    topic: str = Field(examples=["email.events.ses"])
    partition: int
    offset: int
    element: int = Field(description="Place in a batch, -1 for the whole record")
    recorded_at: JsonTime
    died_at: JsonTime
    reason: str = Field(examples=["not JSON: expected value at line 1 column 1"])
    size: int = Field(description="Bytes of the record")
    replayed_at: JsonTime | None


class DeadLetterPage(BaseModel):
    """A page of dead letters, the newest first."""

    model_config = _STRICT

    rows: list[DeadLetterSummary]
    next: NextCursor


class DeadLetterDetails(DeadLetterSummary):
    """A record that could not be read, with its headers and bytes."""

    headers: dict[str, str]
    raw: str = Field(description="The bytes in base64", examples=["e30="])


class Health(BaseModel):
    """Whether the process is alive, or ready for requests."""

    status: Literal["alive", "ready"]
    missing: list[str] = Field(default=[], description="What does not work, though others do")
