"""Dead letters, for operators only: they have no tenant, for nobody could read whose they are."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from projections.queries import dead_letters
from projections.web.api import models
from projections.web.auth import Operating
from projections.web.cursor import decode, encode
from projections.web.database import Reader
from projections.web.log_query import moment_of
from projections.web.params import CursorQuery, LimitQuery
from projections.web.problems import ProblemError, responses
from projections.web.row_models import row_shown
from projections.web.state import BASE
from schemas.events import milliseconds

router = APIRouter(prefix=BASE, tags=["dead letters"])
Small = Annotated[int, Path(ge=-1, lt=2**31)]


@router.get(
    "/dead-letters",
    summary="Records that could not be read",
    responses={200: {"model": models.Letters}, **responses()},
)
def listing(
    parts: Operating,
    topic: Annotated[str, Query(max_length=249, description="Only of this topic")] = "",
    reason: Annotated[str, Query(max_length=200, description="Part of the reason")] = "",
    replayed: Annotated[bool, Query(description="Also those replayed")] = False,  # noqa: FBT002
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> JSONResponse:
    """Return dead letters, the newest first, without their bytes."""
    rows, following = paged(
        parts.reader, topic=topic, reason=reason, replayed=replayed, limit=limit, cursor=cursor
    )
    return JSONResponse({"rows": [_letter(row) for row in rows], "next": following})


@router.get(
    "/dead-letters/{topic}/{partition}/{offset}/{element}",
    summary="One record that could not be read, with its bytes",
    responses={200: {"model": models.WholeLetter}, **responses(404)},
)
def whole(
    parts: Operating,
    topic: Annotated[str, Path(max_length=249)],
    partition: Small,
    offset: Annotated[int, Path(ge=-1, lt=2**63)],
    element: Small,
) -> JSONResponse:
    """Return a dead letter with its headers, and its bytes in base64."""
    row = found(parts.reader, dead_letters.Place(topic, partition, offset, element))
    return JSONResponse({**_letter(row), "headers": dict(row["headers"]), "raw": row["raw"]})


def paged(
    reader: Reader, *, topic: str, reason: str, replayed: bool, limit: int, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a page, without their bytes, and the cursor of the next, if there is one.

    Raises `ProblemError`, also for a cursor of another question.
    """
    identity, last = (topic, reason, replayed), None
    if cursor is not None:
        died_at, *place = decode(identity, cursor, (int, str, int, int, int))
        last = dead_letters.Last(moment_of(died_at), dead_letters.Place(*place))  # type: ignore[arg-type]
    with reader.asking() as client:
        rows = list(
            dead_letters.listed(
                client, reader.name, topic=topic, reason=reason, replayed=replayed,
                limit=limit + 1, brief=True, after=last,
            )
        )  # fmt: skip
    if len(rows) <= limit:
        return rows, None
    row = rows[limit - 1]
    at = [row[f"source_{name}"] for name in ("topic", "partition", "offset")]
    return rows[:limit], encode(identity, [milliseconds(row["died_at"]), *at, row["element"]])


def found(reader: Reader, place: dead_letters.Place) -> dict[str, Any]:
    """Return the dead letter of a place, whole. Raises a 404 problem if there is none."""
    with reader.asking() as client:
        row = dead_letters.one(client, reader.name, place)
    if row is None:
        raise ProblemError(HTTPStatus.NOT_FOUND, "no dead letter of that place")
    return row


def _letter(row: dict[str, Any]) -> dict[str, Any]:
    told = {name.removeprefix("source_"): value for name, value in row_shown(row).items()}
    return {name: told[name] for name in models.Letter.model_fields}
