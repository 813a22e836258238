"""Events that fit no message, of the last days or since a time."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from projections.queries.unmatched import list_unmatched
from projections.web.auth import Caller


def unmatched_events(caller: Caller, since: datetime | None, limit: int) -> list[dict[str, Any]]:
    """Return the newest unmatched events of the caller's tenant. Raises `ProblemError`."""
    database = caller.state.database
    with database.client() as client:
        return list_unmatched(client, database.name, caller.tenant, since=since, limit=limit)
