from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pertinent import EmbeddingStore, Index
from pertinent.cli.searching import where_of
from pertinent.engine.run import Run
from pertinent.errors import InputError


def lines_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_search_a_run(call: Any, finished_run: Run, pictures: Path):
    picture = pictures / "test" / "warm" / "red" / "0.png"
    lines = call("search", finished_run.folder, picture, "-k", 3).stdout.splitlines()
    assert lines[0].strip() == str(picture)
    assert lines[1].split() == ["score", "label", "picture"]
    assert lines[2].split() == ["1.0000", "red", "<", "warm", str(picture)]
    assert len(lines) == 5


def test_paths_are_shown_as_they_are(call: Any, finished_run: Run, pictures: Path, tmp_path: Path):
    odd = tmp_path / "[red] a:cat:b [bold]"
    odd.mkdir()
    shutil.copy(pictures / "test" / "warm" / "red" / "0.png", odd / "1.png")
    assert f"in {odd}-s" in call("embed", finished_run.folder, odd, "-o", f"{odd}-s").stdout
    assert f"in {odd}-i" in call("index", f"{odd}-s", "-o", f"{odd}-i").stdout
    said = call("search", f"{odd}-i", odd / "1.png", "--model", finished_run.encoder("best")).stdout
    assert said.count(str(odd / "1.png")) == 2
    assert str(odd) in call("search", odd, odd / "1.png", status=1).stderr


def test_search_in_json_lines(call: Any, finished_run: Run, pictures: Path):
    found = [pictures / "test" / name / "1.png" for name in ("warm/red", "cold/blue")]
    answers = lines_of(call("search", finished_run.folder, *found, "--json", "-k", 2))
    assert [answer["query"] for answer in answers] == [str(path) for path in found]
    assert [answer["hits"][0]["path"] for answer in answers] == [str(path) for path in found]
    assert [len(answer["hits"]) for answer in answers] == [2, 2]


def test_search_as_a_page(call: Any, finished_run: Run, pictures: Path):
    picture = pictures / "val" / "warm" / "red" / "0.png"
    assert "page deep/p.html" in call("search", finished_run.folder, picture, "--html", "deep/p.html").stdout
    page = Path("deep/p.html").read_text()
    assert "Found for 0.png" in page
    assert page.count("data:image/") >= 11
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_folder_of_labelled_pictures(call: Any, finished_run: Run, pictures: Path):
    result = call("search", finished_run.folder, pictures / "val", "-k", 2, "--json", "--html", "p.html")
    answers = lines_of(result)
    assert len(answers) == 12
    assert answers[0]["query"] == str(pictures / "val" / "cold" / "blue" / "0.png")
    assert result.stderr == "page p.html\n", "lines of JSON stay alone"
    page = Path("p.html").read_text()
    assert page.count('<article class="example"') == 12
    assert "same class" in page


def test_a_split_of_a_data_set(call: Any, finished_run: Run, pictures: Path):
    words = ["search", finished_run.folder, "folder:val", "--root", pictures, "--json"]
    assert [len(answer["hits"]) for answer in lines_of(call(*words, "-k", 1))] == [1] * 12


def test_files_and_folders_together_have_no_labels(call: Any, finished_run: Run, pictures: Path):
    folder, file = pictures / "val" / "cold" / "blue", pictures / "val" / "warm" / "red" / "0.png"
    found = lines_of(call("search", finished_run.folder, file, folder, "--json", "--html", "p.html"))
    assert [answer["query"] for answer in found] == [str(file), str(folder / "0.png"), str(folder / "1.png")]
    assert "unrelated" not in Path("p.html").read_text()


def test_a_page_for_an_index(call: Any, finished_run: Run, pictures: Path):
    words = ["search", finished_run.index, pictures / "val", "-k", 3, "--model", finished_run.encoder("best")]
    call(*words, "--html", "p.html")
    assert "same parent" in Path("p.html").read_text()
    call(*words, "--html", "q.html", "--items", "folder:test", "--root", pictures)
    assert Path("p.html").read_text() == Path("q.html").read_text()
    said = call(*words, "--html", "q.html", "--items", pictures / "val", status=1).stderr
    assert "no longer holds 'test/" in said


def test_a_part_of_a_picture(call: Any, finished_run: Run, pictures: Path, tmp_path: Path):
    picture = pictures / "val" / "warm" / "red" / "0.png"
    Image.open(picture).crop((2, 3, 20, 24)).save(tmp_path / "cut.png")
    part = lines_of(call("search", finished_run.folder, picture, "--region", "2,3,20,24", "--json"))
    assert part[0]["hits"] == lines_of(call("search", finished_run.folder, "cut.png", "--json"))[0]["hits"]
    assert part[0]["query"] == str(picture)


