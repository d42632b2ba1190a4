"""Routes that search: by a picture, by pictures, by an item's id, by vectors, and by what was right and wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Request, UploadFile
from numpy.typing import NDArray

from pertinent.index import Where
from pertinent.serve import metadata
from pertinent.serve.answers import ErrorAnswer, Hits, Results
from pertinent.serve.collection import Collection, Query
from pertinent.serve.model import Model
from pertinent.serve.pictures import parse_region
from pertinent.serve.presenting import explanation, hits_of
from pertinent.serve.problems import Json, unknown
from pertinent.serve.refining import rocchio
from pertinent.serve.requests import IdBody, ImageForm, ImagesForm, RefineBody, Search, VectorBody
from pertinent.serve.service import Service

ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "refused, with what to do"},
    503: {"model": ErrorAnswer, "description": "too much under way; come back after Retry-After seconds"},
    504: {"model": ErrorAnswer, "description": "not done in time"},
}
MULTIPART = "multipart/form-data"

router = APIRouter(prefix="/v1/search", tags=["search"], responses=ERRORS)


@router.post("/image", response_model=Hits)
async def by_image(request: Request, form: Annotated[ImageForm, Form(media_type=MULTIPART)]) -> Json:
    """Find the items most like a picture, or like a part of it."""
    region = None if form.region is None else parse_region(form.region)
    asked = _Asked(request, form, metadata.wanted(form.metadata))
    with asked.service.room(1):
        vectors = await asked.embed([form.image], region)
        answer = await asked.hits(vectors)
    return Json(answer | ({"vector": vectors[0].tolist()} if form.with_vector else {}))


@router.post("/images", response_model=Results)
async def by_images(request: Request, form: Annotated[ImagesForm, Form(media_type=MULTIPART)]) -> Json:
    """Find the items most like each of several pictures."""
    asked = _Asked(request, form, metadata.wanted(form.metadata))
    with asked.service.room(len(form.images)):
        return Json(await asked.results(await asked.embed(form.images, None)))


@router.post("/id", response_model=Hits)
async def by_id(request: Request, body: IdBody) -> Json:
    """Find the items most like an item; the item itself is left out."""
    asked = _Asked(request, body, body.metadata)
    with asked.service.room(1):
        return Json(await asked.hits(asked.collection.vector(asked.begin_with(body.id))[None]))


@router.post("/vector", response_model=Hits | Results)
async def by_vector(request: Request, body: VectorBody) -> Json:
    """Find the items nearest to a vector, or to each of several."""
    asked = _Asked(request, body, body.metadata)
    vectors = asked.collection.vectors([body.vector] if body.one else body.vectors)
    with asked.service.room(1):
        return Json(await (asked.hits if body.one else asked.results)(vectors))


@router.post("/refine", response_model=Hits)
async def refine(request: Request, body: RefineBody) -> Json:
    """Search again with what was right and wrong among the hits; tells the better query's vector as well."""
    asked = _Asked(request, body, body.metadata)
    collection = asked.collection
    query = None
    if body.id is not None:
        query = collection.vector(asked.begin_with(body.id))
    elif body.with_vector:
        query = collection.vectors([body.vector])[0]
    marked = (_vectors(collection, body.relevant), _vectors(collection, body.irrelevant))
    refined = rocchio(query, *marked, (body.alpha, body.beta, body.gamma))
    with asked.service.room(1):
        return Json(await asked.hits(refined) | {"vector": refined[0].tolist()})


class _Asked:
    """One request to search: which model, among what, and how long each part took."""

    def __init__(self, request: Request, search: Search, wanted: Mapping[str, Any]) -> None:
        self.service: Service = request.app.state.service
        self.search, self.words = search, search.labels_of_query
        self.model: Model = self.service.model(search.model)
        self.collection: Collection = self.model.collection
        self.where = Where(tuple(search.labels), wanted) if search.labels or wanted else None
        self.timings: dict[str, float] = {}

    def begin_with(self, name: str) -> int:
        """Search with an item, which is left out of its own hits; its position."""
        position = self.collection.position(name)
        if position is None:
            raise unknown(name)
        where = self.where or Where()
        self.where = Where(where.labels, where.metadata, (name,))
        self.words = self.words or self.collection.item(position).words
        return position

    async def embed(self, uploads: Sequence[UploadFile], region: Any) -> NDArray[np.float32]:
        """Vectors of pictures."""
        contents = [await upload.read() for upload in uploads]
        return await self.service.embed(self.model, contents, region, self.timings)

    async def hits(self, vectors: NDArray[np.float32]) -> dict[str, Any]:
        """The answer to one query."""
        found = await self._find(vectors)
        return {"hits": hits_of(self.collection, found, 0, self.words), **self._told(found.total)}

    async def results(self, vectors: NDArray[np.float32]) -> dict[str, Any]:
        """The answer to several queries."""
        found = await self._find(vectors)
        rows = [{"hits": hits_of(self.collection, found, row, self.words)} for row in range(len(vectors))]
        return {"results": rows, **self._told(found.total)}

    async def _find(self, vectors: NDArray[np.float32]) -> Any:
        query = Query(vectors, self.search.k, self.search.offset, self.where)
        return await self.service.find(self.model, query, self.timings)

    def _told(self, total: int) -> dict[str, Any]:
        explained = {"explain": explanation(self.model, self.timings)} if self.search.explain else {}
        return {"total": total, **explained}


def _vectors(collection: Collection, names: Sequence[str]) -> NDArray[np.float32]:
    made = np.empty((len(names), collection.dim), np.float32)
    for row, name in enumerate(names):
        position = collection.position(name)
        if position is None:
            raise unknown(name)
        made[row] = collection.vector(position)
    return made
