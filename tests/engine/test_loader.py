from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pertinent.data.images import ArraySource, FolderSource
from pertinent.data.samplers import MPerClassSampler
from pertinent.data.table import ImageTable
from pertinent.data.transforms import Augment, Preprocess
from pertinent.engine.loader import (
    Pictures,
    SeededBatches,
    collate,
    compact_labels,
    training_loader,
)
from pertinent.errors import DataError, ImageError, InputError

COUNT = 12
PIXELS = np.random.default_rng(0).integers(0, 255, (COUNT, 20, 16, 3), dtype=np.uint8)
TABLE = ImageTable([str(i) for i in range(COUNT)], ArraySource(PIXELS), "classes", np.arange(COUNT) // 3)
PREPROCESS = Preprocess(resize=None, crop=16)
AUGMENT = Augment(colour_jitter=(0.5, 0.5, 0.5, 0.1)).build(PREPROCESS)


def batches(seed: int = 0) -> SeededBatches:
    return SeededBatches(MPerClassSampler(TABLE.labels, batch_size=4, per_class=2, seed=seed), seed)


@pytest.fixture
def damaged(tmp_path: Path) -> ImageTable:
    """Five pictures, of which the third is cut and the fifth is missing."""
    names = [f"{i}.png" for i in range(5)]
    for number, name in enumerate(names[:4]):
        Image.fromarray(PIXELS[number]).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:200])
    return ImageTable(names, FolderSource(tmp_path, names))


# --- pictures


def test_the_seed_alone_decides_the_augmentation():
    pictures = Pictures(TABLE, AUGMENT, skip=False)
    row, first = pictures[3, 77]
    assert row == 3
    torch.rand(5)
    pictures[2, 5]
    assert torch.equal(pictures[3, 77][1], first)
    assert torch.equal(pickle.loads(pickle.dumps(pictures))[3, 77][1], first)
    assert not torch.equal(pictures[3, 78][1], first)


def test_loading_leaves_the_random_state_of_training_alone():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    assert len(list(training_loader(Pictures(TABLE, AUGMENT, skip=False), batches(), workers=0))) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_a_damaged_picture_comes_back_as_its_error(damaged: ImageTable):
    pictures = Pictures(damaged, PREPROCESS.build(), skip=False)
    row, error = pictures[2, 0]
    assert row == 2
    assert isinstance(error, ImageError)
    assert error.where.endswith("2.png")
    assert pictures[1, 0][1].shape == (3, 16, 16)


# --- batches


def test_every_row_of_every_epoch_has_a_seed_of_its_own():
    seeded = batches()
    seen = []
    for epoch in range(3):
        seeded.set_epoch(epoch)
        seen += [pair for batch in seeded for pair in batch]
    assert len(seeded) == 2
    assert len(seen) == 3 * 2 * 4
    assert len({seed for _, seed in seen}) == len(seen)
    again = batches()
    again.set_epoch(2)
    assert [pair for batch in again for pair in batch] == seen[-8:]
    other = batches(seed=1)
    assert [pair for batch in other for pair in batch] != seen[:8]


@pytest.mark.parametrize("start", [0, 1, 2, 5])
def test_an_epoch_may_begin_in_its_middle(start: int):
    seeded = batches()
    seeded.set_epoch(1)
    whole = list(seeded)
    seeded.set_epoch(1, start)
    assert list(seeded) == whole[start:]
    seeded.set_epoch(1)
    assert list(seeded) == whole


def test_collate_joins_the_good_and_names_the_damaged():
    error = ImageError("b.png", "truncated")
    batch = collate([(4, torch.ones(3, 2, 2)), (9, error), (7, torch.zeros(3, 2, 2))])
    assert batch.pixels.shape == (2, 3, 2, 2)
    assert batch.rows.tolist() == [4, 7]
    assert batch.rows.dtype == torch.int64
    assert batch.damaged == [error]
    nothing = collate([(9, error)])
    assert (len(nothing.pixels), len(nothing.rows)) == (0, 0)


def test_pictures_of_different_sizes_do_not_make_a_batch():
    with pytest.raises(InputError, match=r"sizes \[\(2, 2\), \(2, 3\)\]; set preprocess\.crop to make them equal"):
        collate([(0, torch.ones(3, 2, 3)), (1, torch.ones(3, 2, 2))])


# --- loaders


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_are_the_samplers(workers: int):
    seeded = batches()
    wanted = [[row for row, _ in batch] for batch in seeded]
    pictures = Pictures(TABLE, AUGMENT, skip=False)
    loaded = list(training_loader(pictures, seeded, workers))
    assert [batch.rows.tolist() for batch in loaded] == wanted
    for batch, pairs in zip(loaded, seeded, strict=True):
        for pixels, pair in zip(batch.pixels, pairs, strict=True):
            assert torch.equal(pixels, pictures[pair][1])


@pytest.mark.parametrize("workers", [0, 1])
def test_damaged_pictures_raise_or_are_passed_over(damaged: ImageTable, workers: int):
    seeded = [[(0, 1), (1, 1)], [(2, 1), (3, 1)], [(4, 1)]]
    good: list[int] = []
    said = r"2\.png: truncated or damaged .*\(or leave out damaged pictures: data\.on_error=skip, or --on-error skip"
    with pytest.raises(ImageError, match=said):  # noqa: PT012
        for batch in training_loader(Pictures(damaged, AUGMENT, skip=False), seeded, workers):
            good += batch.rows.tolist()
    assert good == [0, 1]
    loaded = list(training_loader(Pictures(damaged, AUGMENT, skip=True), seeded, workers))
    assert [batch.rows.tolist() for batch in loaded] == [[0, 1], [3], []]
    assert [Path(error.where).name for batch in loaded for error in batch.damaged] == ["2.png", "4.png"]


# --- labels


def table(kind: Any, labels: np.ndarray) -> ImageTable:
    return ImageTable([str(i) for i in range(len(labels))], ArraySource(PIXELS[: len(labels)]), kind, labels)


def test_compact_labels_count_from_zero_and_keep_the_unlabelled():
    tree = np.array([[70, 3], [5, 3], [-1, 9], [70, -1]])
    assert compact_labels(table("tree", tree)).tolist() == [[1, 0], [0, 0], [-1, 1], [1, -1]]
    assert tree[0, 0] == 70, "the table is left alone"
    big = np.array([2**62, 2**62 + 1, -1, 2**62])
    assert compact_labels(table("classes", big)).tolist() == [0, 1, -1, 0]
    assert compact_labels(table("classes", np.array([-1, -1]))).tolist() == [-1, -1]
    tags = np.array([[True, False], [False, False]])
    assert np.array_equal(compact_labels(table("tags", tags)), tags)


@pytest.mark.parametrize("kind", ["none", "judged"])
def test_labels_that_losses_do_not_take(kind: str):
    with pytest.raises(DataError, match=f"needs labels of kind classes, tree or tags; this data set has '{kind}'"):
        compact_labels(table(kind, np.zeros(3, np.int64)))
