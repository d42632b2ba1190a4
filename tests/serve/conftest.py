"""A small collection with an untrained encoder, served within the test or by a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from serve_parts import Serving
from starlette.testclient import TestClient

from builders import SIDE
from pertinent.data.datasets.folder import Folder
from pertinent.data.transforms import Preprocess
from pertinent.engine.embed import embed_table
from pertinent.engine.search import Searcher, open_searcher
from pertinent.index import Index
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.serve.app import create_app
from pertinent.serve.settings import ServeSettings


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained encoder, saved."""
    torch.manual_seed(0)
    parts = EncoderConfig(backbone="test_resnet", dim=8, layer_norm="before")
    preprocess = Preprocess(resize=SIDE, crop=SIDE, mean=(0.5,) * 3, std=(0.25,) * 3)
    folder = tmp_path_factory.mktemp("encoders") / "small"
    Encoder(parts, preprocess).save(folder)
    return folder


@pytest.fixture(scope="session")
def index_folder(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, pictures: Path) -> Path:
    """An exact index over the training pictures, 24 items of a tree of labels."""
    folder = tmp_path_factory.mktemp("indexes")
    store = embed_table(Encoder.load(encoder_folder), Folder(pictures).split("train"), folder / "store")
    Index.build(store).save(folder / "index")
    return folder / "index"


@pytest.fixture(scope="session")
def searcher(index_folder: Path, encoder_folder: Path) -> Searcher:
    """Encoder and index."""
    return open_searcher(index_folder, encoder_folder)


@pytest.fixture
def serving(searcher: Searcher, tmp_path: Path) -> Serving:
    """Serve within the test: `with serving(token=...) as client`; words are settings and the arguments below.

    `also` has further models by name.
    """

    @contextmanager
    def start(
        searcher: Searcher = searcher,
        static: Path = tmp_path / "none",
        also: dict[str, Searcher] | None = None,
        **settings: Any,
    ) -> Iterator[TestClient]:
        app = create_app({"small": searcher, **(also or {})}, ServeSettings(**settings), static)
        with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
            yield client

    return start


@pytest.fixture(scope="module")
def client(searcher: Searcher, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The service with its defaults."""
    app = create_app({"small": searcher}, static=tmp_path_factory.mktemp("none"))
    with TestClient(app, "http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client
