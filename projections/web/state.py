"""What the endpoints work with, put together once by `app.build`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from starlette.requests import Request

from projections.queries.api_keys import Keys
from projections.web.database import Reader
from projections.web.rate_limit import Limiter
from projections.web.sessions import Sessions
from schemas.decisions import Command

#: Where the API is, of this version.
BASE: Final = "/api/v1"


class NotTakenError(Exception):
    """Kafka did not confirm a command in time: nothing is known to have been asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The collaborators of the application.

    `command` publishes a command and returns when Kafka has it, or raises `NotTakenError`;
    `kafka_answers` tells whether a broker does. Both may block, and are called on threads.
    """

    reader: Reader
    keys: Keys
    limiter: Limiter
    command: Callable[[Command], None]
    kafka_answers: Callable[[], bool]
    outcome_seconds: float = 10.0
    sessions: Sessions = field(default_factory=Sessions)


def parts_of(request: Request) -> Parts:
    """Return the parts of the application that a request came to."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts
