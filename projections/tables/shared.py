"""What both logs keep alike: times, whose record, which provider, and why something failed."""

from __future__ import annotations

from typing import Final

from projections.expressions import (
    Expression,
    either,
    first_given,
    item,
    lookup,
    together,
    words,
)
from projections.folds import Fold, earliest, last, latest
from projections.tables.events import TABLE as FACT
from schemas.bounces import MEANINGS

first_at = earliest("first_at", FACT.occurred_at)
last_at = last("last_at", FACT.occurred_at)
first_recorded_at = earliest("first_recorded_at", FACT.recorded_at)
record = latest(
    "record",
    FACT.occurred_at,
    where=FACT.record_id.given,
    type=FACT.record_type,
    id=FACT.record_id,
)
sender = latest(
    "sender",
    FACT.occurred_at,
    where=FACT.provider.given,
    provider=FACT.provider,
    id=FACT.provider_message_id,
)
campaign = latest("campaign", FACT.occurred_at, where=FACT.campaign.given, value=FACT.campaign)

FOLDS: Final = (first_at, last_at, first_recorded_at, record, sender, campaign)

#: What a fold keeps of a failed fact to describe it.
CODES: Final = {
    "smtp_code": FACT.smtp_code,
    "enhanced_status": FACT.enhanced_status,
    "reason_code": FACT.reason_code,
    "diagnostic": FACT.diagnostic,
}


def codes_of(fold: Fold) -> Expression:
    """Return what a fold of `CODES` keeps of them, for a rule to say why."""
    return together(**{name: fold[name] for name in CODES})


def described(why: Expression) -> Expression:
    """Return codes in words ("550 5.1.1 mailbox does not exist"), or else the provider's text."""
    codes = (item(why, "smtp_code").text, item(why, "enhanced_status"))
    meaning = lookup(item(why, "enhanced_status"), MEANINGS)
    return either(
        meaning.given,
        words(*codes, meaning),
        first_given(item(why, "diagnostic"), words(*codes, item(why, "reason_code"))),
    )
