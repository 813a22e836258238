"""The oracle: what can happen to a message, and the row of the log that must follow, by hand.

Each scenario is a story, steps in the order of their times, and its ending. Endings were written
from the rules of the Email Log and the SMS Log. No code of the product's fold or status rules is
used here, so that a test against these endings is independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from processor.demo import details

if TYPE_CHECKING:
    from collections.abc import Mapping

    from processor.demo.details import Details
    from schemas.events import Channel, EventKind

Status = Literal[
    "Sent", "Delivery", "Open", "Click", "Bounce", "Invalid", "Skipped",
    "Queued", "Delivered", "Received", "Rejected", "Undelivered", "Failed",
]  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class StoryStep:
    """One event of a story, on average `after` seconds after the step before it.

    One of the `alternatives` is drawn. A step of a provider may be a push in its own format; one of
    a mailer or the policy is always an event.
    """

    kind: EventKind
    after: float
    by: Literal["mailer", "provider", "policy"]
    attempt: int = 1
    alternatives: Details = details.PLAIN


class Ending(NamedTuple):
    """How a story ends: the columns of its row, as they must be.

    Opens and clicks are those of persons, soft bounces are counted once an attempt, `attempts` is
    the highest attempt of any event. `conflict` None and an empty `reason` are not checked; else
    `reason` is part of the status reason. Not `settled`: a retry is pending, which the policy may
    still cancel or make, so the status can change.
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


class ExpectedRow(NamedTuple):
    """A row of the log, as it must be: its key, the scenario's name, and the fields of `Ending`."""

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
    """A story with its ending. With `spoils`, it needs an address of its own.

    `Business.with_fresh_address` says why.
    """

    weight: int
    name: str
    steps: tuple[StoryStep, ...]
    ending: Ending
    spoils: bool = False


def mailer(
    kind: EventKind, after: float = 0, attempt: int = 1, alternatives: Details = details.PLAIN
) -> StoryStep:
    """Return an event that the mailer publishes."""
    return StoryStep(kind, after, "mailer", attempt, alternatives)


def provider(
    kind: EventKind, after: float, alternatives: Details = details.PLAIN, attempt: int = 1
) -> StoryStep:
    """Return an event that the provider pushes."""
    return StoryStep(kind, after, "provider", attempt, alternatives)


MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400

EMAIL_SENT: Final = (mailer("queued"), mailer("sent", 4))
EMAIL_CONFIRMED: Final = (mailer("sent"), provider("sent", 1))
DELIVERY: Final = provider("delivery", 3, details.ACCEPTED)
DEFERRAL: Final = provider("deferral", 60, details.DELAYED)
MACHINE_OPEN: Final = provider("open", 5, details.MACHINE)
BOUNCE: Final = provider("bounce", 5, details.HARD_BOUNCES)
EMAIL_DELIVERED: Final = (mailer("sent"), DELIVERY)
OPEN: Final = provider("open", 40 * MINUTE, details.PERSON)
CLICK: Final = provider("click", 30, details.LINKS)
RETRY_WAITS_SECONDS: Final = (15 * MINUTE, HOUR, 4 * HOUR)


def soft(attempt: int) -> tuple[StoryStep, ...]:
    """Return the send and the soft bounce of an attempt."""
    wait = 0 if attempt == 1 else RETRY_WAITS_SECONDS[attempt - 2]
    return mailer("sent", wait, attempt), provider("bounce", 20, details.SOFT_BOUNCES, attempt)


