"""Whether the process is alive, and whether what it needs is there."""

from __future__ import annotations

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from projections.web.api.models import Health
from projections.web.problems import away
from projections.web.state import parts_of

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def alive() -> Health:
    """Say that the process is alive, whatever else is away."""
    return Health(status="alive")


@router.get("/readyz", summary="Can it answer?", responses={200: {"model": Health}})
async def ready(request: Request) -> JSONResponse:
    """Say whether ClickHouse can be read and Kafka takes commands; 503 names what is away."""
    parts = parts_of(request)
    # Threads of its own: a look from outside must not wait behind a page full of slow questions.
    own = CapacityLimiter(2)
    found: dict[str, str] = {}

    async def database() -> None:
        found["database"] = await to_thread.run_sync(parts.reader.problem, limiter=own)

    async def kafka() -> None:
        answers = await to_thread.run_sync(parts.kafka_answers, limiter=own)
        found["kafka"] = "" if answers else "Kafka is away"

    async with anyio.create_task_group() as both:
        both.start_soon(database)
        both.start_soon(kafka)
    if wrong := "; ".join(filter(None, (found["database"], found["kafka"]))):
        raise away(wrong)
    return JSONResponse({"status": "ready"})
