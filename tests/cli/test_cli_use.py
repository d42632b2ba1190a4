from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from builders import run_recipe
from pertinent import EmbeddingStore, Encoder, Index
from pertinent.data.datasets.folder import Folder
from pertinent.engine.run import Run


def rows_of(table: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.strip()}


@pytest.fixture
def photos(tmp_path: Path, pictures: Path) -> Path:
    """A folder of somebody's pictures: two good ones."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(("warm/red", "cold/blue")):
        shutil.copy(pictures / "test" / name / "0.png", folder / f"{number}.png")
    return folder


# --- evaluate


def test_evaluate_a_run_by_its_own_metrics(call: Any, finished_run: Run):
    rows = rows_of(call("evaluate", finished_run.folder, "--json", "e.json").stdout)
    mean = json.loads(finished_run.evaluation("best").read_text())["mean"]
    assert rows["hap"][0] == f"{100 * mean['hap']:.1f}"
    saved = json.loads(Path("e.json").read_text())
    assert {name: mean[name] for name in ("hap", "r@1.0", "r@1.1")} == saved["mean"]
    assert saved["n_queries"] == 12


def test_evaluate_a_store_by_other_metrics(call: Any, finished_run: Run):
    said = call("evaluate", finished_run.store("before"), "--metrics", "ap@5/hits, mrr", "--similarity", "euclidean")
    rows = rows_of(said.stdout)
    assert list(rows) == ["metric", "ap@5/hits.0", "ap@5/hits.1", "mrr.0", "mrr.1"]
    assert all(0 <= float(rows[name][0]) <= 100 for name in list(rows)[1:])


def test_evaluate_says_how_many_queries_it_left_out(call: Any, finished_run: Run, tmp_path: Path):
    store = EmbeddingStore.open(finished_run.store("best"))
    values = np.where(np.arange(12)[:, None] == 3, -1, store.labels.values)
    labels = type(store.labels)("tree", values, store.labels.level_names, store.labels.class_names)
    EmbeddingStore.write(tmp_path / "s", store.vectors, store.ids, labels=labels)
    said = call("evaluate", "s", "--metrics", "hap").stdout
    assert "hap: 1 of 12 queries have no relevant item and are left out" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "error: nowhere is no finished embedding store"),
        (["RUN", "--metrics", "hapy"], "error: unknown metric 'hapy'; did you mean 'hap'"),
        (["RUN", "--similarity", "cosin"], "error: unknown similarity 'cosin'; did you mean 'cosine'"),
        (["RUN", "--metrics", "ap.4"], "has levels 0 to 1"),
    ],
)
def test_evaluate_what_is_not_there(call: Any, finished_run: Run, words: list[str], said: str):
    words = [str(finished_run.folder) if word == "RUN" else word for word in words]
    assert said in call("evaluate", *words, status=1).stderr


def test_evaluate_without_labels(call: Any, finished_run: Run, photos: Path):
    call("embed", finished_run.folder, photos, "-o", "s")
    assert "error: the 2 items have no labels" in call("evaluate", "s", status=1).stderr


# --- embed, index, search


def test_embed_index_and_search_a_folder_of_pictures(call: Any, finished_run: Run, photos: Path):
    assert "2 embeddings of 8 numbers in s" in call("embed", finished_run.folder, photos, "--out", "s").stdout
    assert "exact index of 2 items in s-index" in call("index", "s").stdout
    said = call("search", "s-index", photos / "1.png", "--model", finished_run.encoder("best"), "-k", 1).stdout
    assert "1.0000" in said
    assert str(photos / "1.png") in said.splitlines()[-1]
    assert "0.png" not in said


def test_embed_with_an_encoder_of_choice_in_any_batches(call: Any, finished_run: Run, photos: Path):
    call("embed", finished_run.encoder("before"), photos, "-o", "s", "--batch-size", 1, "--workers", 1)
    store = EmbeddingStore.open("s")
    assert store.encoder == Encoder.load(finished_run.encoder("before")).fingerprint()


def test_embed_a_split_of_a_data_set(call: Any, finished_run: Run, tmp_path: Path):
    Folder.example(tmp_path / "data")
    call("embed", finished_run.folder, "folder:all", "--root", "data", "-o", "s")
    store = EmbeddingStore.open("s")
    assert (len(store), store.labels.kind, store.ids[0]) == (18, "tree", "animal/cat/0.png")
    said = call("embed", finished_run.folder, "folder:allll", "--root", "data", "-o", "t", status=1).stderr
    assert "unknown split 'allll'; did you mean 'all'" in said
    said = call("embed", finished_run.folder, "foldr:all", "--root", "data", "-o", "t", status=1).stderr
    assert "unknown data set 'foldr'; did you mean 'folder'" in said


def test_embed_goes_on_where_it_stopped(call: Any, finished_run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch):
    forward, calls = Encoder.forward, []

    def stopped(self: Encoder, pixels: Any) -> Any:
        calls.append(len(pixels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(self, pixels)

    monkeypatch.setattr(Encoder, "forward", stopped)
    words = ["embed", finished_run.folder, photos, "-o", "s", "--batch-size", 1]
    said = call(*words, status=130).stderr
    assert said == "error: interrupted; what was written is intact, run the same command again\n"
    call(*words)
    assert len(calls) == 3
    assert len(EmbeddingStore.open("s")) == 2


def make(path: Path, kind: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8))
    if kind == "truncated":
        image.save(path)
        path.write_bytes(path.read_bytes()[:200])
    elif kind == "animated":
        image.save(path, save_all=True, append_images=[image.rotate(90)])
    elif kind == "unreadable":
        path.write_text("no picture")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", "2.jpg: truncated or damaged"),
        ("animated", "2.gif: has 2 frames or pages; save the one wanted"),
        ("unreadable", "2.png: not a picture in a format read here"),
        ("empty", "2.webp: the file is empty (0 bytes)"),
    ],
)
def test_a_bad_picture_among_somebodys(call: Any, finished_run: Run, photos: Path, kind: str, said: str):
    name = said.partition(":")[0]
    make(photos / name, kind)
    words = ["embed", finished_run.folder, photos, "-o", "s"]
    stopped = call(*words, status=1).stderr
    assert f"error: {photos}/{said}" in stopped
    assert "--on-error skip" in stopped
    assert not Path("s").exists()
    listed = call(*words, "--on-error", "skip").stdout
    assert f"left out: {photos}/{said}" in listed
    assert "2 embeddings" in listed


def test_pictures_of_every_good_kind(call: Any, finished_run: Run, photos: Path):
    colours = np.random.default_rng(0).integers(0, 255, (24, 24, 3), dtype=np.uint8)
    image = Image.fromarray(colours)
    image.convert("CMYK").save(photos / "cmyk.jpg")
    image.convert("L").save(photos / "grey.png")
    image.convert("RGBA").save(photos / "alpha.png")
    Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(photos / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(photos / "turned.jpg", exif=exif)
    call("embed", finished_run.folder, photos, "-o", "s")
    assert np.isfinite(EmbeddingStore.open("s").vectors).all()
    assert len(EmbeddingStore.open("s")) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "-o", "s"], "error: nowhere is no folder; give a folder of pictures, or DATASET:SPLIT"),
        (["empty", "-o", "s"], "/empty (0 other files)"),
        (["photos", "-o", "photos"], "error: photos holds files that are not ours to replace (0.png, 1.png)"),
        (["photos", "-o", "s", "--on-error", "ignore"], "error: --on-error must be raise or skip, got 'ignore'"),
    ],
)
def test_embed_what_cannot_be(call: Any, finished_run: Run, photos: Path, words: list[str], said: str):
    Path("empty").mkdir()
    assert said in call("embed", finished_run.folder, *words, status=1).stderr
    assert sorted(path.name for path in photos.iterdir()) == ["0.png", "1.png"]


def test_embed_without_an_encoder(call: Any, photos: Path):
    assert "error: nowhere holds no encoder" in call("embed", "nowhere", photos, "-o", "s", status=1).stderr


def test_index_into_a_folder_of_a_kind(call: Any, finished_run: Run):
    call("index", finished_run.store("before"), "--out", "deep/i", "--kind", "exact")
    assert Index.open("deep/i").kind == "exact"
    said = call("index", finished_run.store("before"), "-o", "j", "--kind", "exakt", status=1).stderr
    assert "error: unknown index kind 'exakt'; did you mean 'exact'" in said
    assert "is no finished embedding store" in call("index", "nowhere", status=1).stderr


# --- report


@pytest.fixture(scope="module")
def other_run(tmp_path_factory: pytest.TempPathFactory, recipe_file: Path) -> Run:
    folder = tmp_path_factory.mktemp("others") / "small"
    return run_recipe(recipe_file, folder, "train.epochs=1", "losses.hap.level=0")


def test_report_beside_other_runs_even_of_one_name(call: Any, finished_run: Run, other_run: Run, tmp_path: Path):
    said = call("report", finished_run.folder, "--compare", other_run.folder, "-o", "r.html").stdout
    assert said == "report r.html\n"
    page = Path("r.html").read_text()
    assert str(finished_run.folder) in page
    assert str(other_run.folder) in page
    shutil.copytree(other_run.folder, tmp_path / "flat")
    call("report", finished_run.folder, "--compare", "flat", "-o", "s.html")
    assert ">flat<" in Path("s.html").read_text()
    said = call("report", "flat", "--compare", "flat", status=1).stderr
    assert "error: a run is given twice: flat, flat; compare different runs" in said


def test_report_in_the_run_folder(call: Any, finished_run: Run, tmp_path: Path):
    shutil.copytree(finished_run.folder, tmp_path / "run")
    assert call("report", "run").stdout == "report run/report.html\n"
    shutil.rmtree(tmp_path / "run" / "evaluations")
    said = call("report", "run", status=1).stderr
    assert "error: run has no evaluation of 'before' yet; let its training end first" in said
    assert "nowhere is no run" in call("report", "nowhere", status=1).stderr


def test_embed_a_folder_of_any_layout(call: Any, finished_run: Run, photos: Path):
    deeper = photos / "more" / "of it"
    deeper.mkdir(parents=True)
    shutil.copy(photos / "0.png", deeper / "2.png")
    said = call("embed", finished_run.folder, "photos", "-o", "s")
    assert "note: embedding without labels, for they are not clear: folder: pictures of" in said.stderr
    assert "3 embeddings of 8 numbers in s" in said.stdout
    store = EmbeddingStore.open("s")
    assert (store.ids, store.labels.kind) == (["0.png", "1.png", "more/of it/2.png"], "none")
    assert store.places[0] == str(photos / "0.png")
    (photos / "train").mkdir()
    assert "3 embeddings" in call("embed", finished_run.folder, "photos", "-o", "t").stdout


def test_embed_a_folder_with_splits_takes_them_all(call: Any, finished_run: Run, pictures: Path):
    call("embed", finished_run.folder, pictures, "-o", "s")
    store = EmbeddingStore.open("s")
    assert (len(store), store.labels.kind) == (48, "tree")


def test_embed_an_empty_folder(call: Any, finished_run: Run, tmp_path: Path):
    (tmp_path / "none").mkdir()
    assert "error: folder: no pictures in" in call("embed", finished_run.folder, "none", "-o", "s", status=1).stderr


def test_embed_ignores_no_root(call: Any, finished_run: Run, photos: Path):
    said = call("embed", finished_run.folder, photos, "--root", "elsewhere", "-o", "s", status=1).stderr
    assert "is a folder by itself; leave out --root" in said