EMAIL_SCENARIOS: Final = (
    Scenario(15, "queued only", (mailer("queued"),), Ending("Sent")),
    Scenario(20, "sent only", EMAIL_SENT, Ending("Sent")),
    Scenario(15, "sent, the provider agrees", EMAIL_CONFIRMED, Ending("Sent")),
    Scenario(20, "deferral", (*EMAIL_SENT, DEFERRAL), Ending("Sent")),
    Scenario(30, "deferral, then delivery",
             (*EMAIL_SENT, DEFERRAL, provider("delivery", 20 * MINUTE, details.ACCEPTED)),
             Ending("Delivery")),
    Scenario(240, "delivery", EMAIL_DELIVERED, Ending("Delivery")),
    Scenario(220, "open", (*EMAIL_DELIVERED, OPEN), Ending("Open", open_count=1)),
    Scenario(70, "opens", (*EMAIL_CONFIRMED, DELIVERY, OPEN, OPEN, OPEN),
             Ending("Open", open_count=3)),
    Scenario(15, "open, no delivery reported", (mailer("sent"), OPEN),
             Ending("Open", open_count=1)),
    Scenario(50, "machine open", (*EMAIL_DELIVERED, MACHINE_OPEN),
             Ending("Delivery", machine_opened=True)),
    Scenario(20, "machine open, then a person's", (*EMAIL_DELIVERED, MACHINE_OPEN, OPEN),
             Ending("Open", open_count=1, machine_opened=True)),
    Scenario(90, "click", (*EMAIL_DELIVERED, OPEN, CLICK),
             Ending("Click", open_count=1, click_count=1)),
    Scenario(20, "click, no open reported", (*EMAIL_DELIVERED, CLICK),
             Ending("Click", click_count=1)),
    Scenario(35, "hard bounce", (*EMAIL_CONFIRMED, BOUNCE), Ending("Bounce"), spoils=True),
    Scenario(15, "block bounce", (*EMAIL_CONFIRMED, provider("bounce", 5, details.BLOCK_BOUNCES)),
             Ending("Bounce")),
    Scenario(10, "hard bounce long after delivery",
             (*EMAIL_DELIVERED, provider("bounce", DAY, details.LATE_HARD_BOUNCES)),
             Ending("Bounce", conflict=None), spoils=True),
    Scenario(10, "click after a hard bounce",
             (mailer("sent"), BOUNCE, provider("click", HOUR, details.LINKS)),
             Ending("Bounce", click_count=1, conflict=True), spoils=True),
    Scenario(20, "soft bounce, retry pending", soft(1),
             Ending("Sent", soft_bounce_count=1, settled=False), spoils=True),
    Scenario(20, "soft bounce, then delivery",
             (*soft(1), mailer("sent", 15 * MINUTE, 2),
              provider("delivery", 3, details.ACCEPTED, 2)),
             Ending("Delivery", soft_bounce_count=1, attempts=2)),
    Scenario(10, "soft bounces, retries exhausted",
             (*soft(1), *soft(2), *soft(3), *soft(4),
              StoryStep("retry_exhausted", 1, "policy", 4, details.EXHAUSTED)),
             Ending("Bounce", soft_bounce_count=4, attempts=4), spoils=True),
    Scenario(10, "hard bounce, superseded by a second attempt",
             (mailer("sent"), BOUNCE, mailer("sent", HOUR, 2),
              provider("delivery", 3, details.ACCEPTED, 2)),
             Ending("Delivery", attempts=2, conflict=None), spoils=True),
    Scenario(20, "suppressed by the provider",
             (*EMAIL_CONFIRMED, provider("invalid", 1, details.SUPPRESSED)),
             Ending("Invalid"), spoils=True),
    Scenario(20, "skipped", (mailer("skipped", alternatives=details.OPTED_OUT),),
             Ending("Skipped")),
    Scenario(12, "refused before sending",
             (mailer("sent"), provider("failure", 2, details.REFUSED)),
             Ending("Bounce")),
    Scenario(12, "complaint after an open",
             (*EMAIL_DELIVERED, OPEN, provider("complaint", DAY, details.SPAM)),
             Ending("Open", open_count=1, complained=True), spoils=True),
    Scenario(11, "unsubscribe after a click",
             (*EMAIL_DELIVERED, OPEN, CLICK,
              provider("unsubscribe", 40, details.UNSUBSCRIBED)),
             Ending("Click", open_count=1, click_count=1, unsubscribed=True), spoils=True),
)  # fmt: skip

SMS_QUEUED: Final = (mailer("queued"),)
SMS_SENT: Final = (mailer("queued"), provider("sent", 1))
SMS_DELIVERED: Final = (*SMS_SENT, provider("delivery", 4))
SMS_EXPIRED: Final = provider("expired", 4 * HOUR, details.TOO_OLD)

SMS_SCENARIOS: Final = (
    Scenario(40, "queued only", SMS_QUEUED, Ending("Queued")),
    Scenario(20, "queued, the provider agrees", (*SMS_QUEUED, provider("queued", 1)),
             Ending("Queued")),
    Scenario(80, "sent", SMS_SENT, Ending("Sent")),
    Scenario(520, "delivered", SMS_DELIVERED, Ending("Delivered")),
    Scenario(20, "delivered, never reported sent", (*SMS_QUEUED, provider("delivery", 5)),
             Ending("Delivered")),
    Scenario(110, "read", (*SMS_DELIVERED, provider("read", 10 * MINUTE)), Ending("Received")),
    Scenario(40, "undelivered", (*SMS_SENT, provider("undelivered", 6, details.NUMBER_BAD)),
             Ending("Undelivered")),
    Scenario(30, "filtered by the carrier", (*SMS_SENT, provider("rejected", 6, details.FILTERED)),
             Ending("Rejected")),
    Scenario(30, "failed", (*SMS_QUEUED, provider("failed", 2, details.OVERFLOW)),
             Ending("Failed")),
    Scenario(15, "expired", (*SMS_SENT, SMS_EXPIRED), Ending("Undelivered")),
    Scenario(15, "expired after delivery",
             (*SMS_DELIVERED, SMS_EXPIRED), Ending("Delivered", conflict=None)),
    Scenario(20, "opted out", (*SMS_QUEUED, provider("opt_out", 1, details.STOPPED)),
             Ending("Failed", reason="opted out"), spoils=True),
    Scenario(20, "unknown after sent", (*SMS_SENT, provider("unknown", HOUR)), Ending("Sent")),
    Scenario(15, "two segments, both delivered",
             (*SMS_SENT, provider("delivery", 4, details.FIRST_SEGMENT),
              provider("delivery", 2, details.SECOND_SEGMENT)),
             Ending("Delivered")),
    Scenario(15, "two segments, one undelivered",
             (*SMS_SENT, provider("delivery", 4, details.FIRST_SEGMENT),
              provider("undelivered", 2, details.SECOND_SEGMENT_BAD)),
             Ending("Undelivered", conflict=None)),
    Scenario(10, "two segments, one failed and one rejected",
             (*SMS_SENT, provider("failed", 4, details.FIRST_SEGMENT_OVERFLOW),
              provider("rejected", 2, details.SECOND_SEGMENT_FILTERED)),
             Ending("Rejected", conflict=None)),
)  # fmt: skip

SCENARIOS: Final[Mapping[Channel, tuple[Scenario, ...]]] = {
    "email": EMAIL_SCENARIOS,
    "sms": SMS_SCENARIOS,
}


def records_per_message() -> float:
    """Return the average number of records of a message; seven messages in ten are emails."""
    mean = {
        channel: sum(scenario.weight * len(scenario.steps) for scenario in table)
        / sum(scenario.weight for scenario in table)
        for channel, table in SCENARIOS.items()
    }
    return 0.7 * mean["email"] + 0.3 * mean["sms"]
