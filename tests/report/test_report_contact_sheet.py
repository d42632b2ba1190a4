from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pertinent.errors import InputError, StorageError
from pertinent.report.contact_sheet import Asked, write_contact_sheet
from pertinent.report.content import Hit

PICTURE = Image.effect_noise((300, 200), 60).convert("RGB")


def hit(name: str, **changes: object) -> Hit:
    fields: dict[str, object] = {
        "where": f"/pictures/{name}",
        "words": [],
        "score": 0.5,
        "level": None,
        "image": PICTURE,
    }
    return Hit(id=name, **{**fields, **changes})  # type: ignore[arg-type]


def asked(*hits: Hit, name: str = "q.png", words: tuple[str, ...] = ()) -> Asked:
    return Asked(name, words, PICTURE, hits)


def test_results_without_labels(tmp_path: Path) -> None:
    queries = [asked(hit("a.png"), hit("<b>.png", score=0.25))]
    page = write_contact_sheet(queries, tmp_path / "hits.html").read_text()
    assert "2 results" in page
    assert "unrelated" not in page
    assert all(words in page for words in ("a.png", "&lt;b&gt;.png", "0.50", "0.25", "/pictures/a.png"))
    assert "<b>.png" not in page
    assert page.count("data:image/") == 1
    assert "http" not in page.replace("http-equiv", "")
    assert "src=" not in page


def test_results_with_labels_have_a_legend(tmp_path: Path) -> None:
    hits = [hit("a.png", words=["tit", "bird"], level=2), hit("b.png", words=["oak", "tree"], level=0)]
    page = write_contact_sheet([asked(*hits)], tmp_path / "h.html", title="Birds", levels=["species", "kingdom"])
    text = page.read_text()
    assert all(words in text for words in ("<h1>Birds</h1>", "same species", "same kingdom", "unrelated", "tit", "●●"))


def test_nothing_found(tmp_path: Path) -> None:
    assert "Nothing was found." in write_contact_sheet([asked()], tmp_path / "none.html").read_text()


def test_level_without_named_levels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has level 1, expected 0 to 0"):
        write_contact_sheet([asked(hit("a.png", level=1))], tmp_path / "h.html")


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"writing .*h\.html failed"):
        write_contact_sheet([asked()], tmp_path / "file" / "h.html")


def test_many_queries_stand_in_rows(tmp_path: Path) -> None:
    hits = [hit("a.png", words=["tit", "bird"], level=2), hit("b.png", words=["owl", "bird"], level=1)]
    queries = [asked(*hits, name="<i>.png", words=("tit", "bird")), asked(name="none.png")]
    path = write_contact_sheet(queries, tmp_path / "h.html", levels=["species", "kingdom"], left_out=1200)
    page = path.read_text()
    assert page.count('<article class="example"') == 2
    assert "The first 2 of 1202 queries." in page
    assert "<h3>tit</h3>" in page
    assert "<h3>none.png</h3>" in page
    assert "&lt;i&gt;.png" in page
    assert "<i>.png" not in page
    assert "Nothing was found." in page
    assert "1 same species" in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_picture_that_is_not_there(tmp_path: Path) -> None:
    page = write_contact_sheet([asked(hit("a.png", image=None))], tmp_path / "h.html").read_text()
    assert "(the picture is not there)" in page
    assert page.count("data:image/") == 1
