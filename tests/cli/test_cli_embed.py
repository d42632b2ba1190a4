"""Embedding in other ways than the encoder's own, and into other tools' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pertinent.data.datasets import DATASETS
from pertinent.engine.run import Run
from pertinent.models.encoder import Encoder
from pertinent.models.views import Views
from pertinent.store import EmbeddingStore


def by_hand(run: Run, views: Views, paths: list[Path]) -> np.ndarray[Any, Any]:
    encoder = Encoder.load(run.encoder("best"))
    encoder.views = views
    return encoder.embed(paths).numpy()


@pytest.fixture
def files(pictures: Path) -> list[Path]:
    return sorted((pictures / "test").rglob("*.png"))


def test_several_transforms_and_scales_and_the_search_that_follows(
    call: Any, finished_run: Run, pictures: Path, files: list[Path]
):
    words = ["--transform", "Scale(24)", "--trfs", "CenterCrop(16)", "--scales", "1, 0.5", "--pooling", "mean"]
    call("embed", finished_run.folder, pictures / "test", "-o", "s", *words)
    store = EmbeddingStore.open("s")
    views = Views(transforms=("Scale(24)", "CenterCrop(16)"), scales=(1, 0.5), merge="mean")
    np.testing.assert_allclose(store.vectors, by_hand(finished_run, views, files), atol=1e-5)
    assert Views(**store.manifest["views"]) == views
    call("index", "s", "-o", "i")
    said = call("search", "i", files[3], "--model", finished_run.folder, "-k", 1).stdout
    assert "1.0000" in said
    assert str(files[3]) in said.splitlines()[-1]


def test_an_encoder_that_says_how_views_are_merged(
    call: Any, finished_run: Run, pictures: Path, files: list[Path], tmp_path: Path
):
    encoder = Encoder.load(finished_run.encoder("best"))
    encoder.views = Views(merge="power", p=2.5)
    encoder.save(tmp_path / "enc")
    for words, views in [
        (["--scales", "1,0.5"], Views(scales=(1, 0.5), merge="power", p=2.5)),
        (["--scales", "1,0.5", "--gemp", "2"], Views(scales=(1, 0.5), merge="power", p=2)),
        (["--scales", "1,0.5", "--merge", "mean"], Views(scales=(1, 0.5), merge="mean", p=2.5)),
    ]:
        call("embed", "enc", pictures / "test", "-o", "s", *words)
        store = EmbeddingStore.open("s")
        assert Views(**store.manifest["views"]) == views
        np.testing.assert_allclose(store.vectors, by_hand(finished_run, views, files), atol=1e-5)


def test_scales_of_pictures_of_one_pixel(call: Any, finished_run: Run, tmp_path: Path):
    (tmp_path / "tiny").mkdir()
    sizes = [(1, 3), (1, 1), (40, 1), (20, 30)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (200, 40 * number, 9)).save(tmp_path / "tiny" / f"{number}.png")
    encoder = Encoder.load(finished_run.encoder("best"))
    encoder.preprocess = encoder.preprocess.model_copy(update={"resize": None, "crop": None})
    encoder.save(tmp_path / "enc")
    call("embed", "enc", "tiny", "-o", "s", "--scales", "1,0.7071,0.5")
    store = EmbeddingStore.open("s")
    assert len(store) == len(sizes)
    assert np.linalg.norm(store.vectors, axis=1) == pytest.approx(1, abs=1e-5)


def test_half_precision(call: Any, finished_run: Run, pictures: Path, files: list[Path]):
    call("embed", finished_run.folder, pictures / "test", "-o", "s", "--precision", "bf16", "--device", "cpu")
    store = EmbeddingStore.open("s")
    exact = by_hand(finished_run, Views(), files)
    assert store.manifest["precision"] == "bfloat16"
    assert not np.array_equal(store.vectors, exact)
    assert (store.vectors * exact).sum(1).min() > 0.99


def test_vectors_and_ids_as_plain_files(call: Any, finished_run: Run, pictures: Path):
    said = call("embed", finished_run.folder, pictures / "test", "-o", "s", "--npy", "out/x.npy").stdout
    assert "vectors in out/x.npy" in said
    store = EmbeddingStore.open("s")
    assert np.array_equal(np.load("out/x.npy"), store.vectors)
    assert Path("out/x.ids.txt").read_text().splitlines() == store.ids


def test_global_features_of_a_kapture(call: Any, finished_run: Run, tmp_path: Path):
    DATASETS.get("kapture").example(tmp_path / "k")
    call("embed", finished_run.folder, "kapture:all", "--root", "k", "-o", "s", "--kapture", "Tiny-AP")
    folder = tmp_path / "k" / "reconstruction" / "global_features" / "Tiny-AP"
    assert (folder / "global_features.txt").read_text() == (
        "# kapture format: 1.1\n# name, dtype, dsize, metric_type\nTiny-AP, float32, 8, L2\n"
    )
    store = EmbeddingStore.open("s")
    for name, vector in zip(store.ids, store.vectors, strict=True):
        assert np.array_equal(np.fromfile(folder / f"{name}.gfeat", "<f4"), vector)
    assert len(list(folder.rglob("*.gfeat"))) == 4


def test_options_of_a_data_set(call: Any, finished_run: Run, tmp_path: Path):
    DATASETS.get("csv").example(tmp_path / "d")
    words = ["embed", finished_run.folder, "csv:test", "--root", "d", "-o", "s"]
    call(*words, "--option", "label_columns=[kind]")
    assert EmbeddingStore.open("s").labels.kind == "classes"
    said = call(*words, "--option", "lable_columns=[kind]", status=1).stderr
    assert "did you mean 'label_columns'" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--transform", "Scael(24)"], "Scael"),
        (["--scales", "1,x"], "scales"),
        (["--scales", "0"], "merge-p: 1 problem\n  - scales.0: Input should be greater than 0, got '0'"),
        (["--scales", "1,2", "--pooling", "mean", "--gemp", "2"], "--merge-p is about --merge gem or power"),
        (["--pooling", "mean"], "--merge: there is one view and nothing to merge"),
        (["--gemp", "3"], "--merge-p: there is one view and nothing to merge"),
        (["--scales", "1,2", "--merge", "max"], "merge"),
        (["--precision", "fp8"], "--precision must be float32, bf16 or auto, got 'fp8'"),
        (["--device", "quantum"], "device quantum cannot be used here"),
        (["--npy", "x.npz"], "--npy needs a file NAME.npy, got x.npz"),
        (["--kapture", "x"], "--kapture writes into the kapture that is embedded"),
        (["--option", "a=1"], "is a folder by itself; leave out --option"),
    ],
)
def test_what_cannot_be(call: Any, finished_run: Run, pictures: Path, words: list[str], said: str):
    result = call("embed", finished_run.folder, pictures / "test", "-o", "s", *words, status=1)
    assert said in result.stderr
    assert not Path("s").exists()


def test_damaged_views_of_a_store_are_not_searched_with(
    call: Any, finished_run: Run, pictures: Path, files: list[Path]
):
    call("embed", finished_run.folder, pictures / "test", "-o", "s", "--scales", "0.5")
    call("index", "s", "-o", "i")
    encoder = Encoder.load(finished_run.encoder("best"))
    with torch.no_grad():
        encoder.head.linear.bias += 1  # type: ignore[operator, union-attr]
    encoder.save("other")
    said = call("search", "i", files[0], "--model", "other", status=1).stderr
    assert "did not make the vectors of i" in said
