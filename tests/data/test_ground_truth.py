from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from pertinent.data.ground_truth import read_ground_truth
from pertinent.errors import DataError
from pertinent.relevance import Relevance

REVISITED = {
    "imlist": ["a", "b", "c", "d"],
    "qimlist": ["q", "r"],
    "gnd": [
        {"bbx": [0.0, 1.0, 5.5, 6.0], "easy": [0], "hard": np.array([2]), "junk": []},
        {"bbx": np.arange(4.0), "easy": np.array([], np.int64), "hard": [1, 3], "junk": [np.int64(0)]},
    ],
}


class Shell:
    def __reduce__(self):
        return os.system, ("true",)


class Outside(pickle.Pickler):
    def persistent_id(self, obj):
        return "elsewhere" if isinstance(obj, str) and obj == "c" else None


def write(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_reads_plain_values_and_arrays(tmp_path, protocol):
    truth = read_ground_truth(write(tmp_path / "gnd.pkl", REVISITED, protocol))
    assert truth.items == ["a", "b", "c", "d"]
    assert truth.queries == ["q", "r"]
    assert truth.records[0] == {"easy": [0], "hard": [2], "junk": []}
    assert truth.records[1] == {"easy": [], "hard": [1, 3], "junk": [0]}
    assert truth.boxes == [(0.0, 1.0, 5.5, 6.0), (0.0, 1.0, 2.0, 3.0)]
    assert truth.protocols == ("easy", "medium", "hard")


def test_goes_to_json_and_back(tmp_path):
    truth = read_ground_truth(write(tmp_path / "gnd.pkl", REVISITED))
    truth.save(tmp_path / "gnd.json")
    assert read_ground_truth(tmp_path / "gnd.json") == truth
    classic = {"imlist": ["a"], "qimlist": ["q"], "gnd": [{"ok": [0], "junk": []}]}
    truth = read_ground_truth(write(tmp_path / "classic.pkl", classic))
    truth.save(tmp_path / "classic.json")
    assert read_ground_truth(tmp_path / "classic.json") == truth
    assert truth.protocols == ("classic",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Shell(), "posix.system, which may run code"),
        ({**REVISITED, "imlist": [Shell()]}, "posix.system"),
        ({**REVISITED, "more": eval}, "builtins.eval"),
        ({**REVISITED, "more": np.random.default_rng(0)}, r"numpy.random.*which may run code"),
        ([1, 2], "imlist, qimlist, gnd missing"),
        ({**REVISITED, "qimlist": ["q"]}, "1 queries and 2 records"),
        ({**REVISITED, "gnd": [{"easy": [0]}, {"easy": [0]}]}, "needs easy, hard and junk"),
        ({**REVISITED, "gnd": [{"ok": [0], "junk": []}, {"ok": [4], "junk": []}]}, "query 1 names an item under ok"),
        ({**REVISITED, "gnd": [{"ok": 0.5, "junk": []}, {"ok": [4], "junk": []}]}, "query 0 has no list"),
        ({**REVISITED, "gnd": [{**REVISITED["gnd"][0], "bbx": [1]}, REVISITED["gnd"][1]]}, "four numbers"),
        ({**REVISITED, "gnd": [{**REVISITED["gnd"][0], "bbx": "here"}, REVISITED["gnd"][1]]}, "four numbers"),
        ({**REVISITED, "gnd": 3, "imlist": {}}, "is no ground truth: imlist, gnd must be lists"),
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, content, says):
    with pytest.raises(DataError, match=says):
        read_ground_truth(write(tmp_path / "gnd.pkl", content))


def test_outside_objects_damage_and_missing_files(tmp_path):
    with (tmp_path / "outside.pkl").open("wb") as file:
        Outside(file).dump(REVISITED)
    with pytest.raises(DataError, match="object outside of it"):
        read_ground_truth(tmp_path / "outside.pkl")
    (tmp_path / "damaged.pkl").write_bytes(pickle.dumps(REVISITED)[:-20])
    with pytest.raises(DataError, match="damaged"):
        read_ground_truth(tmp_path / "damaged.pkl")
    (tmp_path / "damaged.json").write_text('{"imlist": [')
    with pytest.raises(DataError, match=r"damaged\.json cannot be read .* make it again"):
        read_ground_truth(tmp_path / "damaged.json")
    with pytest.raises(DataError, match="is missing"):
        read_ground_truth(tmp_path / "none.pkl")


def test_the_genuine_file(shared):
    truth = read_ground_truth(shared / "data" / "revisitop" / "gnd_roxford5k.pkl")
    assert (len(truth.items), len(truth.queries), len(truth.records), len(truth.boxes)) == (4993, 70, 70, 70)
    rel = Relevance.judged(truth.records, "medium", n_items=len(truth.items))
    assert rel.counts(slice(None))[:, 1].min() > 0
