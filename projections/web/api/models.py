"""What answers look like: the models of the API's document, with examples."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from projections.web.row_models import EmailRow, Moment, SmsRow
from schemas.decisions import Change, Effect, Rule
from schemas.events import Channel

Next = Annotated[
    str | None,
    Field(description="The cursor of the page after, null after the last", examples=[None]),
]
_EXACT = ConfigDict(extra="forbid")


def _page(name: str, row: Any) -> type[BaseModel]:
    return create_model(name, __config__=_EXACT, rows=(list[row], ...), next=(Next, ...))


EmailPage = _page("EmailPage", EmailRow)
SmsPage = _page("SmsPage", SmsRow)


class EmailOf(EmailRow):  # type: ignore[misc, valid-type]
    """An email among all that was sent to an address."""

    channel: Literal["email"]


class SmsOf(SmsRow):  # type: ignore[misc, valid-type]
    """An SMS among all that was sent to a number."""

    channel: Literal["sms"]


RecipientPage = _page("RecipientPage", Annotated[EmailOf | SmsOf, Field(discriminator="channel")])


class Overruled(BaseModel):
    """A rule that holds too, but comes after the one that decided."""

    status: str = Field(examples=["Click"])
    rule: str = Field(examples=["a click by a person"])


class Told(BaseModel):
    """A fact, as far as it says something, and its part in the status."""

    model_config = ConfigDict(extra="allow")

    event_id: str
    kind: str = Field(examples=["bounce"])
    occurred_at: Moment = Field(examples=["2026-11-20T09:00:04.000Z"])
    recorded_at: Moment = Field(examples=["2026-11-20T09:00:05.000Z"])
    alone: str = Field(description="The status if there were no other", examples=["Bounce"])
    role: Literal["decides", "lost", ""] = Field(
        description="decides: it alone gives this status; lost: it would have given another"
    )


class Explanation(BaseModel):
    """A message: its row, the rule that gave it its status, and every fact about it."""

    model_config = _EXACT

    tenant_id: str = Field(examples=["acme"])
    recipient: str = Field(examples=["parent@example.com"])
    message_id: str = Field(examples=["m-2041"])
    channel: Channel
    status: str = Field(examples=["Bounce"])
    status_reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    rule: str = Field(
        examples=["a hard or block bounce that no later delivered attempt superseded"]
    )
    rule_place: int = Field(description="Of the rule in its table, from 1", examples=[1])
    overruled: list[Overruled]
    row: EmailRow | SmsRow  # type: ignore[valid-type]
    facts: list[Told] = Field(description="In order of time")


class Count(BaseModel):
    """Messages of a day, provider or domain that have a status."""

    group: str = Field(examples=["2026-11-20"])
    status: str = Field(examples=["Delivery"])
    messages: int = Field(examples=[1204])


class Delivery(BaseModel):
    """How long messages took from sent to delivered; null if none was."""

    messages: int = Field(description="Those of which both times are known", examples=[1310])
    median_seconds: float | None = Field(examples=[1.9])
    p95_seconds: float | None = Field(examples=[14.2])


class Statistics(BaseModel):
    """Counts of the messages dated `since` or later and before `until`."""

    model_config = _EXACT

    since: Moment
    until: Moment
    by: Literal["day", "provider", "domain"]
    counts: list[Count] = Field(description="By provider and domain: the thousand largest groups")
    time_to_delivery: Delivery


class Entry(BaseModel):
    """The blacklist entry of an address: its strongest reason; `rules` are all that hold."""

    model_config = ConfigDict(extra="ignore")

    tenant_id: str = Field(examples=["acme"])
    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    rule: Rule = Field(examples=["hard_bounce"])
    since: Moment
    until: Moment | None = Field(description="When it ends by itself")
    reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    actor: str = Field(examples=["sendlog"])
    message_id: str = Field(description="The message that led to it", examples=["m-2041"])
    effect: Effect = Field(description="What becomes of a later send")
    rules: list[Rule]


class Entries(BaseModel):
    """A page of the blacklist."""

    model_config = _EXACT

    rows: list[Entry]
    next: Next


class Standing(BaseModel):
    """Whether an address is blacklisted; if it is, why and what it has cost since."""

    model_config = _EXACT

    tenant_id: str = Field(examples=["acme"])
    channel: Channel
    address: str = Field(examples=["parent@example.com"])
    listed: bool
    entry: Entry | None
    refused_since: int = Field(description="Messages refused since it is listed", examples=[3])


class Line(BaseModel):
    """One line of the history of an address."""

    model_config = ConfigDict(extra="ignore")

    occurred_at: Moment
    recorded_at: Moment
    change: Change
    rule: str = Field(examples=["hard_bounce"])
    since: Moment | None
    until: Moment | None
    actor: str = Field(examples=["sendlog"])
    reason: str = Field(examples=["550 5.1.1 mailbox does not exist"])
    message_id: str = Field(examples=["m-2041"])
    event_id: str
    cause_event_id: str = Field(description="The fact or command that led to it")
    rules_version: int


class History(BaseModel):
    """What was done to an address, the oldest first."""

    model_config = _EXACT

    rows: list[Line]


class Changed(BaseModel):
    """A command that took effect, and how the address stands now."""

    model_config = _EXACT

    command_id: str
    line: Line
    now: Standing


class Pending(BaseModel):
    """A command that Kafka has and no worker has dealt with yet: do not ask twice.

    Look for `command_id` as `cause_event_id` in the history of the address.
    """

    model_config = _EXACT

    command_id: str
    detail: str


class Letter(BaseModel):
    """A record that could not be read, without its bytes."""

    model_config = _EXACT

    topic: str = Field(examples=["email.events.ses"])
    partition: int
    offset: int
    element: int = Field(description="Place in a batch, -1 for the whole record")
    recorded_at: Moment
    died_at: Moment
    reason: str = Field(examples=["not JSON: expected value at line 1 column 1"])
    size: int = Field(description="Bytes of the record")
    replayed_at: Moment | None


class Letters(BaseModel):
    """A page of dead letters, the newest first."""

    model_config = _EXACT

    rows: list[Letter]
    next: Next


class WholeLetter(Letter):
    """A dead letter with its bytes."""

    headers: dict[str, str]
    raw: str = Field(description="The bytes in base64", examples=["e30="])


class Health(BaseModel):
    """The process is alive, or ready."""

    status: Literal["alive", "ready"]
