from __future__ import annotations

import json
import logging
import pickle
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from pertinent.data.datasets import DATASETS
from pertinent.data.datasets.glyphs import Glyphs
from pertinent.data.glyphs.alphabet import SCRIPTS
from pertinent.data.table import ImageTable
from pertinent.errors import InputError, StorageError, UnknownNameError

SMALL = {"size": 32, "per_character": 2, "characters": 4}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("glyphs")
    Glyphs.example(folder)
    return folder


def characters(table: ImageTable) -> set[str]:
    return {name.rsplit("/", 2)[1] for name in table.ids}


def arrays(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.npy"))


def test_registered_by_its_file_name() -> None:
    assert DATASETS.get("glyphs") is Glyphs
    assert DATASETS.entries["glyphs"].summary.startswith("Badly photographed characters")


def test_example_is_what_the_example_options_read(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in arrays(root)}
    for name in Glyphs.splits:
        Glyphs(root, **Glyphs.example_options).split(name)
    assert len(before) == 3
    assert before == {path: path.stat().st_mtime_ns for path in arrays(root)}


def test_splits_have_disjoint_characters_and_all_scripts(root: Path) -> None:
    tables = {name: Glyphs(root, **SMALL).split(name) for name in Glyphs.splits}
    seen = [characters(table) for table in tables.values()]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 4 * len(SCRIPTS)
    for name, table in tables.items():
        assert set(table.labels[:, 1]) == set(range(len(SCRIPTS))), name


def test_tree_labels_name_what_the_ids_say(root: Path) -> None:
    table = Glyphs(root, **SMALL).split("train")
    assert table.kind == "tree"
    assert list(table.level_names) == ["character", "script"]
    assert len(table) == 2 * 2 * len(SCRIPTS)
    assert np.bincount(table.labels[:, 0]).tolist() == [2] * len(table.class_names[0])
    for row in (0, 17, len(table) - 1):
        split, script, code, number = table.ids[row].split("/")
        character, named_script = table.label_words(row)
        assert (split, script, number) == ("train", named_script, f"{row % 2:02d}")
        assert unicodedata.lookup(character) == chr(int(code[2:], 16))


def test_pictures_are_rgb_and_never_empty(root: Path) -> None:
    source = Glyphs(root, **SMALL).split("test").source
    picture = source.read(3)
    assert (picture.mode, picture.size) == ("RGB", (32, 32))
    assert np.array_equal(np.asarray(picture), source.array[3])
    assert source.array.reshape(len(source), -1).std(1).min() > 4.0
    assert source.where(3) == f"{source.path}[3] ({source.ids[3]})"


def test_source_travels_as_its_path(root: Path) -> None:
    source = Glyphs(root, **SMALL).split("train").source
    assert source.array.nbytes > 100_000
    packed = pickle.dumps(source)
    assert len(packed) < 20_000
    assert np.array_equal(pickle.loads(packed).array, source.array)


def test_same_seed_same_bytes_and_other_seed_others(root: Path, tmp_path: Path) -> None:
    first = Glyphs(root, **SMALL).split("val")
    again = Glyphs(tmp_path, **SMALL).split("val")
    other = Glyphs(tmp_path, seed=1, **SMALL).split("val")
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    assert np.array_equal(first.source.array, again.source.array)
    assert characters(first) != characters(other)


def test_a_picture_depends_on_its_id_not_on_how_many_there_are(root: Path, tmp_path: Path) -> None:
    few = Glyphs(root, **SMALL).split("val")
    more = Glyphs(tmp_path, size=32, per_character=3, characters=4).split("val")
    rows = [list(more.ids).index(name) for name in few.ids]
    assert np.array_equal(few.source.array, more.source.array[rows])


def test_cache_goes_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERTINENT_CACHE", str(tmp_path / "kept"))
    Glyphs(**SMALL).split("val")
    folder = next((tmp_path / "kept" / "glyphs").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["val.json", "val.npy"]


@pytest.mark.parametrize("harm", ["flip", "cut", "manifest", "no manifest", "no array"])
def test_damaged_cache_is_made_again(tmp_path: Path, harm: str, caplog: pytest.LogCaptureFixture) -> None:
    glyphs = Glyphs(tmp_path, **SMALL)
    before = np.array(glyphs.split("val").source.array)
    (array,) = arrays(tmp_path)
    manifest = array.with_suffix(".json")
    match harm:
        case "flip":
            data = bytearray(array.read_bytes())
            data[-1] ^= 255
            array.write_bytes(data)
        case "cut":
            array.write_bytes(array.read_bytes()[:-100])
        case "manifest":
            stored = json.loads(manifest.read_text())
            stored["manifest"]["labels"][0][0] = 1
            manifest.write_text(json.dumps(stored))
        case "no manifest":
            manifest.unlink()
        case _:
            array.unlink()
    with caplog.at_level(logging.WARNING):
        table = glyphs.split("val")
    assert np.array_equal(table.source.array, before)
    assert table.labels[0, 0] == 0
    assert ("damaged" in caplog.text) == (not harm.startswith("no "))


def test_failed_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pertinent.data.datasets.glyphs.take", fail)
    with pytest.raises(KeyboardInterrupt):
        Glyphs(tmp_path, **SMALL).split("val")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_unwritable_cache_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "glyphs").write_text("a file in the way")
    with pytest.raises(StorageError, match="PERTINENT_CACHE"):
        Glyphs(tmp_path, **SMALL).split("val")


def test_tags_are_the_scripts_of_one_to_four_signs(tmp_path: Path) -> None:
    glyphs = Glyphs(tmp_path, form="tags", **SMALL)
    table = glyphs.split("train")
    assert (table.kind, table.labels.dtype, table.labels.shape) == ("tags", np.bool_, (40, len(SCRIPTS)))
    assert list(table.class_names[0]) == list(SCRIPTS)
    assert set(table.labels.sum(1)) == {1, 2, 3, 4}
    assert table.label_words(0) == [s for s, there in zip(SCRIPTS, table.labels[0], strict=True) if there]


def test_judgements_point_at_views_of_the_same_sign(tmp_path: Path) -> None:
    glyphs = Glyphs(tmp_path, form="judged", size=32, per_character=6, characters=4)
    table = glyphs.split("test")
    assert table.kind == "judged"
    assert len(table.judgements) == len(SCRIPTS) / 2
    mentioned = set()
    for judged in table.judgements:
        own = table.ids[judged.query].rsplit("/", 1)[0]
        for view, rows in {
            "query": (judged.query,),
            "easy": judged.easy,
            "hard": judged.hard,
            "junk": judged.junk,
        }.items():
            assert [table.ids[row].split("/")[:-1] for row in rows] == [own.split("/")] * len(rows)
            assert all(table.ids[row].rsplit("/", 1)[1].startswith(view) for row in rows)
            mentioned.update(rows)
        assert (len(judged.easy), len(judged.hard), len(judged.junk)) == (2, 2, 1)
    others = set(range(len(table))) - mentioned
    assert len(others) == 6 * len(SCRIPTS) / 2
    assert all("/other-" in table.ids[row] for row in others)


def test_signs_to_learn_from_are_labelled_and_none_is_judged(tmp_path: Path) -> None:
    glyphs = Glyphs(tmp_path, form="judged", size=32, per_character=6, characters=4)
    table = glyphs.split("train")
    assert (table.kind, table.labels.shape, len(table.judgements)) == ("classes", (len(table),), 0)
    assert np.bincount(table.labels).tolist() == [6] * (table.labels.max() + 1)
    for row, name in enumerate(table.ids):
        sign, view = name.removeprefix("train/").rsplit("/", 1)
        assert table.label_words(row) == [sign]
        assert view.startswith("easy" if row % 2 == 0 else "hard")
    assert glyphs.split("val").kind == "judged"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "trees"}, "did you mean 'tree'"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"size": 8}, "size must be a whole number from 16 to 256, not 8"),
        ({"size": 64.0}, "size must be"),
        ({"per_character": 1}, "per_character must be a whole number from 2"),
        ({"form": "judged", "per_character": 3}, "per_character must be a whole number from 4"),
        ({"characters": True}, "characters must be"),
        ({"characters": 3}, "characters must be a whole number from 4"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Glyphs(**options)


def test_unknown_split_suggests_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        Glyphs(tmp_path).split("trian")
