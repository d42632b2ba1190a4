"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import torch

from builders import run_recipe, write_pictures, write_recipe
from pertinent.engine.run import Run

# The same examples every time, kept nowhere, however slow the machine is at the moment.
hypothesis.settings.register_profile("pertinent", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("pertinent")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors are tiny here: more threads would only wait for each other, and for other work on the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for the programs that tests start
        torch.set_num_threads(1)
        yield


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and so would every program that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    """Every test draws the same random numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files are not forced to the disk, which no test could notice and a busy machine makes slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: None)  # noqa: ARG005
        yield


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Rendered pictures of the tests go to a folder of their own, never to the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERTINENT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden numbers that lies beside the checkout, or a skip."""
    folder = Path(os.environ.get("PERTINENT_SHARED", Path(__file__).parents[2] / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set PERTINENT_SHARED")
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of small pictures in the splits train, val and test; not to be changed."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A recipe of seconds on those pictures."""
    return write_recipe(tmp_path_factory.mktemp("recipes") / "small.yaml", pictures)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Run:
    """A run of that recipe that was never stopped; not to be changed."""
    return run_recipe(recipe_file, tmp_path_factory.mktemp("runs") / "small")
