"""Routes about the collection as a whole: its labels, what is served, its map."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

import pertinent
from pertinent.serve.answers import Info, LabelCounts, Map
from pertinent.serve.pictures import LARGEST_THUMBNAIL
from pertinent.serve.problems import Json
from pertinent.serve.routes_search import ERRORS
from pertinent.serve.service import Service
from pertinent.serve.settings import MAX_HITS, MAX_QUERIES

router = APIRouter(prefix="/v1", tags=["collection"], responses=ERRORS)

Chosen = Annotated[str | None, Query(max_length=1000, description="name of the model; default the first")]


@router.get("/labels", response_model=LabelCounts)
async def labels(request: Request, model: Chosen = None) -> Json:
    """Every label name with the number of items that carry it, level by level."""
    service: Service = request.app.state.service
    collection = service.model(model).collection
    return Json({"kind": collection.store.labels.kind, "levels": await service.apart(collection.label_counts)})


@router.get("/info", response_model=Info)
async def info(request: Request) -> Json:
    """What is served: models, their indexes, stages, counts and fingerprints, and the limits."""
    service: Service = request.app.state.service
    settings = service.settings
    return Json(
        {
            "version": pertinent.__version__,
            "models": [model.facts() for model in service.models.values()],
            "labels": service.default.collection.store.labels.kind,
            "changeable": service.changeable,
            "limits": {
                "k": settings.max_k,
                "results": MAX_HITS,
                "queries": MAX_QUERIES,
                "upload_bytes": settings.upload_bytes,
                "pixels": settings.pixels,
                "thumbnail": LARGEST_THUMBNAIL,
                "seconds": settings.time_limit,
            },
        }
    )


@router.get("/map", response_model=Map, responses={202: {"model": Map, "description": "ask again in a while"}})
async def map_(request: Request, model: Chosen = None) -> Json:
    """A sample of the items laid out in the plane; it is computed once, 202 until that is done."""
    service: Service = request.app.state.service
    chosen = service.model(model)
    points = await service.apart(service.projection(chosen).points)
    state = "computing" if points is None else "ready"
    answer = {"points": points or [], "state": state, "of": len(chosen.collection)}
    return Json(answer, 202 if points is None else 200)
