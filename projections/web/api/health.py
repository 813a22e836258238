"""The endpoints of liveness and readiness."""

from __future__ import annotations

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
    away = await app_state(request).readiness.away()
    if away.database:
        raise unavailable("; ".join(filter(None, away)))
    health = Health(status="ready", missing=[*filter(None, away)])
    return JSONResponse(health.model_dump(exclude_defaults=True))
