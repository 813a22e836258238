"""The oracle: what can happen to a message, and what the log must then say, given by hand.

Each scenario is a story (steps in the order of their own times) with its outcome, written down
from the rules of the Email Log and SMS Log and from nothing else: no code of the product's fold or
status rules is used here, so that a test against these outcomes tests something.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from processor.demo import details as said

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.demo.details import Details
    from schemas.events import Channel, Kind

Status = Literal[
    "Sent", "Delivery", "Open", "Click", "Bounce", "Invalid", "Skipped",
    "Queued", "Delivered", "Received", "Rejected", "Undelivered", "Failed",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One fact of a story: `after` seconds after the step before it, on average.

    `details` are alternatives, of which one is drawn. A provider's step is what it pushes; a
    mailer's or the policy's is always a fact.
    """

    kind: Kind
    after: float
    by: Literal["mailer", "provider", "policy"]
    attempt: int = 1
    details: Details = said.PLAIN


class Outcome(NamedTuple):
    """What the log must say.

    Opens and clicks count persons', soft bounces count attempts, `attempts` is the highest attempt
    that any fact speaks of. `conflict` None: not judged. `reason` is part of the status reason, or
    empty: not judged. `settled` False: a retry is pending, so the policy may yet change the status.
    """

    status: Status
    open_count: int = 0
    click_count: int = 0
    soft_bounce_count: int = 0
    complained: bool = False
    unsubscribed: bool = False
    machine_opened: bool = False
    attempts: int = 1
    conflict: bool | None = False
    reason: str = ""
    settled: bool = True


class Expected(NamedTuple):
    """The outcome for one row of the log: its key, the scenario's name, and `Outcome`'s fields."""

    channel: Channel
    tenant_id: str
    message_id: str
    recipient: str
    scenario: str
    status: Status
    open_count: int
    click_count: int
    soft_bounce_count: int
    complained: bool
    unsubscribed: bool
    machine_opened: bool
    attempts: int
    conflict: bool | None
    reason: str
    settled: bool


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """A story with its outcome. `spoils`: the address is of no use afterwards (see `fresh`)."""

    weight: int
    name: str
    steps: tuple[Step, ...]
    outcome: Outcome
    spoils: bool = False


def mailer(kind: Kind, after: float = 0, attempt: int = 1, details: Details = said.PLAIN) -> Step:
    """Return a fact that the mailer publishes."""
    return Step(kind, after, "mailer", attempt, details)


def provider(kind: Kind, after: float, details: Details = said.PLAIN, attempt: int = 1) -> Step:
    """Return an event that the provider pushes."""
    return Step(kind, after, "provider", attempt, details)


MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400

SENT: Final = (mailer("queued"), mailer("sent", 4))
HANDED: Final = (mailer("sent"), provider("sent", 1))
ACCEPT: Final = provider("delivery", 3, said.ACCEPTED)
DEFERRAL: Final = provider("deferral", 60, said.DELAYED)
MACHINE_OPEN: Final = provider("open", 5, said.MACHINE)
BOUNCE: Final = provider("bounce", 5, said.HARD)
DELIVERED: Final = (mailer("sent"), ACCEPT)
OPEN: Final = provider("open", 40 * MINUTE, said.PERSON)
CLICK: Final = provider("click", 30, said.LINKS)
RETRY_AFTER: Final = (15 * MINUTE, HOUR, 4 * HOUR)


def soft(attempt: int) -> tuple[Step, ...]:
    """Return the send and the soft bounce of an attempt."""
    wait = 0 if attempt == 1 else RETRY_AFTER[attempt - 2]
    return mailer("sent", wait, attempt), provider("bounce", 20, said.SOFT, attempt)


