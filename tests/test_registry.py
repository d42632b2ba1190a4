from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pertinent.data.datasets import DATASETS
from pertinent.data.samplers import SAMPLERS
from pertinent.errors import ConfigError, UnknownNameError
from pertinent.index import INDEXES
from pertinent.losses import LOSSES
from pertinent.metrics import METRICS
from pertinent.registry import Entry, Registry
from pertinent.stages import STAGES

ALL = [LOSSES, METRICS, DATASETS, SAMPLERS, INDEXES, STAGES]


@pytest.fixture
def colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A package of two colours, one of which cannot be imported."""
    folder = tmp_path / "colours"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "red.py").write_text(
        '"""Module words."""\n__all__ = ["Red", "helper"]\n\n\nclass Red:\n'
        '    """The colour of\n    apples.\n\n    More words."""\n'
        "    def __init__(self, depth: int, shade: float = 0.5) -> None:\n"
        "        self.depth, self.shade = depth, shade\n"
        "def helper() -> None: ...\n"
    )
    (folder / "blue.py").write_text('"""The colour of the sky."""\n__all__ = ["blue"]\nraise ImportError("no sky")\n')
    (folder / "_parts.py").write_text("no python at all (")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry("colour", "colours", folder)
    for name in [name for name in sys.modules if name.split(".")[0] == "colours"]:
        del sys.modules[name]


def test_listing_reads_files_and_imports_none(colours: Registry) -> None:
    assert colours.names() == ["blue", "red"]
    assert colours.entries["red"] == Entry("red", "Red", "The colour of apples.")
    assert colours.entries["blue"] == Entry("blue", "blue", "The colour of the sky.")
    assert colours.objects == {"blue": "blue", "Red": "red"}
    assert not any(name.startswith("colours.") for name in sys.modules)


def test_get_imports_one_and_suggests_the_near_name(colours: Registry) -> None:
    assert colours.get("red").__name__ == "Red"
    with pytest.raises(UnknownNameError, match="unknown colour 'rad'; did you mean 'red'"):
        colours.get("rad")


def test_options_and_their_types(colours: Registry) -> None:
    assert list(colours.options("red")) == ["depth", "shade"]
    assert colours.options("red")["shade"].default == 0.5
    assert {key: colours.types("red")[key] for key in ("depth", "shade")} == {"depth": int, "shade": float}


def test_unknown_options_are_all_told(colours: Registry) -> None:
    problems = colours.check_options("red", {"shad": 1, "depth": 2, "size": 3}, "paint")
    assert problems == [
        "paint.shad: unknown option; did you mean 'shade'?",
        "paint.size: unknown option; known: depth, shade",
    ]
    with pytest.raises(ConfigError, match=r"red\.shad: unknown option"):
        colours.build("red", shad=1)


def test_build(colours: Registry) -> None:
    red = colours.build("red", depth=3)
    assert (red.depth, red.shade) == (3, 0.5)
    with pytest.raises(UnknownNameError, match="green"):
        colours.build("green")


def test_objects_are_importable_from_the_package(colours: Registry) -> None:
    assert colours.lazy_attribute("Red") is colours.get("red")
    with pytest.raises(AttributeError, match="'colours' has no attribute 'Green'"):
        colours.lazy_attribute("Green")


def test_a_member_without_all_is_a_mistake_of_its_author(tmp_path: Path) -> None:
    (tmp_path / "grey.py").write_text("class Grey: ...\n")
    with pytest.raises(RuntimeError, match=r"grey\.py must list its public object first in __all__"):
        Registry("colour", "colours", tmp_path).names()


@pytest.mark.parametrize("registry", ALL, ids=lambda registry: registry.what)
def test_every_registered_thing_is_there_and_says_what_it_is(registry: Registry) -> None:
    assert registry.names() == sorted(registry.names())
    package = sys.modules[registry.package]
    for name, entry in registry.entries.items():
        assert len(entry.summary) > 10
        assert getattr(package, entry.object_name) is registry.get(name)
        assert entry.object_name in dir(package)
    with pytest.raises(AttributeError):
        package.Nothing  # noqa: B018
