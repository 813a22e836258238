"""The planner's thresholds: what counts as few, and how far it looks before it folds everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Thresholds of the page planner. They set the pace of a page, never what is on it."""

    #: So few candidates are folded at once, whatever the order asked for.
    max_folded_messages: int = 1000
    #: So few are read whole, and filtered in Python, if filters only ask whether texts are equal.
    max_whole_messages: int = 200
    #: Messages found beyond the page, for those that get another place before they are read.
    spare_messages: int = 5
    #: Rounds of candidates in vain after which all that there may be are folded at once.
    max_rounds: int = 3
    #: Upper bound of the keys bound to one query, each a hash and a recipient.
    max_query_keys: int = 1000
    #: Up to so many states that show something, their hashes are worth a set: 8 bytes each.
    max_rare_states: int = 400_000
    #: So many times more states than are few, by the estimate, are surely not few.
    not_few_factor: float = 20
    #: The share of candidates that a filter of unknown effect is taken to keep.
    unknown_filter_share: float = 0.1
    #: Safety factor on the estimated time window; traffic varies from day to day.
    window_factor: float = 3
    #: So few late messages are folded without finding out which of them are new (E-074).
    max_late_messages: int = 300
    #: States of a tenant by which it is estimated how many of all show something.
    sample_states: int = 131_072


DEFAULT_TUNING: Final = Tuning()