EMAIL: Final = (
    Scenario(15, "queued only", (mailer("queued"),), Outcome("Sent")),
    Scenario(20, "sent only", SENT, Outcome("Sent")),
    Scenario(15, "sent, the provider agrees", HANDED, Outcome("Sent")),
    Scenario(20, "deferral", (*SENT, DEFERRAL), Outcome("Sent")),
    Scenario(30, "deferral, then delivery",
             (*SENT, DEFERRAL, provider("delivery", 20 * MINUTE, said.ACCEPTED)),
             Outcome("Delivery")),
    Scenario(240, "delivery", DELIVERED, Outcome("Delivery")),
    Scenario(220, "open", (*DELIVERED, OPEN), Outcome("Open", open_count=1)),
    Scenario(70, "opens", (*HANDED, ACCEPT, OPEN, OPEN, OPEN), Outcome("Open", open_count=3)),
    Scenario(15, "open, no delivery reported", (mailer("sent"), OPEN),
             Outcome("Open", open_count=1)),
    Scenario(50, "machine open", (*DELIVERED, MACHINE_OPEN),
             Outcome("Delivery", machine_opened=True)),
    Scenario(20, "machine open, then a person's", (*DELIVERED, MACHINE_OPEN, OPEN),
             Outcome("Open", open_count=1, machine_opened=True)),
    Scenario(90, "click", (*DELIVERED, OPEN, CLICK), Outcome("Click", open_count=1, click_count=1)),
    Scenario(20, "click, no open reported", (*DELIVERED, CLICK), Outcome("Click", click_count=1)),
    Scenario(35, "hard bounce", (*HANDED, BOUNCE), Outcome("Bounce"), spoils=True),
    Scenario(15, "block bounce", (*HANDED, provider("bounce", 5, said.BLOCK)), Outcome("Bounce")),
    Scenario(10, "hard bounce long after delivery",
             (*DELIVERED, provider("bounce", DAY, said.LATE)), Outcome("Bounce", conflict=None),
             spoils=True),
    Scenario(10, "click after a hard bounce",
             (mailer("sent"), BOUNCE, provider("click", HOUR, said.LINKS)),
             Outcome("Bounce", click_count=1, conflict=True), spoils=True),
    Scenario(20, "soft bounce, retry pending", soft(1),
             Outcome("Sent", soft_bounce_count=1, settled=False), spoils=True),
    Scenario(20, "soft bounce, then delivery",
             (*soft(1), mailer("sent", 15 * MINUTE, 2), provider("delivery", 3, said.ACCEPTED, 2)),
             Outcome("Delivery", soft_bounce_count=1, attempts=2)),
    Scenario(10, "soft bounces, retries exhausted",
             (*soft(1), *soft(2), *soft(3), *soft(4),
              Step("retry_exhausted", 1, "policy", 4, said.EXHAUSTED)),
             Outcome("Bounce", soft_bounce_count=4, attempts=4), spoils=True),
    Scenario(10, "hard bounce, superseded by a second attempt",
             (mailer("sent"), BOUNCE, mailer("sent", HOUR, 2),
              provider("delivery", 3, said.ACCEPTED, 2)),
             Outcome("Delivery", attempts=2, conflict=None), spoils=True),
    Scenario(20, "suppressed by the provider", (*HANDED, provider("invalid", 1, said.SUPPRESSED)),
             Outcome("Invalid"), spoils=True),
    Scenario(20, "skipped", (mailer("skipped", details=said.OPTED_OUT),),
             Outcome("Skipped")),
    Scenario(12, "refused before sending", (mailer("sent"), provider("failure", 2, said.REFUSED)),
             Outcome("Bounce")),
    Scenario(12, "complaint after an open",
             (*DELIVERED, OPEN, provider("complaint", DAY, said.SPAM)),
             Outcome("Open", open_count=1, complained=True), spoils=True),
    Scenario(11, "unsubscribe after a click",
             (*DELIVERED, OPEN, CLICK,
              provider("unsubscribe", 40, said.LEAVES)),
             Outcome("Click", open_count=1, click_count=1, unsubscribed=True), spoils=True),
)  # fmt: skip

QUEUED: Final = (mailer("queued"),)
GONE: Final = (mailer("queued"), provider("sent", 1))
ARRIVED: Final = (*GONE, provider("delivery", 4))
EXPIRY: Final = provider("expired", 4 * HOUR, said.TOO_OLD)

SMS: Final = (
    Scenario(40, "queued only", QUEUED, Outcome("Queued")),
    Scenario(20, "queued, the provider agrees", (*QUEUED, provider("queued", 1)),
             Outcome("Queued")),
    Scenario(80, "sent", GONE, Outcome("Sent")),
    Scenario(520, "delivered", ARRIVED, Outcome("Delivered")),
    Scenario(20, "delivered, never reported sent", (*QUEUED, provider("delivery", 5)),
             Outcome("Delivered")),
    Scenario(110, "read", (*ARRIVED, provider("read", 10 * MINUTE)), Outcome("Received")),
    Scenario(40, "undelivered", (*GONE, provider("undelivered", 6, said.NUMBER_BAD)),
             Outcome("Undelivered")),
    Scenario(30, "filtered by the carrier", (*GONE, provider("rejected", 6, said.FILTERED)),
             Outcome("Rejected")),
    Scenario(30, "failed", (*QUEUED, provider("failed", 2, said.OVERFLOW)), Outcome("Failed")),
    Scenario(15, "expired", (*GONE, EXPIRY), Outcome("Undelivered")),
    Scenario(15, "expired after delivery",
             (*ARRIVED, EXPIRY), Outcome("Delivered", conflict=None)),
    Scenario(20, "opted out", (*QUEUED, provider("opt_out", 1, said.STOPPED)),
             Outcome("Failed", reason="opted out"), spoils=True),
    Scenario(20, "unknown after sent", (*GONE, provider("unknown", HOUR)), Outcome("Sent")),
    Scenario(15, "two segments, both delivered",
             (*GONE, provider("delivery", 4, said.FIRST), provider("delivery", 2, said.SECOND)),
             Outcome("Delivered")),
    Scenario(15, "two segments, one undelivered",
             (*GONE, provider("delivery", 4, said.FIRST),
              provider("undelivered", 2, said.SECOND_BAD)),
             Outcome("Undelivered", conflict=None)),
    Scenario(10, "two segments, one failed and one rejected",
             (*GONE, provider("failed", 4, said.FIRST_OVERFLOW),
              provider("rejected", 2, said.SECOND_FILTERED)),
             Outcome("Rejected", conflict=None)),
)  # fmt: skip

SCENARIOS: Final[Mapping[Channel, tuple[Scenario, ...]]] = {"email": EMAIL, "sms": SMS}


def records_per_message() -> float:
    """Return how many records a message gives, about (seven emails in ten)."""
    mean = {
        channel: sum(scenario.weight * len(scenario.steps) for scenario in table)
        / sum(scenario.weight for scenario in table)
        for channel, table in SCENARIOS.items()
    }
    return 0.7 * mean["email"] + 0.3 * mean["sms"]
