"""Answers about what went wrong: a status and JSON `{error, hint}`, always."""

from __future__ import annotations

import json
import logging
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from PIL import Image, UnidentifiedImageError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import JSONResponse

from pertinent.errors import ImageError, InputError, PertinentError, UnknownNameError
from pertinent.serve.collection import UnchangeableError

log = logging.getLogger("pertinent.serve")

LONGEST = 500
HINTS = {
    400: "send a body as /openapi.json describes it",
    404: "see /openapi.json for what there is",
    405: "see /openapi.json for the methods of this address",
    422: "see /openapi.json for what this address takes",
}


class Problem(HTTPException):
    """A request that is refused, with what to do about it."""

    def __init__(self, status: int, error: str, hint: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, error, headers)
        self.hint = hint


class Json(JSONResponse):
    """JSON in ASCII, whatever an id or a client's text holds; not to be kept by anyone on the way."""

    def __init__(self, content: Any, status_code: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status_code, {"Cache-Control": "no-store", **(headers or {})})

    def render(self, content: Any) -> bytes:
        """The bytes of the body."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def busy() -> Problem:
    """As much is under way as the service takes on."""
    return Problem(503, "as much is under way as fits", "come back in a second", {"Retry-After": "1"})


def unknown(name: str) -> Problem:
    """There is no item of that id."""
    return Problem(404, f"no item has the id {name[:200]!r}", "ids are in the answers of a search; they are exact")


def unwritable() -> Problem:
    """A change could not be written."""
    return Problem(503, "the collection cannot be written", "send it again later; the service's log says why")


def late(seconds: float) -> Problem:
    """The time for a request is over."""
    return Problem(504, f"not done within {seconds:g} s", "ask for less at once, or try again when there is less to do")


def answer(problem: StarletteHTTPException) -> Json:
    """The response that says what is wrong."""
    hint = problem.hint if isinstance(problem, Problem) else HINTS.get(problem.status_code, HINTS[422])
    body = {"error": str(problem.detail)[:LONGEST], "hint": hint}
    return Json(body, problem.status_code, dict(problem.headers or {}))


def of_error(error: PertinentError) -> Problem:
    """What an error of the layers below means to a client."""
    if isinstance(error, ImageError):
        return _of_picture(error)
    if isinstance(error, InputError | UnknownNameError):
        return Problem(422, str(error), HINTS[422])
    if isinstance(error, UnchangeableError):
        return Problem(409, str(error), "serve an index that was saved in a folder")
    log.error("%s", error)
    return Problem(500, "the collection cannot be read", "the service's log says more")


def _of_picture(error: ImageError) -> Problem:
    if isinstance(error.__cause__, UnidentifiedImageError):
        return Problem(415, str(error), "send JPEG, PNG, WebP or another common format of photographs")
    if isinstance(error.__cause__, Image.DecompressionBombError) or "more than the limit" in error.reason:
        return Problem(413, str(error), "make the picture smaller")
    return Problem(422, str(error), "save the picture anew, as an ordinary JPEG or PNG")


def _of_values(error: RequestValidationError) -> Problem:
    said = []
    for item in error.errors()[:5]:
        where = ".".join(str(part) for part in item["loc"] if part not in ("body", "query", "path"))
        message = item["msg"].removeprefix("Value error, ")
        said.append(f"{where}: {message}" if where else message)
    return Problem(422, "; ".join(said), HINTS[422])


def install(app: FastAPI) -> None:
    """Answer every error of the application as JSON."""

    async def http(_: Request, error: Exception) -> Json:
        assert isinstance(error, StarletteHTTPException)
        return answer(error)

    async def values(_: Request, error: Exception) -> Json:
        assert isinstance(error, RequestValidationError)
        return answer(_of_values(error))

    async def ours(_: Request, error: Exception) -> Json:
        assert isinstance(error, PertinentError)
        return answer(of_error(error))

    app.add_exception_handler(StarletteHTTPException, http)
    app.add_exception_handler(RequestValidationError, values)
    app.add_exception_handler(PertinentError, ours)
