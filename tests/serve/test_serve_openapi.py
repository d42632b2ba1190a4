"""Requests made up from /openapi.json, right and wrong ones: no fault of the server, and answers are as described."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from pertinent.engine.search import open_searcher
from pertinent.serve.app import create_app

COUNT = 300 if os.environ.get("PERTINENT_SLOW") else 8

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory, index_folder: Path, encoder_folder: Path) -> Iterator[Any]:
    """The description of a service whose collection may be changed."""
    own = tmp_path_factory.mktemp("made_up")
    shutil.copytree(index_folder.parent, own / "own")
    searcher = open_searcher(own / "own" / "index", encoder_folder)
    app = create_app({"small": searcher}, static=own / "none")
    yield schemathesis.openapi.from_asgi("/openapi.json", app, headers={"Host": "127.0.0.1"})
    searcher.index.close()


@pytest.mark.filterwarnings("ignore")
def test_every_route_answers_as_it_says(schema: Any):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    tried = 0
    for operation in schema.get_all_operations():
        for mode in schemathesis.GenerationMode:

            @given(case=operation.ok().as_strategy(generation_mode=mode))
            @settings(
                max_examples=COUNT,
                phases=(Phase.explicit, Phase.generate),
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: Any) -> None:
                case.call_and_validate(checks=wanted, headers={"Host": "127.0.0.1"})

            with suppress(Unsatisfiable):  # what takes nothing cannot be asked wrongly
                ask()
            tried += 1
    assert tried >= 28
