"""The endpoints of liveness and readiness."""

from __future__ import annotations

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from projections.web.api.models import Health
from projections.web.problems import unavailable
from projections.web.state import app_state

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="Is the process alive?")
async def get_liveness() -> Health:
    """Return that the process is alive, also while ClickHouse or Kafka is away."""
    return Health(status="alive")


@router.get("/readyz", summary="Can it answer?", responses={200: {"model": Health}})
async def get_readiness(request: Request) -> JSONResponse:
    """Return whether ClickHouse can be read; 503 says why not.

    While Kafka is away the log can be read, but nobody can be taken off the blacklist: `missing`
    says so, and the answer stays 200.
    """
    state = app_state(request)
    # Threads of its own, because slow queries may occupy all others.
    threads = CapacityLimiter(2)
    reasons = {"database": "", "kafka": ""}

    async def check_database() -> None:
        check = state.database.unavailable_reason
        reasons["database"] = await to_thread.run_sync(check, limiter=threads)

    async def check_kafka() -> None:
        if not await to_thread.run_sync(state.kafka_answers, limiter=threads):
            reasons["kafka"] = "Kafka is away: commands are refused"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check_database)
        tasks.start_soon(check_kafka)
    if reasons["database"]:
        raise unavailable("; ".join(filter(None, reasons.values())))
    health = Health(status="ready", missing=[reasons["kafka"]] if reasons["kafka"] else [])
    return JSONResponse(health.model_dump(exclude_defaults=True))
