"""Request parameters: their types, which describe and validate values, and the route's names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Final, get_origin

from fastapi import Path, Query, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute
from pydantic import AfterValidator, TypeAdapter, ValidationError

from projections.web.cursor import MAX_CURSOR_LENGTH
from projections.web.problems import invalid_parameter, validation_words
from schemas.events import MAX_EVENT_TIME, MIN_EVENT_TIME, Channel
from schemas.words import Words


def _to_utc(time: datetime) -> datetime:
    """Return a time in UTC; one without a zone is UTC already."""
    try:
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except OverflowError:
        time = MAX_EVENT_TIME
    if not MIN_EVENT_TIME <= time < MAX_EVENT_TIME:
        raise ValueError(
            Words(
                "takes a time from %(first)s to %(last)s, as 2026-11-24T10:00",
                first=MIN_EVENT_TIME.year,
                last=MAX_EVENT_TIME.year,
            )
        )
    return time


UtcTime = Annotated[datetime, AfterValidator(_to_utc)]
_UTC_TIME: Final[TypeAdapter[datetime]] = TypeAdapter(UtcTime)


def parse_utc_time(parameter: str, text: str) -> datetime:
    """Return the time of a parameter's text, in UTC. Raises a 422 problem that names it."""
    try:
        return _UTC_TIME.validate_python(text)
    except ValidationError as error:
        raise invalid_parameter(parameter, validation_words(error.errors()[0])) from None


ChannelPath = Annotated[Channel, Path(description="Which log")]
LimitQuery = Annotated[int, Query(ge=1, le=1000, description="At most so many rows")]
CursorQuery = Annotated[
    str | None,
    Query(
        max_length=MAX_CURSOR_LENGTH,
        description="`next` of a page, for the one that follows; or `previous`, where it has that",
        examples=["3q2-7wAAAABbIiIsMTc5Njg5NjgwMDAwMCwibS0yMDQxIl0"],
    ),
]
SinceQuery = Annotated[
    UtcTime | None,
    Query(
        description="From this time on (UTC if no zone is named)", examples=["2026-11-01T00:00:00Z"]
    ),
]
UntilQuery = Annotated[
    UtcTime | None, Query(description="Before this time", examples=["2026-12-01T00:00:00Z"])
]
RecordPath = Annotated[
    str,
    Path(
        min_length=1, max_length=512, description="Type or id of a customer record",
        examples=["family", "F-1162"],
    ),
]  # fmt: skip
AddressPath = Annotated[
    str,
    Path(
        min_length=1, max_length=320, description="Email address, or number",
        examples=["parent@example.com"],
    ),
]  # fmt: skip


class ApiRoute(APIRoute):
    """A route that knows its query parameters, also those of its dependencies.

    It refuses one that comes twice and takes one value: the last would win, and nobody notice.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of a request."""
        handle = super().get_route_handler()

        async def handle_unrepeated(request: Request) -> Response:
            self._refuse_repeated(request)
            return await handle(request)

        return handle_unrepeated

    @cached_property
    def query_parameters(self) -> frozenset[str]:
        """The names, as they are in a URL."""
        return frozenset(self._takes_several)

    @cached_property
    def _takes_several(self) -> dict[str, bool]:
        """Whether a parameter takes several values, by its name."""
        return {
            field.alias: get_origin(field.field_info.annotation) is list
            for field in get_flat_params(self.dependant)
            if isinstance(field.field_info, params.Query)
        }

    def _refuse_repeated(self, request: Request) -> None:
        for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
            if count > 1 and not self._takes_several.get(name, True):
                raise invalid_parameter(
                    name, Words("takes one value, and is there %(count)s times", count=count)
                )
