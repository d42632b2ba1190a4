"""Routes about the items of the collection: lists of them, what is known of one, its picture, adding and deleting."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from pertinent.index import Where
from pertinent.serve import metadata
from pertinent.serve.answers import Item, Items
from pertinent.serve.pictures import LARGEST_THUMBNAIL, file_of, thumbnail
from pertinent.serve.presenting import item_of
from pertinent.serve.problems import Json
from pertinent.serve.requests import AddForm, ItemsQuery
from pertinent.serve.routes_search import ERRORS, MULTIPART
from pertinent.serve.service import Service
from pertinent.serve.uploads import NewItem

router = APIRouter(prefix="/v1", tags=["collection"], responses=ERRORS)

Width = Annotated[int | None, Query(ge=1, le=LARGEST_THUMBNAIL, description="a JPEG of at most so many pixels a side")]
# Whatever is in the file, a browser shows it as a picture and runs nothing.
ALONE = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, max-age=300"}


@router.get("/items", response_model=Items)
async def items(request: Request, asked: Annotated[ItemsQuery, Query()]) -> Json:
    """Items in their order, or some drawn by chance."""
    service: Service = request.app.state.service
    collection = service.model(asked.model).collection
    where = Where(tuple(asked.label), metadata.wanted(asked.metadata))
    if asked.random is not None:
        positions, total = await service.apart(collection.sample, where, asked.random)
    else:
        positions, total = await service.apart(collection.listing, where, asked.prefix, asked.offset, asked.limit)
    return Json({"items": [item_of(collection, position) for position in positions], "total": total})


# Ids may hold slashes, so the longer address is looked at first.
@router.get("/items/{item:path}/image", response_class=Response, responses={304: {"description": "as it was"}})
async def picture(request: Request, item: str, w: Width = None) -> Response:
    """The picture of an item, as its file is, or made small with `w`."""
    service: Service = request.app.state.service
    collection, position = service.locate(item)
    place = service.uploads.find(collection.item(position).place)
    # An item that is replaced has another position.
    headers = {**ALONE, "ETag": f'"{collection.fingerprint[:16]}-{position}-{w or ""}"'}
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    with service.room(1):
        if w is not None:
            return Response(await service.apart(thumbnail, place, w), media_type="image/jpeg", headers=headers)
        content, kind = await service.apart(file_of, place)
    return Response(content, media_type=kind, headers=headers)


@router.get("/items/{item:path}", response_model=Item)
async def item_(request: Request, item: str) -> Json:
    """What is known of an item."""
    service: Service = request.app.state.service
    return Json(item_of(*service.locate(item)))


@router.post("/items", response_model=Item, status_code=201, responses={200: {"model": Item}})
async def add(request: Request, form: Annotated[AddForm, Form(media_type=MULTIPART)]) -> Json:
    """Add a picture to the collection, or replace one (200); it is on the disk when this is answered."""
    service: Service = request.app.state.service
    new = NewItem(await form.image.read(), form.id, form.labels, metadata.known(form.metadata))
    with service.room(len(service.models)):
        replaced = await service.add(new)
    return Json(item_of(*service.locate(new.id)), 200 if replaced else 201)


@router.delete("/items/{item:path}", status_code=204)
async def delete(request: Request, item: str) -> Response:
    """Delete an item; it is gone from the disk when this is answered."""
    service: Service = request.app.state.service
    await service.delete(item)
    return Response(status_code=204)
