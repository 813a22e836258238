"""Times as options take them."""

from __future__ import annotations

from datetime import UTC, datetime

from projections.queries.listing import QueryError


def parse_since(text: str | None) -> datetime | None:
    """Return the time of `--since` as UTC. Raises `QueryError` if it is none."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"--since {text!r} is no time; write it as 2026-11-24T10:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
