"""What both logs keep alike: times, the customer record, the provider, and why something failed."""

from __future__ import annotations

from typing import Final

from projections.expressions import (
    Expression,
    either,
    first_nonempty,
    item,
    lookup,
    together,
    words,
)
from projections.folds import Fold, earliest, last, latest
from projections.tables.events import TABLE as EVENT
from schemas.smtp_replies import STATUS_MEANINGS

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

SHARED_FOLDS: Final = (first_at, last_at, first_recorded_at, record, sender, campaign)

#: What a fold keeps of an event that tells of a failure, to describe it.
CODES: Final = {
    "smtp_code": EVENT["smtp_code"],
    "enhanced_status": EVENT["enhanced_status"],
    "reason_code": EVENT["reason_code"],
    "diagnostic": EVENT["diagnostic"],
}


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
