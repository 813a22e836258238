"""The types of the API's parameters: each says what it takes, and refuses the rest by name."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AfterValidator, TypeAdapter, ValidationError

from projections.web.cursor import LONGEST
from projections.web.problems import wrong
from schemas.events import EARLIEST, LATEST, Channel


def _utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already."""
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        time = LATEST
    if not EARLIEST <= time < LATEST:
        raise ValueError(f"takes a time from {EARLIEST:%Y} to {LATEST:%Y}, as 2026-11-24T10:00")
    return time


Instant = Annotated[datetime, AfterValidator(_utc)]
_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Instant)


def instant(parameter: str, text: str) -> datetime:
    """Return the time that a text says. Raises a 422 problem for none, by its parameter's name."""
    try:
        return _INSTANT.validate_python(text)
    except ValidationError as error:
        raise wrong(parameter, str(error.errors()[0]["msg"])) from None


ChannelPath = Annotated[Channel, Path(description="Which log")]
LimitQuery = Annotated[int, Query(ge=1, le=1000, description="At most so many rows")]
CursorQuery = Annotated[
    str | None,
    Query(max_length=LONGEST, description="`next` of the page before, for the one that follows"),
]
SinceQuery = Annotated[
    Instant | None, Query(description="From this time on (UTC if no zone is named)")
]
UntilQuery = Annotated[Instant | None, Query(description="Before this time")]
AddressPath = Annotated[
    str, Path(min_length=1, max_length=320, description="Email address, or number")
]
