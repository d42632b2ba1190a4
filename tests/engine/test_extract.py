from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pertinent.data.images import ArraySource, FolderSource
from pertinent.data.table import ImageTable
from pertinent.data.transforms import Preprocess
from pertinent.engine import extract
from pertinent.engine.extract import Extraction
from pertinent.errors import ImageError, InputError
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.models.views import Views

COUNT = 23
SIZES = [(32, 48), (48, 32), (40, 40)]


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    parts = EncoderConfig(backbone="test_resnet", pool="gem", dim=6)
    return Encoder(parts, Preprocess(resize=None, crop=None)).eval()


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    """Pictures of three sizes, in no order."""
    rng = np.random.default_rng(0)
    names = [f"{number}.png" for number in range(COUNT)]
    for name in names:
        height, width = SIZES[rng.integers(3)]
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(tmp_path / name)
    return ImageTable(names, FolderSource(tmp_path, names))


def all_of(extraction: Extraction, table: ImageTable, rows: range) -> tuple[dict[int, torch.Tensor], list[list[int]]]:
    vectors, batches = {}, []
    for window in extraction.windows(table, rows):
        for places, made in window.embeddings():
            batches.append(places)
            vectors.update(zip(places, made, strict=True))
    return vectors, batches


@pytest.mark.parametrize("workers", [0, 1])
@torch.no_grad()
def test_pictures_of_one_size_go_together_and_are_as_if_alone(encoder: Encoder, table: ImageTable, workers: int):
    vectors, batches = all_of(Extraction(encoder, 3, workers), table, range(COUNT))
    assert sorted(vectors) == list(range(COUNT))
    for row in range(COUNT):
        torch.testing.assert_close(vectors[row], encoder.embed([table.read(row)])[0])
    sizes = [{table.read(row).size for row in batch} for batch in batches]
    assert all(len(found) == 1 for found in sizes)
    assert max(map(len, batches)) == 3
    assert len(batches) < COUNT / 1.5


@torch.no_grad()
def test_the_parts_of_the_work_are_equal_to_the_whole_bit_by_bit(encoder: Encoder, table: ImageTable):
    extraction = Extraction(encoder, 3)
    assert extraction.window == 3 * extract.BATCHES
    whole, batches = all_of(extraction, table, range(COUNT))
    first, one = all_of(extraction, table, range(extraction.window))
    second, two = all_of(extraction, table, range(extraction.window, COUNT))
    assert one + two == batches
    for row, vector in {**first, **second}.items():
        assert torch.equal(vector, whole[row])


def test_a_fixed_size_needs_no_looking_for_equals(encoder: Encoder):
    encoder.preprocess = Preprocess(resize=None, crop=16)
    assert Extraction(encoder, 3).window == 3
    encoder.views = Views(transforms=("CenterCrop(16)", "Scale(16)"))
    assert Extraction(encoder, 3).window == 3 * extract.BATCHES


@torch.no_grad()
def test_batches_that_are_not_wanted_are_passed_over(encoder: Encoder, table: ImageTable):
    asked: list[list[int]] = []

    def wanted(rows: list[int]) -> bool:
        asked.append(rows)
        return len(asked) == 2

    (window,) = Extraction(encoder, 6).windows(table, range(COUNT))
    assert [rows for rows, _ in window.embeddings(wanted)] == [asked[1]]
    assert len(asked) > 3


@torch.no_grad()
def test_several_views_are_made_of_one_decoding(encoder: Encoder, table: ImageTable, monkeypatch: pytest.MonkeyPatch):
    read: list[int] = []
    monkeypatch.setattr(
        FolderSource, "read", lambda self, index: (read.append(index), Image.open(self.where(index)).convert("RGB"))[1]
    )
    encoder.views = Views(transforms=("Scale(32)", "CenterCrop(24)"), scales=(1, 0.5), merge="mean")
    vectors, _ = all_of(Extraction(encoder, 3), table, range(COUNT))
    assert sorted(read) == list(range(COUNT))
    for row in (0, 7, 22):
        torch.testing.assert_close(vectors[row], encoder.embed([table.read(row)])[0])


