"""Landmark benchmarks: the genuine ground truth, boxes and judgements, the folders they may lie in, every error."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pertinent.data.concatenation import concatenate
from pertinent.data.datasets import DATASETS
from pertinent.data.datasets.landmarks import LandmarkList
from pertinent.data.datasets.oxford5k import Oxford5k
from pertinent.data.datasets.paris6k import Paris6k
from pertinent.data.datasets.r1m import R1M
from pertinent.data.datasets.roxford5k import ROxford5k
from pertinent.data.datasets.rparis6k import RParis6k
from pertinent.data.ground_truth import read_ground_truth
from pertinent.data.table import Judgement
from pertinent.errors import DataError, UnknownNameError

BENCHMARKS = {"oxford5k": Oxford5k, "paris6k": Paris6k, "roxford5k": ROxford5k, "rparis6k": RParis6k}


def write_pictures(folder: Path, names: list[str], size: tuple[int, int] = (12, 10)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (number, 0, 0)).save(folder / f"{name}.png")


def write_truth(path: Path, items: list[str], queries: list[str], records: list[dict[str, Any]]) -> None:
    path.write_bytes(pickle.dumps({"imlist": items, "qimlist": queries, "gnd": records}))


def test_the_genuine_ground_truth(shared: Path) -> None:
    """All of ROxford5k but its pictures: small ones are laid in their place."""
    data = ROxford5k(shared / "data" / "revisitop")
    assert ROxford5k.expected == {"gallery": len(data.truth.items), "queries": len(data.truth.queries)}
    assert data.truth.boxes[0] == (136.5, 34.1, 648.5, 955.7)
    with pytest.raises(
        DataError, match=r"no folder 'jpg' or 'roxford5k/jpg' or 'oxford5k/jpg' .*~vgg/data/oxbuildings"
    ):
        data.split("test")


def test_the_genuine_ground_truth_as_a_table(shared: Path, tmp_path: Path) -> None:
    shutil.copy(shared / "data" / "revisitop" / "gnd_roxford5k.pkl", tmp_path)
    truth = read_ground_truth(tmp_path / "gnd_roxford5k.pkl")
    (tmp_path / "jpg").mkdir()
    (tmp_path / "one.jpg").write_bytes(b"")
    for name in (*truth.items, *truth.queries):
        (tmp_path / "jpg" / f"{name}.jpg").hardlink_to(tmp_path / "one.jpg")
    table = ROxford5k(tmp_path).split("test")
    assert (len(table), table.probes, len(table.boxes), len(table.judgements)) == (5063, 70, 70, 70)
    assert table.ids[:2] == ["ashmolean_000283.jpg", "oxford_002124.jpg"]
    assert table.ids[4993] == "query/all_souls_000013.jpg"
    assert [asked.query for asked in table.judgements] == list(range(4993, 5063))
    assert table.boxes[4993] == truth.boxes[0]
    for asked, record in zip(table.judgements, truth.records, strict=True):
        assert {"easy": list(asked.easy), "hard": list(asked.hard), "junk": list(asked.junk)} == record
        assert not asked.ok


@pytest.mark.parametrize("name", BENCHMARKS)
def test_examples_have_the_protocol_of_their_benchmark(name: str, tmp_path: Path) -> None:
    reader = BENCHMARKS[name]
    reader.example(tmp_path)
    data = reader(tmp_path)
    test, gallery, queries = (data.split(split) for split in data.splits)
    classic = name in ("oxford5k", "paris6k")
    assert data.truth.protocols == (("classic",) if classic else ("easy", "medium", "hard"))
    assert (test.kind, gallery.kind, queries.kind) == ("judged", "none", "none")
    assert test.ids == [*gallery.ids, *queries.ids]
    assert test.probes == len(queries) == 2
    assert {row - len(gallery): box for row, box in test.boxes.items()} == queries.boxes
    assert not gallery.boxes
    assert bool(set(queries.ids) & {f"query/{item}" for item in gallery.ids}) == classic
    if classic:
        assert test.judgements[0] == Judgement(6, ok=(0, 2, 3), junk=(4,))
    else:
        assert test.judgements[0] == Judgement(6, easy=(0, 2), hard=(3,), junk=(4,))


def test_published_counts() -> None:
    assert {name: dict(reader.expected) for name, reader in BENCHMARKS.items()} == {
        "oxford5k": {"gallery": 5063, "queries": 55},
        "paris6k": {"gallery": 6392, "queries": 55},
        "roxford5k": {"gallery": 4993, "queries": 70},
        "rparis6k": {"gallery": 6322, "queries": 70},
    }


def test_queries_are_cut_to_their_boxes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "photos", ["a", "b", "q"])
    boxes = [(2.0, 1.0, 7.6, 9.0), (0.0, 0.0, 50.0, 5.0), (3.0, 3.0, 4.0, 4.0)]
    records = [{"bbx": box, "easy": [0], "hard": [], "junk": [1]} for box in boxes]
    write_truth(tmp_path / "gnd.pkl", ["a", "b"], ["q", "b", "q"], records)
    data = LandmarkList(tmp_path, truth="gnd.pkl", images="photos", suffix=".png")
    table = data.split("test")
    assert table.ids == ["a.png", "b.png", "query/q.png", "query/b.png", "query/q.png#2"]
    assert [table.read(row).size for row in range(5)] == [(12, 10), (12, 10), (6, 8), (12, 5), (1, 1)]
    assert table.source.read(2).size == (12, 10)
    assert [data.split("queries").read(row).size for row in range(3)] == [(6, 8), (12, 5), (1, 1)]


def test_names_may_have_an_ending_and_boxes_may_be_missing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "jpg", ["a", "q.v2"])
    records = [{"ok": [0], "junk": np.array([], int)}]
    write_truth(tmp_path / "gnd.pkl", ["a.png"], ["q.v2"], records)
    table = LandmarkList(tmp_path, truth="gnd.pkl", suffix=".png").split("test")
    assert table.ids == ["a.png", "query/q.v2.png"]
    assert not table.boxes


def test_json_says_the_same(tmp_path: Path) -> None:
    LandmarkList.example(tmp_path)
    data = LandmarkList(tmp_path, truth="gnd_example.pkl")
    data.truth.save(tmp_path / "gnd.json")
    assert LandmarkList(tmp_path, truth="gnd.json").split("test").fingerprint() == data.split("test").fingerprint()


@pytest.mark.parametrize("layout", ["own folder", "shared folder", "both", "zip"])
def test_where_files_may_lie(layout: str, tmp_path: Path) -> None:
    ROxford5k.example(tmp_path / "here")
    before = ROxford5k(tmp_path / "here").split("test")
    root = tmp_path / "root"
    root.mkdir()
    if layout == "own folder":
        shutil.move(tmp_path / "here", root / "roxford5k")
    elif layout == "shared folder":
        shutil.move(tmp_path / "here", root / "oxford5k")
    elif layout == "both":
        (root / "roxford5k").mkdir()
        shutil.move(tmp_path / "here" / "gnd_roxford5k.pkl", root / "roxford5k")
        shutil.move(tmp_path / "here", root / "oxford5k")
    else:
        shutil.make_archive(str(root / "oxbuild_images"), "zip", tmp_path / "here" / "jpg")
        shutil.move(tmp_path / "here" / "gnd_roxford5k.pkl", root)
    table = ROxford5k(root).split("test")
    assert table.fingerprint() == before.fingerprint()
    assert table.read(7).size == (24, 18)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_missing_files_are_named_with_their_origin(name: str, tmp_path: Path) -> None:
    reader = BENCHMARKS[name]
    with pytest.raises(DataError, match=rf"{name}: gnd_{name}\.pkl is missing in .* comes from cmp\.felk"):
        reader(tmp_path)
    with pytest.raises(DataError, match=f"{name}: root must be the folder"):
        reader(None)
    reader.example(tmp_path)
    (tmp_path / "jpg" / "place_000005.jpg").unlink()
    with pytest.raises(DataError, match=rf"{name}: 1 of 8 .*place_000005\.jpg.*robots\.ox\.ac\.uk"):
        reader(tmp_path).split("test")
    assert len(reader(tmp_path).split("queries")) == 2
    with pytest.raises(UnknownNameError, match="did you mean 'gallery'"):
        reader(tmp_path).split("galery")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "jpg").mkdir()
    with pytest.raises(DataError, match=r"gnd\.pkl is missing .*truth=FILE"):
        LandmarkList(tmp_path, truth="gnd.pkl")
    (tmp_path / "gnd.pkl").write_bytes(pickle.dumps(print))
    with pytest.raises(DataError, match=r"builtins\.print, which may run code"):
        LandmarkList(tmp_path, truth="gnd.pkl")
    write_truth(tmp_path / "gnd.pkl", ["../a"], ["q"], [{"ok": [0], "junk": []}])
    with pytest.raises(DataError, match="leads out of"):
        LandmarkList(tmp_path, truth="gnd.pkl").split("test")


def test_a_million_distractors_join_the_gallery(tmp_path: Path) -> None:
    R1M.example(tmp_path / "revisitop1m")
    ROxford5k.example(tmp_path / "roxford5k")
    distractors = R1M(tmp_path).split("all")
    assert distractors.ids == ["0/0.jpg", "0/1.jpg", "1/2.jpg", "1/3.jpg"]
    assert R1M.expected == {"all": 1_001_001}
    joined = concatenate([ROxford5k(tmp_path).split("test"), distractors])
    assert (len(joined), joined.probes) == (12, 2)
    assert joined.ids[5:] == ["place_000005.jpg", *distractors.ids, "query/place_000006.jpg", "query/place_000007.jpg"]
    assert joined.judgements[0] == Judgement(10, easy=(0, 2), hard=(3,), junk=(4,))
    assert joined.read(10).size == (24, 18)


def test_distractors_may_be_missing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"r1m: revisitop1m\.txt is missing .*ptak\.felk"):
        R1M(tmp_path)
    R1M.example(tmp_path)
    (tmp_path / "jpg" / "1" / "2.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 4 listed pictures are missing .*1/2\.jpg.*ptak\.felk"):
        R1M(tmp_path).split("all")
    (tmp_path / "revisitop1m.txt").write_text("0/0.jpg\n\n0/0.jpg\n")
    with pytest.raises(DataError, match=r"line 3 lists '0/0\.jpg' again, as line 1 does"):
        R1M(tmp_path).split("all")


def test_benchmarks_are_registered_by_their_names() -> None:
    assert {name: DATASETS.get(name) for name in BENCHMARKS} == BENCHMARKS