def test_only_items_with_a_label(call: Any, finished_run: Run, pictures: Path):
    picture = pictures / "val" / "warm" / "red" / "0.png"
    found = lines_of(call("search", finished_run.folder, picture, "--label", "cold", "--label", "blue", "--json"))
    assert [hit["labels"] for hit in found[0]["hits"]] == [["blue", "cold"]] * 2
    said = call("search", finished_run.folder, picture, "--label", "colt", status=1).stderr
    assert "'colt'; did you mean 'cold'" in said
    both = ["search", finished_run.folder, picture, "--label", "cold", "--label", "warm"]
    assert call(*both).stdout == f"{picture}: no item matches\n"
    assert lines_of(call(*both, "--json"))[0]["hits"] == []


def test_only_items_with_metadata(call: Any, finished_run: Run, pictures: Path):
    store = EmbeddingStore.open(finished_run.store("best"))
    given = {name: {"year": 2000 + row, "of": "us"} for row, name in enumerate(store.ids)}
    Index.build(store, metadata=given).save("i")
    words = ["search", "i", pictures / "val" / "warm" / "red" / "0.png", "--model", finished_run.encoder("best")]
    words += ["--json", "--metadata", "year=2003", "--metadata", "year=2005", "--metadata", "of=us"]
    hits = lines_of(call(*words))[0]["hits"]
    assert {hit["metadata"]["year"] for hit in hits} == {2003, 2005}
    said = call("search", finished_run.folder, words[2], "--metadata", "year=2003", status=1).stderr
    assert "'year'; this index has no metadata, build it with some: pertinent index STORE --metadata FILE" in said


def test_words_of_metadata():
    where = where_of(["a"], ["year=2000", "size=1.5", "new=true", "day=2020-01-01", "note=a=b: c", "year=x"])
    assert where.labels == ("a",)
    assert where.metadata == {
        "year": [2000, "x"],
        "size": [1.5],
        "new": [True],
        "day": ["2020-01-01"],
        "note": ["a=b: c"],
    }
    with pytest.raises(InputError, match="--metadata is key=value, got 'year'"):
        where_of([], ["year"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "none.png"], "error: none.png: no such file"),
        (["RUN", "PICTURE", "PICTURE"], "is given twice; name each picture once"),
        (["RUN/index", "PICTURE"], "name the encoder that made its vectors with --model"),
        (["RUN/index", "PICTURE", "--model", "RUN/before"], "did not make the vectors of"),
        (["nowhere", "PICTURE"], "error: there is no folder nowhere"),
        (["RUN", "folder:val", "PICTURE"], "folder:val is a data set, which is searched for alone"),
        (["RUN", "PICTURE", "--root", "x"], "--root x is the folder of a data set; give one as DATASET:SPLIT"),
        (["RUN", "PICTURE", "--items", "x"], "--items x is for the page; add --html FILE"),
        (["RUN", "FOLDER", "--region", "0,0,2,2"], "--region is a part of one picture"),
        (["RUN", "PICTURE", "--region", "0,0,2"], "--region is four numbers left,top,right,bottom"),
        (["RUN", "PICTURE", "--region", "2,0,2,2"], "--region must have left < right"),
        (["RUN", "PICTURE", "--region", "900,0,901,2"], "have no part in the box"),
    ],
)
def test_search_what_cannot_be(call: Any, finished_run: Run, pictures: Path, words: list[str], said: str):
    picture = str(pictures / "val" / "warm" / "red" / "0.png")
    known = {"RUN": str(finished_run.folder), "PICTURE": picture, "FOLDER": str(pictures / "val")}
    filled = [known.get(word, word.replace("RUN/", f"{finished_run.folder}/")) for word in words]
    assert said in call("search", *filled, status=1).stderr


def test_search_for_no_results(call: Any, finished_run: Run):
    assert "-k" in call("search", finished_run.folder, "a.png", "-k", 0, status=2).stderr


def test_many_queries_are_searched_in_batches(
    call: Any, finished_run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
):
    words = ["search", finished_run.folder, pictures / "val", "--json", "-k", 2]
    want = lines_of(call(*words))
    monkeypatch.setattr("pertinent.cli.searching.BATCH", 5)
    assert [answer["query"] for answer in lines_of(call(*words))] == [answer["query"] for answer in want]
    assert "searching: " in call(*words[:3]).stdout