@torch.no_grad()
def test_half_precision_is_near_and_gives_float32(encoder: Encoder, table: ImageTable):
    exact, _ = all_of(Extraction(encoder, 3), table, range(COUNT))
    near, _ = all_of(Extraction(encoder, 3, precision=torch.bfloat16), table, range(COUNT))
    assert near[0].dtype == torch.float32
    for row, vector in near.items():
        assert torch.dot(vector, exact[row]) > 0.99
    assert any(not torch.equal(vector, exact[row]) for row, vector in near.items())


@torch.no_grad()
def test_where_half_precision_gives_no_numbers_the_whole_one_does(
    encoder: Encoder, table: ImageTable, monkeypatch: pytest.MonkeyPatch
):
    of_views, calls = encoder.of_views, []

    def broken(pixels: list[torch.Tensor]) -> torch.Tensor:
        calls.append(torch.is_autocast_enabled("cpu"))
        return of_views(pixels) * (math.nan if calls[-1] else 1)

    exact, _ = all_of(Extraction(encoder, 3), table, range(COUNT))
    monkeypatch.setattr(encoder, "of_views", broken)
    near, _ = all_of(Extraction(encoder, 3, precision=torch.bfloat16), table, range(COUNT))
    assert calls[:7] == [*[True] * 5, False, True]
    assert all(torch.equal(vector, exact[row]) for row, vector in near.items())


@pytest.mark.parametrize("workers", [0, 1])
@torch.no_grad()
def test_damaged_pictures_raise_or_are_passed_over(encoder: Encoder, table: ImageTable, workers: int):
    for row in (4, 22):
        path = Path(table.source.where(row))
        path.write_bytes(path.read_bytes()[:99])
    said = r"4\.png: truncated or damaged .*\(or leave out damaged pictures: data\.on_error=skip, or --on-error skip"
    with pytest.raises(ImageError, match=said):
        list(Extraction(encoder, 3, workers).windows(table, range(COUNT)))
    windows = list(Extraction(encoder, 3, workers, skip_damaged=True).windows(table, range(COUNT)))
    assert [[row for row, _ in window.damaged] for window in windows] == [[4], [22]]
    done = [row for window in windows for rows, _ in window.embeddings() for row in rows]
    assert sorted(done) == [row for row in range(COUNT) if row not in (4, 22)]


@torch.no_grad()
def test_pictures_too_small_for_the_network_are_damaged_ones(tmp_path: Path):
    sizes = [(48, 64), (3, 1), (48, 64), (1, 1)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size[::-1]).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(len(sizes))]
    table = ImageTable(names, FolderSource(tmp_path, names))
    torch.manual_seed(0)
    parts = EncoderConfig(backbone="vgg11", pool="gem", dim=None)
    vgg = Encoder(parts, Preprocess(resize=None, crop=None)).eval()
    (window,) = Extraction(vgg, 2).windows(table, range(4))
    with pytest.raises(ImageError, match=r"1\.png: 1 x 3 pixels are too few for the network .*--on-error skip"):
        list(window.embeddings())
    (window,) = Extraction(vgg, 2, skip_damaged=True).windows(table, range(4))
    assert [row for rows, _ in window.embeddings() for row in rows] == [0, 2]
    assert [row for row, _ in window.damaged] == [1, 3]


@torch.no_grad()
def test_other_failures_of_the_network_are_no_damage(
    encoder: Encoder, table: ImageTable, monkeypatch: pytest.MonkeyPatch
):
    def fail(self: Extraction, views: list[torch.Tensor]) -> torch.Tensor:
        raise RuntimeError("out of memory")

    (window,) = Extraction(encoder, 6, skip_damaged=True).windows(table, range(COUNT))
    monkeypatch.setattr(Extraction, "vectors", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        list(window.embeddings())


def test_loading_leaves_the_random_state_alone(encoder: Encoder, table: ImageTable):
    state = torch.get_rng_state()
    list(Extraction(encoder, 3).windows(table, range(COUNT)))
    assert torch.equal(torch.get_rng_state(), state)


def test_batch_size_must_be_positive(encoder: Encoder):
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        Extraction(encoder, 0)


def test_pictures_in_memory(encoder: Encoder):
    pixels = np.zeros((2, 16, 16, 3), np.uint8)
    windows = Extraction(encoder, 5).windows(ImageTable(["a", "b"], ArraySource(pixels)), range(2))
    assert [rows for window in windows for rows, _ in window.embeddings()] == [[0, 1]]
