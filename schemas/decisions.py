"""What the policy publishes (retries, suppressions, decisions), and the commands it takes.

| topic | value | key |
|---|---|---|
| `delivery.retries` | `RetryRequested`: send this message again, now | its id |
| `delivery.retries` | `ResendRequested`: the same, because a person asks | its id |
| `delivery.suppressions` | `Suppression`: an address's entry now, or a tombstone | `Address.key` |
| `delivery.decisions` | `DecisionEvent`: a decision, for the log and for history | any |
| `delivery.commands` | `Command`: what a person requests | any |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from schemas.addresses import Address, NumberRegions, normalise_address
from schemas.events import Channel, Code, Identifier, MessageEvent, Recipient, SmallCount, Time

RuleName = Literal[
    "unsubscribe", "complaint", "hard_bounce", "opt_out", "echo", "by_hand", "refusals",
    "soft_bounces",
]  # fmt: skip
#: The status of a later send. Nothing overrides an opt-out by email: it stays Skipped.
Effect = Literal["invalid", "skipped"]
#: Changes of an entry, as its history names them. Only `resubscribed` lifts `unsubscribe`;
#: `refused` is a command that did nothing.
EntryChange = Literal["added", "extended", "expired", "reset", "resubscribed", "refused"]

#: The label of Sendlog's own decisions among events: the policy never gets them again.
DECISION_LABEL: Final = "sendlog"
#: The actor of what a rule did, not a person.
RULE_ACTOR: Final = "sendlog"


class SuppressionRule(NamedTuple):
    """A rule by which an address is suppressed.

    `words` are for people, also in the reason of a status. `refusal_kinds` are the kinds of event
    by which a send is refused, by channel. A policy may leave out a `choosable` rule.
    """

    words: str
    choosable: bool = True
    effect: Effect = "invalid"
    refusal_kinds: Mapping[Channel, str] = {"email": "invalid", "sms": "failed"}


#: Why nothing more is sent to an address, the strongest first.
SUPPRESSION_RULES: Final[Mapping[RuleName, SuppressionRule]] = {
    "unsubscribe": SuppressionRule(
        "unsubscribed", choosable=False, effect="skipped",
        refusal_kinds={"email": "skipped", "sms": "failed"},
    ),
    "complaint": SuppressionRule("reported as spam"),
    "hard_bounce": SuppressionRule("hard bounce"),
    "opt_out": SuppressionRule(
        "opted out", refusal_kinds={"email": "invalid", "sms": "opt_out"}
    ),
    "echo": SuppressionRule("on the provider's own list"),
    "by_hand": SuppressionRule("listed by hand", choosable=False),
    "refusals": SuppressionRule("repeatedly refused"),
    "soft_bounces": SuppressionRule("soft bounces"),
}  # fmt: skip
#: All kinds of event by which a send may be refused.
REFUSAL_KINDS: Final = tuple(
    dict.fromkeys(
        kind for rule in SUPPRESSION_RULES.values() for kind in rule.refusal_kinds.values()
    )
)

_CONTRACT_CONFIG: Final = ConfigDict(frozen=True, extra="ignore")

MAX_REASON_LENGTH: Final = 1024
ShortText = Annotated[str, StringConstraints(max_length=MAX_REASON_LENGTH)]
NonBlankText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_REASON_LENGTH)
]


class Reason(BaseModel):
    """One reason why nothing is sent to an address: which rule, since when, by which fact or whom.

    `event_id` and `message_id` name the fact that listed it (empty: by hand, or of no message);
    `until` is when it expires by itself, None: never. `rules_version` is that of the bounce rules.
    """

    model_config = _CONTRACT_CONFIG

    rule: RuleName
    since: Time
    until: Time | None = None
    event_id: Code = ""
    message_id: Annotated[str, StringConstraints(max_length=512)] = ""
    reason: ShortText = Field("", description="In plain words, as 550 5.1.1 mailbox does not exist")
    actor: Code = Field(RULE_ACTOR, description="Who: a person's name, or sendlog for its rules")
    rules_version: int = 0


class Suppression(Reason):
    """The current entry of an address: its strongest reason, and the others in `also`."""

    tenant_id: Identifier
    channel: Channel
    address: Recipient
    effect: Effect = Field(description="What becomes of a send: status Invalid or Skipped")
    also: tuple[Reason, ...] = ()


class RetryRequested(BaseModel):
    """Send a message again, as this attempt; answer with a `sent` fact that carries `attempt`.

    It may come twice: drop an `id` that was obeyed.
    """

    model_config = _CONTRACT_CONFIG

    id: str = Field(description="Of tenant, channel, message, recipient and attempt: 32 hex digits")
    tenant_id: Identifier
    channel: Channel = "email"
    message_id: Identifier
    recipient: Recipient
    attempt: SmallCount = Field(description="The attempt to make; the first send was 1")
    reason: ShortText = Field(description="Why the attempt before it failed")
    due_at: Time = Field(description="When it fell due; it is never published before")


class ResendRequested(RetryRequested):
    """Send a message again, as this attempt, because a person asks for it; obeyed as a retry is.

    If the mailer will not, it answers with a `note` of that attempt, whose `reason_code` is
    `resend_refused` and whose `diagnostic` says why. It comes for SMS, too.
    """

    kind: Literal["resend"] = Field("resend", description="What tells it from a retry")
    reason: ShortText = Field(description="Why it is wanted, as they wrote")
    due_at: Time = Field(description="When it was asked for")
    actor: Annotated[NonBlankText, StringConstraints(max_length=256)] = Field(
        description="Who asks: a person's name, or a key's"
    )
    record_type: Code = Field(
        "", description="Whose record the message belongs to, as in its event"
    )
    record_id: Code = ""
    command_id: Code = Field("", description="The id of the command by which it was asked for")


class DecisionEvent(MessageEvent):
    """A decision as a fact: a message event with what only a decision has.

    Kinds: `retry_scheduled` (`due_at`, and the attempt to come), `retry_exhausted`; `suppressed`
    and `reinstated`, the history of an address (`message_id` may be empty); the refusal of a send:
    `invalid`, `skipped`, for SMS `failed` or `opt_out`; and `note`, whose `reason_code` says of
    what: `retry_asked`, `retry_cancelled`, `resend_asked`, `resend_refused`, `command_refused`,
    `streak_reset` (soft bounces are counted anew). Else `reason_code` is the rule; `diagnostic` is
    the cause in words. Every field follows from the facts alone, so that a decision made again
    after a crash is the same fact. A resend's `provider_event_id` is the id of its command.
    """

    model_config = ConfigDict(title="DecisionFact")  # its name in the exported contract

    kind: Literal[
        "retry_scheduled", "retry_exhausted", "suppressed", "reinstated",
        "invalid", "skipped", "failed", "opt_out", "note",
    ]  # fmt: skip
    label: Literal["sendlog"] = DECISION_LABEL
    change: EntryChange | None = Field(None, description="suppressed, reinstated: what happened")
    rule: RuleName | None = None
    since: Time | None = Field(None, description="Since when the address is, or was, listed")
    until: Time | None = Field(None, description="suppressed: when it expires by itself")
    cause_event_id: Code = Field("", description="The fact or command that led to it")
    actor: Code = RULE_ACTOR
    rules_version: int = 0


CommandKind = Literal["reset", "add", "resend", "publish"]
_RESEND_FIELDS: Final = frozenset({"message_id", "attempt", "record_type", "record_id"})


class Command(BaseModel):
    """What a person asks for: lift the listing of an address, list it by hand, resend a message.

    Or, by `publish`, to have the entry of an address published once more.

    Validation takes the countries of numbers that name none from its context: `regions`.
    `asked_at` is the time of the command's record. A reset of a complaint
    or an opt-out needs `confirmed_complaint`. A `resend` names the message, and the `attempt` to
    make, as whoever asks has seen the log: one that was made meanwhile is not made again.
    """

    model_config = ConfigDict(
        frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True,
        serialize_by_alias=True,
    )  # fmt: skip

    id: Code = Field(min_length=1, description="Chosen by who asks; one that was obeyed is ignored")
    command: CommandKind
    tenant_id: Identifier
    channel: Channel
    address: Recipient
    actor: Annotated[NonBlankText, StringConstraints(max_length=256)]
    reason: NonBlankText
    confirmed_complaint: bool = False
    requested_at: Time = Field(alias="asked_at")  # its name in the contract
    message_id: Annotated[str, StringConstraints(max_length=512)] = Field(
        "", description="resend: which message to that address"
    )
    attempt: Annotated[SmallCount, Field(ge=2)] = Field(2, description="resend: one after the last")
    record_type: Code = Field("", description="resend: of the message, for the mailer")
    record_id: Code = ""

    @model_serializer(mode="wrap")
    def _without_resend(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only a resend has, of what is none: as releases before it wrote them."""
        fields: dict[str, Any] = serialise(self)
        if self.command == "resend":
            return fields
        return {name: value for name, value in fields.items() if name not in _RESEND_FIELDS}

    @model_validator(mode="after")
    def _check_message(self) -> Self:
        if self.command == "resend" and not self.message_id:
            raise ValueError("a resend names a message_id")
        return self

    @classmethod
    def for_address(
        cls, command: Literal["reset", "add", "publish"], address: Address, *, id: str,  # noqa: A002
        actor: str, reason: str, requested_at: datetime, confirmed_complaint: bool = False,
    ) -> Command:  # fmt: skip
        """Return a command about an address.

        Raises pydantic's `ValidationError` if actor, reason or address is missing or too long.
        """
        return cls(
            id=id, command=command, tenant_id=address.tenant_id, channel=address.channel,
            address=address.address, actor=actor, reason=reason, requested_at=requested_at,
            confirmed_complaint=confirmed_complaint,
        )  # fmt: skip

    @property
    def target(self) -> Address:
        """The address that the command is about."""
        return Address(self.tenant_id, self.channel, self.address)

    @field_validator("address")
    @classmethod
    def _normalised(cls, address: str, info: ValidationInfo) -> str:
        regions = (info.context or {}).get("regions", NumberRegions())
        region = regions.of(info.data.get("tenant_id", ""))
        return normalise_address(info.data.get("channel", "email"), address, region)


def retry_id(address: Address, message_id: str, attempt: int) -> str:
    """Return the identity of a retry: 32 hex digits, the same whenever it is decided."""
    content = "\x1f".join((*address, message_id, str(attempt)))
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
