"""What both logs keep alike: times, the customer record, the provider, and why something failed."""

from __future__ import annotations

from typing import Any, Final

from projections.expressions import (
    OPERATORS,
    Call,
    Expression,
    Operator,
    eager,
    either,
    first_nonempty,
    item,
    literal,
    lookup,
    together,
    words,
)
from projections.folds import Fold, earliest, last, latest, union
from projections.tables.events import TABLE as EVENT
from schemas.events import JOINED_KIND
from schemas.smtp_replies import STATUS_MEANINGS


def _is_superseded(resends: Any, attempt: Any, bounced_at: Any, arrived_at: Any) -> bool:
    return arrived_at is not None and any(
        sent[0] > attempt and sent[1] > bounced_at and sent[1] <= arrived_at for sent in resends
    )


#: An attempt (number, time sent) after the failure, and a sign of arrival after that.
OPERATORS["superseded"] = Operator(
    "arrayExists(sent -> sent.1 > {1} AND sent.2 > {2} AND ifNull(sent.2 <= {3}, false), {0})",
    eager(_is_superseded),
    needs=(0, 3),
)

first_at = earliest("first_at", EVENT["occurred_at"])
last_at = last("last_at", EVENT["occurred_at"])
first_recorded_at = earliest("first_recorded_at", EVENT["recorded_at"])
record = latest(
    "record",
    EVENT["occurred_at"],
    where=EVENT["record_id"].is_nonempty,
    type=EVENT["record_type"],
    id=EVENT["record_id"],
)
sender = latest(
    "sender",
    EVENT["occurred_at"],
    where=EVENT["provider"].is_nonempty,
    provider=EVENT["provider"],
    id=EVENT["provider_message_id"],
)
campaign = latest(
    "campaign", EVENT["occurred_at"], where=EVENT["campaign"].is_nonempty, value=EVENT["campaign"]
)
#: Whether a mailer said it: on a shared topic, or on one of its own, whose name begins alike.
IS_MAILERS: Final = Call("begins with", EVENT["source_topic"], literal("email.sends")) | Call(
    "begins with", EVENT["source_topic"], literal("sms.sends")
)
#: When the mailer first said something of it by this very id.
own_at = earliest("own_at", EVENT["occurred_at"], where=IS_MAILERS)
#: When its events were found to be of another message, which has them, too.
joined_at = earliest("joined_at", EVENT["occurred_at"], where=EVENT["kind"].is_in(JOINED_KIND))
resends = union(
    "resends",
    together(attempt=EVENT["attempt"], at=EVENT["occurred_at"]),
    where=EVENT["kind"].is_in("sent") & (EVENT["attempt"] > literal(1)),
)

SHARED_FOLDS: Final = (
    first_at, last_at, first_recorded_at, record, sender, campaign, own_at, joined_at,
)  # fmt: skip
#: Whether a message is no row of its log: its id was but the provider's for another message.
HIDDEN: Final = joined_at.present & ~own_at.present

#: What a fold keeps of an event that tells of a failure, to describe it.
CODES: Final = {
    "smtp_code": EVENT["smtp_code"],
    "enhanced_status": EVENT["enhanced_status"],
    "reason_code": EVENT["reason_code"],
    "diagnostic": EVENT["diagnostic"],
}


def is_superseded(failure: Fold, arrived_at: Fold) -> Expression:
    """Return whether a later attempt than that of the last failure has arrived.

    `failure` keeps its `attempt`; `arrived_at` is the last sign of arrival.
    """
    return Call("superseded", resends.state, failure["attempt"], failure["at"], arrived_at.state)


def codes_of(fold: Fold) -> Expression:
    """Return what a fold of `CODES` keeps of them, for a rule to say why."""
    return together(**{name: fold[name] for name in CODES})


def codes_in_words(why: Expression) -> Expression:
    """Return codes in words ("550 5.1.1 mailbox does not exist"), or else the provider's text."""
    codes = (item(why, "smtp_code").text, item(why, "enhanced_status"))
    meaning = lookup(item(why, "enhanced_status"), STATUS_MEANINGS)
    return either(
        meaning.is_nonempty,
        words(*codes, meaning),
        first_nonempty(item(why, "diagnostic"), words(*codes, item(why, "reason_code"))),
    )
