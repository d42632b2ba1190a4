"""Embedding that is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pertinent.store import STORE_FILES, EmbeddingStore


def killed(folder: Path, kills: int, seed: int) -> list[int]:
    """How far the progress on disk was at each kill."""
    here = Path(__file__).parent
    command = [sys.executable, str(here / "embed_crash_worker.py"), str(folder), str(kills), str(seed)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert told.returncode == 0, told.stderr
    reached: list[int] = json.loads(told.stdout.splitlines()[-1])["reached"]
    return reached


def check(folder: Path) -> None:
    """The store is that of one go, to the last byte, and nothing else is left."""
    for name in STORE_FILES:
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes(), name
    store = EmbeddingStore.open(folder / "killed")
    assert (len(store), len(store.manifest["damaged"])) == (89, 1)
    assert sorted(path.name for path in folder.iterdir()) == ["killed", "pictures", "whole"]


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_twenty_random_moments_the_store_is_the_same(tmp_path: Path, seed: int):
    reached = killed(tmp_path, 20, seed)
    assert len(reached) == 20
    assert sum(0 < done < 90 for done in reached) >= 5, "kills in the middle"
    check(tmp_path)
