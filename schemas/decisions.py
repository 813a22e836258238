"""What the retry and blacklist rules publish, and the commands they take.

| topic | value | key |
|---|---|---|
| `delivery.retries` | `RetryRequested`: send this message again, now | its id |
| `delivery.suppressions` | `Suppression`: an address's entry now, or a tombstone | `Address.key` |
| `delivery.decisions` | `DecisionFact`: a decision, for the log and for history | any |
| `delivery.commands` | `Command`: what a person asks for | any |
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Annotated, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from schemas.addresses import Address, normalised
from schemas.events import Channel, Code, Identifier, MessageEvent, Recipient, SmallCount, Time

#: Why nothing more is sent to an address, by the rule that says so; the strongest first.
Rule = Literal[
    "unsubscribe", "complaint", "hard_bounce", "opt_out", "echo", "by_hand", "soft_bounces"
]
#: What becomes of a later send. Nothing overrides an opt-out by email: it stays Skipped.
Effect = Literal["invalid", "skipped"]
#: What happens to an entry, in the words of its history. Only `resubscribed` lifts `unsubscribe`;
#: `refused` is a command that did nothing.
Change = Literal["added", "extended", "expired", "reset", "resubscribed", "refused"]

#: The label of our own decisions among facts: they are never fed to the rules again.
OURS: Final = "sendlog"
#: The actor of what a rule did by itself.
NOBODY: Final = "sendlog"

_CONTRACT: Final = ConfigDict(frozen=True, extra="ignore")

ShortText = Annotated[str, StringConstraints(max_length=1024)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1024)]


class Reason(BaseModel):
    """One reason why nothing is sent to an address: which rule, since when, by which fact or whom.

    `event_id` and `message_id` name the fact that listed it (empty: by hand, or of no message);
    `until` is when it expires by itself, None: never. `rules_version` is that of the bounce rules.
    """

    model_config = _CONTRACT

    rule: Rule
    since: Time
    until: Time | None = None
    event_id: Code = ""
    message_id: Annotated[str, StringConstraints(max_length=512)] = ""
    reason: ShortText = Field("", description="In plain words, as 550 5.1.1 mailbox does not exist")
    actor: Code = Field(NOBODY, description="Who: a person's name, or sendlog for its rules")
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

    model_config = _CONTRACT

    id: str = Field(description="Of tenant, channel, message, recipient and attempt: 32 hex digits")
    tenant_id: Identifier
    channel: Channel = "email"
    message_id: Identifier
    recipient: Recipient
    attempt: SmallCount = Field(description="The attempt to make; the first send was 1")
    reason: ShortText = Field(description="Why the attempt before it failed")
    due_at: Time = Field(description="When it fell due; it is never published before")


class DecisionFact(MessageEvent):
    """A decision as a fact: a message event with what only a decision has.

    Kinds: `retry_scheduled` (`due_at`, and the attempt to come), `retry_exhausted`; `suppressed`
    and `reinstated`, the history of an address (`message_id` may be empty); the refusal of a send:
    `invalid`, `skipped`, for SMS `failed` or `opt_out`; and `note`, whose `reason_code` says of
    what: `retry_asked`, `retry_cancelled`, `command_refused`, `streak_reset` (soft bounces are
    counted anew). Else `reason_code` is the rule; `diagnostic` is the cause in words. Every field
    follows from the facts alone, so that a decision made again after a crash is the same fact.
    """

    kind: Literal[
        "retry_scheduled", "retry_exhausted", "suppressed", "reinstated",
        "invalid", "skipped", "failed", "opt_out", "note",
    ]  # fmt: skip
    label: Literal["sendlog"] = OURS
    change: Change | None = Field(None, description="suppressed, reinstated: what happened")
    rule: Rule | None = None
    since: Time | None = Field(None, description="Since when the address is, or was, listed")
    until: Time | None = Field(None, description="suppressed: when it expires by itself")
    cause_event_id: Code = Field("", description="The fact or command that led to it")
    actor: Code = NOBODY
    rules_version: int = 0


class Command(BaseModel):
    """What a person asks for: lift the listing of an address, or list it by hand.

    `asked_at` is the time of the command's record. A reset of a complaint needs
    `confirmed_complaint`.
    """

    model_config = _CONTRACT

    id: Code = Field(min_length=1, description="Chosen by who asks; one that was obeyed is ignored")
    command: Literal["reset", "add"]
    tenant_id: Identifier
    channel: Channel
    address: Recipient
    actor: Annotated[Words, StringConstraints(max_length=256)]
    reason: Words
    confirmed_complaint: bool = False
    asked_at: Time

    @field_validator("address")
    @classmethod
    def _as_the_log_has_it(cls, address: str, info: ValidationInfo) -> str:
        return normalised(info.data.get("channel", "email"), address)


def retry_id(whose: Address, message_id: str, attempt: int) -> str:
    """Return the identity of a retry: 32 hex digits, the same whenever it is decided."""
    content = "\x1f".join((*whose, message_id, str(attempt)))
    return blake2b(content.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
