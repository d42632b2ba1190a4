"""The command that serves an index over HTTP."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pertinent.errors import ConfigError

if TYPE_CHECKING:
    from pertinent.engine.search import Searcher


def serve(
    target: Annotated[Path, typer.Argument(help="A run folder, or an index folder with --model.")],
    model: Annotated[Path | None, typer.Option(help="Encoder folder, where the target is an index.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="Another run, or INDEX=ENCODER, of the same items to serve beside it; may be repeated."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Default 8000; 0 takes a free one.")] = None,
    token: Annotated[
        str | None, typer.Option(help="Clients must show it; better set in PERTINENT_SERVE_TOKEN.")
    ] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Web pages of it may ask; may be repeated.")] = None,
    upload_bytes: Annotated[int | None, typer.Option(help="Largest request.")] = None,
    pixels: Annotated[int | None, typer.Option(help="Largest picture, width times height.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds for one request.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second of one client; 0 does not limit.")] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once before --rate holds a client back.")] = None,
    max_k: Annotated[int | None, typer.Option(help="Most results of one query.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures through the network together.")] = None,
    batch_wait: Annotated[float | None, typer.Option(help="Milliseconds to wait for others.")] = None,
    queue: Annotated[int | None, typer.Option(help="Pictures and searches under way at once.")] = None,
    threads: Annotated[int | None, typer.Option(help="That decode pictures.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
) -> None:
    """Serve an index over HTTP, with a search page: by picture, id or vector. Also set by PERTINENT_SERVE_*."""
    given = ("target", "model", "compare", "origin")
    options = {name: value for name, value in locals().items() if name not in (*given, "given")}
    from pertinent.serve import check_libraries
    from pertinent.serve.settings import ServeSettings

    check_libraries()
    settings = ServeSettings.read(os.environ, {**options, "origins": origin or None})

    from pertinent.cli import screen
    from pertinent.serve import app

    searchers = open_searchers(target, model, compare or ())
    listening = app.listen(settings)
    with listening:
        application = app.create_app(searchers, settings)
        name, number = listening.getsockname()[:2]
        place = f"http://{f'[{name}]' if ':' in name else name}:{number}"
        items = len(next(iter(searchers.values())).index)
        models = f" by {len(searchers)} models ({', '.join(searchers)})" if len(searchers) > 1 else ""
        screen.out.print(f"serving {items:,} items{models} on {place}; stop with Ctrl-C", soft_wrap=True)
        app.serve(application, listening)


def open_searchers(target: Path, model: Path | None, compare: Sequence[str]) -> dict[str, Searcher]:
    """The searcher of the target and those to compare it with, by the names of their folders.

    Raises:
        ConfigError: one is given twice.
        StorageError: one that cannot be opened.
    """
    from pertinent.engine.search import open_searcher

    pairs = [(target, model)]
    for word in compare:
        folder, _, encoder = (word, "", "") if Path(word).is_dir() else word.partition("=")
        pairs.append((Path(folder), Path(encoder) if encoder else None))
    names = [folder.resolve().name for folder, _ in pairs]
    # Those of one name in different folders are told apart by their paths.
    names = [name if names.count(name) == 1 else str(folder) for name, (folder, _) in zip(names, pairs, strict=True)]
    if len(set(names)) < len(names):
        raise ConfigError([f"{name} is given twice" for name in sorted(set(names)) if names.count(name) > 1], "serve")
    return {name: open_searcher(*pair) for name, pair in zip(names, pairs, strict=True)}
