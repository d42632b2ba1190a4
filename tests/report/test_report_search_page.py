from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pertinent.cli.searching import open_queries
from pertinent.data.datasets.folder import Folder
from pertinent.data.images import ArraySource
from pertinent.data.table import ImageTable
from pertinent.engine.run import Run
from pertinent.engine.search import open_searcher
from pertinent.errors import StorageError
from pertinent.report import search_page
from pertinent.report.search_page import run_pictures, write_search_page
from pertinent.report.stored_pictures import StoredPictures
from pertinent.store import StoreLabels


def hit(name: str, labels: list[str]) -> dict[str, Any]:
    return {"id": name, "path": name, "score": 0.5, "labels": labels}


def table(labels: Any, kind: Any, names: Any, level_names: Any = ()) -> ImageTable:
    pixels = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8, 3), dtype=np.uint8)
    return ImageTable([f"q{i}" for i in range(len(labels))], ArraySource(pixels), kind, labels, level_names, names)


def test_search_page(finished_run: Run, pictures: Path, tmp_path: Path):
    picture = pictures / "val" / "cold" / "cyan" / "0.png"
    results = open_searcher(finished_run.folder).search([picture], k=4)
    page = write_search_page(open_queries([str(picture)]), results, tmp_path / "p.html").read_text()
    for found in results[0]:
        assert found["path"] in page
    assert "Found for 0.png" in page
    assert page.count("data:image/") == 5
    assert "unrelated" not in page, "a picture without a label has no right results"


def test_queries_with_labels_frame_their_results(finished_run: Run, pictures: Path, tmp_path: Path):
    queries = Folder(pictures).split("val")
    searcher = open_searcher(finished_run.folder)
    results = searcher.search([queries.read(row) for row in range(len(queries))], k=3)
    labels = searcher.index.store.labels
    page = write_search_page(queries, results, tmp_path / "p.html", pictures=run_pictures(finished_run), labels=labels)
    text = page.read_text()
    assert "Found for 12 pictures" in text
    assert text.count('<article class="example"') == 12
    assert all(words in text for words in ("same class", "same parent", "unrelated"))
    right = sum(found["labels"][0] == queries.label_words(row)[0] for row, hits in enumerate(results) for found in hits)
    assert text.count('<li class="hit s2"') == right


def test_tags_and_labels_of_another_kind(tmp_path: Path):
    queries = table(np.array([[True, False], [False, False]]), "tags", [["sky", "sea"]])
    results = [[hit("a", ["sky", "sea"]), hit("b", ["sea"])], [hit("c", ["sea"])]]
    tags = StoreLabels("tags", np.ones((1, 2), bool), [], [["sky", "sea"]])
    page = write_search_page(queries, results, tmp_path / "p.html", labels=tags).read_text()
    assert [page.count(f'<li class="hit{tone}"') for tone in (" s1", " s0", "")] == [1, 1, 1]
    classes = StoreLabels("classes", np.zeros(1, np.int64), ["kind"], [["sky"]])
    assert "unrelated" not in write_search_page(queries, results, tmp_path / "p.html", labels=classes).read_text()


def test_no_more_queries_than_a_browser_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search_page, "MOST_QUERIES", 2)
    page = write_search_page(table(np.zeros(3, np.int64), "none", []), [[]] * 3, tmp_path / "p.html").read_text()
    assert "The first 2 of 3 queries." in page


def test_pictures_of_a_data_set_that_are_gone(finished_run: Run):
    with pytest.raises(StorageError, match=r"folder no longer holds 'test/none\.png'; embed and index it again"):
        run_pictures(finished_run).read("test/none.png", "x")


def test_pictures_by_their_places(tmp_path: Path):
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "a.png", "in/a.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    stored = StoredPictures()
    for place in ("a.png", "z.zip/in/a.png"):
        picture = stored.read("any", str(tmp_path / place))
        assert picture is not None
        assert picture.size == (3, 2)
    for place in ("none.png", "bad.png", "z.zip/none.png", "none.zip/a.png"):
        assert stored.read("any", str(tmp_path / place)) is None
