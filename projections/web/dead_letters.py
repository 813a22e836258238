"""Dead letters, page by page and one by one, for operators: they belong to no tenant."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Path

from projections.queries.dead_letters import (
    LastLetter,
    LetterPlace,
    find_dead_letter,
    list_dead_letters,
)
from projections.web.cursor import cursor_time, decode_cursor, encode_cursor
from projections.web.database import ReadOnlyDatabase
from projections.web.problems import ProblemError
from schemas.events import milliseconds

TopicPath = Annotated[str, Path(max_length=249, examples=["email.events.ses"])]
PartitionPath = Annotated[int, Path(ge=-1, lt=2**31, examples=[1])]
OffsetPath = Annotated[int, Path(ge=-1, lt=2**63, examples=[1487])]
ElementPath = Annotated[int, Path(ge=-1, lt=2**31, examples=[-1])]


def dead_letters_page(
    database: ReadOnlyDatabase,
    *,
    topic: str,
    reason: str,
    replayed: bool,
    limit: int,
    cursor: str | None,
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a page, without bytes and headers, and the cursor of the next or None.

    Raises `ProblemError`, also for a cursor of another query.
    """
    identity, after = (topic, reason, replayed), None
    if cursor is not None:
        died_at, *place = decode_cursor(identity, cursor, (int, str, int, int, int))
        after = LastLetter(cursor_time(died_at), LetterPlace(*place))  # type: ignore[arg-type]
    with database.client() as client:
        rows = list(
            list_dead_letters(
                client, database.name, topic=topic, reason=reason, replayed=replayed,
                limit=limit + 1, brief=True, after=after,
            )
        )  # fmt: skip
    if len(rows) <= limit:
        return rows, None
    last = rows[limit - 1]
    place = [last[f"source_{name}"] for name in ("topic", "partition", "offset")]
    position = [milliseconds(last["died_at"]), *place, last["element"]]
    return rows[:limit], encode_cursor(identity, position)


def dead_letter_at(database: ReadOnlyDatabase, place: LetterPlace) -> dict[str, Any]:
    """Return the row of a dead letter, its bytes in base64. Raises a 404 problem without one."""
    with database.client() as client:
        row = find_dead_letter(client, database.name, place)
    if row is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "no dead letter of that place")
    return row
