from __future__ import annotations

import pickle
import shlex
import zipfile
from pathlib import Path
from typing import Any

import pytest

from builders import Listening
from pertinent.data.datasets import DATASETS
from pertinent.data.ledger import Download, Ledger
from pertinent.engine.doctor import Diagnosis, diagnose
from pertinent.errors import ConfigError, DataError, UnknownNameError


def example(name: str, root: Path) -> Path:
    DATASETS.get(name).example(root)
    return root


@pytest.fixture
def landmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Revisited Oxford of eight pictures, which is as many as there should be."""
    monkeypatch.setattr(DATASETS.get("roxford5k"), "expected", {"gallery": 6, "queries": 2})
    return example("roxford5k", tmp_path / "roxford5k")


@pytest.mark.parametrize("name", DATASETS.names())
@pytest.mark.parametrize("pictures", [False, True])
def test_every_example_is_healthy(name: str, pictures: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    reader = DATASETS.get(name)
    if hasattr(reader, "expected"):
        monkeypatch.setattr(reader, "expected", {})
    found = diagnose(name, example(name, tmp_path), getattr(reader, "example_options", {}), pictures=pictures)
    assert found.problems == []
    assert found.healthy
    assert sum(found.splits.values()) > 0
    assert found.advice == f"{name} is healthy" + ("." if pictures else "; --pictures would also decode every picture.")


def test_missing_pictures_are_counted_and_named(landmarks: Path):
    (landmarks / "jpg" / "place_000001.jpg").unlink()
    (landmarks / "jpg" / "place_000007.jpg").unlink()
    found = diagnose("roxford5k", landmarks)
    assert not found.healthy
    first, second = (str(landmarks / "jpg" / f"place_{number:06}.jpg") for number in (1, 7))
    assert found.problems == [
        f"2 pictures are missing (test 2 of 8, gallery 1 of 6, queries 1 of 2): {first}, {second}"
    ]
    assert found.pictures == {first: "missing", second: "missing"}
    assert found.advice.startswith(f"Run `pertinent datasets download roxford5k {landmarks}`")


def test_a_command_to_paste_holds_for_a_path_with_spaces(landmarks: Path):
    root = landmarks.rename(landmarks.parent / "my data")
    (root / "jpg" / "place_000001.jpg").unlink()
    command = diagnose("roxford5k", root).advice.split("`")[1]
    assert shlex.split(command) == ["pertinent", "datasets", "download", "roxford5k", str(root)]


def test_the_same_fault_of_several_splits_is_said_once(landmarks: Path):
    (landmarks / "jpg").rename(landmarks / "pictures")
    found = diagnose("roxford5k", landmarks)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("test, gallery, queries: roxford5k: ")


def test_empty_pictures_in_folders_and_zip_files(landmarks: Path, tmp_path: Path):
    (landmarks / "jpg" / "place_000001.jpg").write_bytes(b"")
    found = diagnose("roxford5k", landmarks)
    place = landmarks / "jpg" / "place_000001.jpg"
    assert found.problems == [f"1 picture is empty (test 1 of 8, gallery 1 of 6): {place}"]
    root = example("grocery", tmp_path / "grocery")
    listed = (root / "train.txt").read_text().splitlines()[0].split(",")[0]
    with zipfile.ZipFile(root / "pictures.zip", "w") as archive:
        for path in sorted(root.rglob("*.*")):
            if path.suffix in (".jpg", ".png"):
                name = path.relative_to(root).as_posix().removeprefix("dataset/")
                archive.writestr(name, b"" if name == listed else path.read_bytes())
                path.unlink()
    found = diagnose("grocery", root)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("1 picture is empty (train 1 of ")
    assert found.problems[0].endswith(f"pictures.zip/{listed}")


def test_truncated_pictures_are_found_by_decoding(landmarks: Path):
    heard = Listening()
    place = landmarks / "jpg" / "place_000002.jpg"
    place.write_bytes(place.read_bytes()[:200])
    (landmarks / "jpg" / "place_000003.jpg").write_bytes(b"")
    assert len(diagnose("roxford5k", landmarks).problems) == 1
    found = diagnose("roxford5k", landmarks, pictures=True, listener=heard)
    assert found.damaged == 1
    assert [text for text in found.problems if text.startswith(str(place))]
    assert len(found.problems) == 2
    assert found.advice.startswith("Delete what is damaged (1), then run `pertinent")
    last = heard.of("decode")[-1]
    assert (last["done"], last["total"]) == (16, 16)


def test_every_kind_of_damage_is_told_in_one_round(landmarks: Path):
    places = [landmarks / "jpg" / f"place_{number:06}.jpg" for number in range(8)]
    path = landmarks / "gnd_roxford5k.pkl"
    truth = pickle.loads(path.read_bytes())
    truth["gnd"][1]["bbx"] = [5000, 5000, 6000, 6000]
    path.write_bytes(pickle.dumps(truth))
    (landmarks / ".more.tgz.part").write_bytes(b"x")
    places[0].unlink()
    places[1].write_bytes(b"")
    places[2].write_bytes(b"no picture")
    found = diagnose("roxford5k", landmarks, pictures=True)
    kinds = ["missing", "empty", "not a picture", "no part in the box", "no part in the box", "broken off"]
    assert [kind in text for kind, text in zip(kinds, found.problems, strict=True)] == [True] * 6
    assert [str(place) in found.problems[row] for row, place in enumerate(places[:3])] == [True] * 3
    assert {place: what[:7] for place, what in found.pictures.items()} == {
        str(places[0]): "missing",
        str(places[1]): "empty",
        str(places[2]): "not a p",
    }
    said = found.to_json()
    assert (said["data_set"], said["healthy"], said["problems"]) == ("roxford5k", False, found.problems)
    assert said["pictures"][0] == {"place": str(places[0]), "fault": "missing"}


@pytest.mark.parametrize("name", [name for name in DATASETS.names() if name != "glyphs"])
def test_a_missing_picture_hides_no_other_damage(name: str, tmp_path: Path):
    root, options = example(name, tmp_path), getattr(DATASETS.get(name), "example_options", {})
    data = DATASETS.build(name, root=root, **options)
    source = data.split(data.splits[0]).source
    first, last = Path(source.where(0)), Path(source.where(len(source) - 1))
    first.unlink()
    last.write_bytes(b"")
    found = diagnose(name, root, options)
    assert found.pictures.get(str(last)) == "empty"
    assert str(last) in " ".join(found.problems)
    # Readers that list what is in a folder miss nothing.
    assert found.pictures.get(str(first), "missing") == "missing"


def test_a_reader_itself_still_refuses_missing_pictures(landmarks: Path):
    (landmarks / "jpg" / "place_000001.jpg").unlink()
    diagnose("roxford5k", landmarks)
    with pytest.raises(DataError, match="1 of 6 listed pictures are missing"):
        DATASETS.build("roxford5k", root=landmarks).split("gallery")


def test_a_box_outside_of_its_picture(landmarks: Path):
    path = landmarks / "gnd_roxford5k.pkl"
    truth = pickle.loads(path.read_bytes())
    truth["gnd"][0]["bbx"] = [5000, 5000, 6000, 6000]
    path.write_bytes(pickle.dumps(truth))
    assert diagnose("roxford5k", landmarks).healthy
    found = diagnose("roxford5k", landmarks, pictures=True)
    assert [text.split(":")[0] for text in found.problems] == ["test", "queries"]
    assert "no part in the box" in found.problems[0]


def test_wrong_counts(tmp_path: Path):
    found = diagnose("oxford5k", example("oxford5k", tmp_path))
    assert found.problems == [
        "gallery: 6 pictures, where 5,063 were published",
        "queries: 2 pictures, where 55 were published",
    ]
    assert found.splits["gallery"] == 6


def test_no_folder_and_no_lists(tmp_path: Path):
    found = diagnose("roxford5k", tmp_path / "gone")
    assert found.problems == [
        f"roxford5k: root must be the folder that holds the data set, there is no folder '{tmp_path / 'gone'}'; "
        "set data.root or --root"
    ]
    assert found.splits == {}
    assert "gnd_roxford5k.pkl is missing" in diagnose("roxford5k", tmp_path).problems[0]


def test_what_downloads_left(landmarks: Path):
    (landmarks / ".oxbuild_images-v1.tgz.part").write_bytes(b"x")
    (landmarks / ".oxbuild_images-v1.tgz.part.json").write_text("{}")
    (landmarks / ".jpg.abcd1234").mkdir()
    (landmarks / "jpg" / ".oxbuild_images-v1.tgz.abcd1234").mkdir()
    found = diagnose("roxford5k", landmarks)
    assert found.problems == [
        f"{landmarks}/.oxbuild_images-v1.tgz.part is a download that was broken off",
        f"{landmarks}/.jpg.abcd1234 is what an interrupted unpacking left",
        f"{landmarks}/jpg/.oxbuild_images-v1.tgz.abcd1234 is what an interrupted unpacking left",
    ]


def test_an_archive_that_is_not_unpacked(landmarks: Path):
    archive = landmarks / "oxbuild_images-v1.tgz"
    archive.write_bytes(b"x")
    # The pictures are there all the same, so that it is worth a word only.
    found = diagnose("roxford5k", landmarks)
    assert found.healthy
    assert f"{archive} is downloaded but not unpacked" in found.notes
    (landmarks / "jpg" / "place_000001.jpg").unlink()
    found = diagnose("roxford5k", landmarks)
    assert f"{archive} is downloaded but not unpacked" in found.problems


def test_downloaded_files_that_changed(landmarks: Path):
    heard = Listening()
    path = landmarks / "gnd_roxford5k.pkl"
    Ledger(landmarks).note(path.name, Download("https://a.org", "0" * 64, path.stat().st_size))
    Ledger(landmarks).note("gone.txt", Download("https://a.org", "0" * 64, 5))
    Ledger(landmarks).note("done.tgz", Download("https://a.org", "0" * 64, 5, unpacked=True))
    found = diagnose("roxford5k", landmarks, listener=heard)
    assert found.problems[0].startswith(f"{path} has sha256 ")
    assert found.problems[1:] == [f"{landmarks}/gone.txt was downloaded and is gone"]
    assert heard.of("checksum")[-1]["done"] == path.stat().st_size
    Ledger(landmarks).path.write_text("{")
    assert "downloads.json cannot be read" in diagnose("roxford5k", landmarks).problems[0]


def test_notes_are_of_labels_and_absent_splits(tmp_path: Path):
    root = example("grocery", tmp_path)
    (next(root.rglob("val.txt"))).unlink()
    found = diagnose("grocery", root)
    assert found.healthy
    assert found.notes[0] == "of the published splits there is no val"
    assert any(text.startswith("train and test share") for text in found.notes)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("omniglot", {"oficial": True}, "did you mean 'official'"),
        ("omniglot", {"official": "perhaps"}, "omniglot.official: Input should be a valid boolean"),
        ("landmarks", {}, "landmarks.truth: is required"),
    ],
)
def test_wrong_options_are_errors(name: str, options: dict[str, Any], said: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=said):
        diagnose(name, tmp_path, options)


def test_unknown_names_suggest(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="did you mean 'omniglot'"):
        diagnose("omniglt", tmp_path)


def test_options_reach_the_reader(tmp_path: Path):
    root = example("omniglot", tmp_path)
    assert set(diagnose("omniglot", root).splits) == {"train", "val", "test"}
    assert set(diagnose("omniglot", root, {"official": True}).splits) == {"train", "test"}


def test_what_can_be_done(tmp_path: Path):
    assert "Bring what is missing by hand" in diagnose("landmarks_clean", tmp_path).advice
    assert diagnose("csv", tmp_path).advice.startswith("Add or replace the files that are named")


def test_a_problem_is_said_once():
    found = Diagnosis("x")
    found.add("a", "b", "a")
    found.add("b")
    assert found.problems == ["a", "b"]
