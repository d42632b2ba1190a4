"""The public surface, and what importing it costs: every case runs in a fresh interpreter."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest

import pertinent

HEAVY = {"torch", "torchvision", "timm", "numpy", "matplotlib", "sklearn", "numba", "pydantic"}


def loaded_after(code: str) -> set[str]:
    """Heavy modules that are loaded once `code` has run."""
    script = f"{code}\nimport sys\nprint('loaded', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stdout.rpartition("loaded")[2].split())


def test_importing_loads_nothing_heavy() -> None:
    assert loaded_after("import pertinent") == set()


@pytest.mark.parametrize("words", ["--help", "train --help", "search --help", "list --help"])
def test_help_loads_nothing_heavy(words: str) -> None:
    # Some versions of typer bring pydantic, which is quick.
    assert loaded_after(f"import sys; sys.argv[1:] = {words.split()}\n{CALL}") <= {"pydantic"}


def test_lists_load_no_torch() -> None:
    kinds = ["losses", "metrics", "datasets", "samplers", "indexes", "stages", "recipes"]
    code = f"from pertinent.cli.listing import show_list\nfor kind in {kinds}: show_list(kind, '')"
    assert not {"torch", "torchvision", "timm"} & loaded_after(code)


CALL = """
from pertinent.cli.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


def test_every_public_name_is_there() -> None:
    assert set(pertinent.__all__) == set(dir(pertinent))
    for name in pertinent.__all__:
        assert getattr(pertinent, name) is not None
    assert pertinent.Index.__module__ == "pertinent.index._index"
    assert pertinent.evaluate.__name__ == "evaluate"


def test_the_names_other_code_relies_on() -> None:
    wanted = {"Relevance", "evaluate", "Report", "Encoder", "EmbeddingStore", "Index", "Hits"}
    assert wanted <= set(pertinent.__all__)


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'pertinent' has no attribute 'Nothing'"):
        _ = pertinent.Nothing


def test_version() -> None:
    assert pertinent.__version__ == importlib.metadata.version("pertinent")
