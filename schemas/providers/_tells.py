"""What a provider's feed can tell: each adapter declares it, and their page shows it."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Tells(NamedTuple):
    """What a feed can and cannot tell; the defaults are what most of its channel do.

    `ids` names where the sender's own ids come back, '' if nowhere. `recipient` says whether an
    event names it. `deferrals`: failed attempts that will be repeated are reported. `opens`:
    whether opens are, and those by machines are marked. `batches`: a push may hold several events.
    """

    ids: str
    recipient: str = "yes"
    deferrals: bool = False
    opens: Literal["no", "unmarked", "marked"] = "no"
    batches: bool = False
