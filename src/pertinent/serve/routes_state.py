"""Routes about the process: is it alive, is it ready, what has it counted."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from pertinent.serve.answers import ErrorAnswer
from pertinent.serve.problems import Json, Problem
from pertinent.serve.service import Service

router = APIRouter(tags=["state"])


@router.get("/healthz")
async def healthz() -> Json:
    """The process is alive."""
    return Json({"status": "alive"})


@router.get("/readyz", responses={503: {"model": ErrorAnswer}})
async def readyz(request: Request) -> Json:
    """Model and index are loaded, belong together and are at work."""
    service: Service = request.app.state.service
    if not service.ready:
        raise Problem(503, "the service is starting, stopping or broken", "look at its log", {"Retry-After": "1"})
    return Json({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Counts and times in Prometheus' text format."""
    service: Service = request.app.state.service
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
