"""The application: service, routes and guard together; and the server that runs it."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

import pertinent
from pertinent.engine.search import Searcher
from pertinent.errors import StorageError
from pertinent.serve import problems, routes_collection, routes_items, routes_search, routes_state
from pertinent.serve.guard import Guard
from pertinent.serve.pictures import pixel_limit
from pertinent.serve.service import Service
from pertinent.serve.settings import ServeSettings

STATIC = Path(__file__).with_name("static")
BACKLOG = 2048


class Page(StaticFiles):
    """Files of the web page; a browser asks each time whether one has changed, so that all are of one version."""

    def file_response(self, *words: Any, **options: Any) -> Response:
        """One file."""
        response = super().file_response(*words, **options)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(
    searchers: Mapping[str, Searcher], settings: ServeSettings | None = None, static: Path = STATIC
) -> FastAPI:
    """The service as an ASGI application, for any server.

    Its threads run between start and end of the application; while it runs, no picture in the process may have more
    pixels than the settings say.

    Args:
        searchers: encoder and index of each model by name, the default first; see
            `pertinent.engine.search.open_searcher`.
        settings: default `ServeSettings()`.
        static: folder of the web page, served at `/` where it holds an index.html.
    """
    settings = settings or ServeSettings()
    service = Service(searchers, settings)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with pixel_limit(settings.pixels):
            yield
        service.close()

    app = FastAPI(
        title="Pertinent",
        summary="Search a collection of pictures",
        version=pertinent.__version__,
        lifespan=life,
        # Their pages would load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    problems.install(app)
    for routes in (routes_search, routes_items, routes_collection, routes_state):
        app.include_router(routes.router)
    if (static / "index.html").is_file():
        app.mount("/", Page(directory=static, html=True))
    dim = max(model.collection.dim for model in service.models.values())
    app.add_middleware(Guard, settings=settings, metrics=service.metrics, dim=dim)
    return app


def listen(settings: ServeSettings) -> socket.socket:
    """A socket that listens on the address of the settings; raises StorageError where it cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # Named as TCP: else asyncio lets small answers wait for the client's acknowledgement, 40 ms each.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host.strip("[]"), settings.port))
        listening.listen(BACKLOG)  # so that whoever is told the address may come at once
    except OSError as error:
        listening.close()
        raise StorageError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror or error}); choose another --port"
        ) from error
    return listening


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Run an application on a socket until it is told to stop."""
    # It tells of every malformed body, which is the client's affair.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(app, access_log=False, log_level="warning", server_header=False, lifespan="on")
    uvicorn.Server(config).run([listening])
