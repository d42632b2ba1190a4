from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from pertinent.errors import InputError, StorageError
from pertinent.report.content import Example, Hit, MetricRow, ReportContent
from pertinent.report.page import DASH, percent, score, write_report

MakeContent = Callable[..., ReportContent]
VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """A page as its elements and its visible text; fails on an element closed out of turn."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.elements if name == tag)

    def pictures(self) -> list[str]:
        """The picture class of every picture shown, in order."""
        return [str(a["class"]).split()[1] for a in self.all("span") if str(a.get("class", "")).startswith("pic ")]


@pytest.fixture(name="write")
def write_fixture(tmp_path: Path) -> Callable[[ReportContent], Page]:
    return lambda content: Page(write_report(content, tmp_path / "report.html"))


def test_page_asks_the_network_for_nothing(write, make_content: MakeContent) -> None:
    page = write(make_content())
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "img", "base"}
        assert not {"src", "srcset", "data", "action", "xlink:href"} & attributes.keys()
        assert str(attributes.get("href", "#")).startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert all(target.startswith("data:image/webp;base64,") for target in re.findall(r"url\((.*?)\)", page.source))
    assert "@import" not in page.source
    assert "http" not in page.source.replace("http-equiv", "")


def test_links_inside_the_page_lead_somewhere(write, make_content: MakeContent) -> None:
    page = write(make_content())
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert {str(a["href"])[1:] for a in page.all("a")} <= ids


def test_everything_is_told(write, make_content: MakeContent) -> None:
    content = make_content()
    text = write(content).text
    told = [content.title, *content.summary, *content.models, *(row.name for row in content.metrics)]
    told += [row.convention for row in content.metrics]
    told += [curve.title for curve in content.curves] + [series.name for c in content.curves for series in c.series]
    told += [word for pair in (*content.facts, *content.commands) for word in pair]
    told += ["41.2", "63.0", "+21.8", "12 skipped", "same character", "same script", "unrelated"]
    for example in (*content.failures, *content.gallery):
        told += [example.id, example.where, *example.words, *(percent(value) for value in example.value.values())]
        told += [hit.where for hits in example.hits.values() for hit in hits]
    assert [words for words in told if words not in text] == []


def test_each_hit_tells_its_severity_without_colour(write, make_content: MakeContent) -> None:
    content = make_content(failures=1, gallery=0)
    page = write(content)
    spoken = re.findall(r"(same character|same script|unrelated), score", page.text)
    expected = [hit.level for hits in content.failures[0].hits.values() for hit in hits]
    assert [["unrelated", "same script", "same character"].index(words) for words in spoken] == expected
    marks = re.findall(r"[●○]{2}", page.text)[3:]
    assert [mark.count("●") for mark in marks] == expected


def test_each_picture_is_embedded_once_and_has_a_text(write, make_content: MakeContent) -> None:
    content = make_content()
    page = write(dataclasses.replace(content, gallery=[*content.gallery, content.failures[0]]))
    embedded = dict(re.findall(r"\.(p\d+)\{background-image:url\((data:[^)]+)\)", page.source))
    shown = page.pictures()
    examples = 5
    assert len(shown) == examples * 31
    assert set(shown) == set(embedded)
    assert len(set(embedded.values())) == len(embedded) == page.source.count("data:image/")
    assert len(embedded) < len(shown)
    assert all(a.get("aria-label") for a in page.all("span") if a.get("role") == "img")


def test_headings_do_not_skip_a_level(write, make_content: MakeContent) -> None:
    levels = [int(tag[1]) for tag, _ in write(make_content()).elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_words_of_the_user_are_escaped(write) -> None:
    evil = "</style><script>alert('x')</script>\"&"
    picture = Image.new("RGB", (8, 8), "red")
    hit = Hit(evil, evil, [evil], 0.5, 1, picture)
    example = Example(evil, evil, [evil], picture, {evil: [hit]}, {evil: 0.5})
    row = MetricRow(evil, evil, {evil: 0.5})
    page = write(
        ReportContent(evil, [evil], [evil], [evil], [row], [], [example], [example], [(evil, evil)], [(evil, evil)])
    )
    assert list(page.all("script")) == []
    assert "<script" not in page.source
    assert evil in page.text


def test_a_path_that_is_not_unicode_is_written(write, make_content: MakeContent) -> None:
    assert "\\udcff" in write(make_content(facts=[("file", "caf\udcff.png")])).text


def test_missing_values_are_dashes(write, make_content: MakeContent) -> None:
    rows = [MetricRow("AP", "all relevant", {"before training": None, "flat AP": math.nan, "HAPPIER": 0.5})]
    text = write(make_content(failures=0, gallery=0, metrics=rows, curves=[])).text
    assert f"all relevant {DASH} {DASH} 50.0" in text
    assert "nan" not in text.lower()
    assert "None" not in text


def test_differences_are_signed_and_say_whether_they_are_good(write, make_content: MakeContent) -> None:
    values = {"before training": 0.5, "flat AP": 0.45, "HAPPIER": 0.5}
    rows = [MetricRow("AP", "a", values), MetricRow("error", "b", values, better="lower")]
    page = write(make_content(metrics=rows))
    classes = [a["class"] for a in page.all("span") if str(a.get("class", "")).startswith("change")]
    assert classes == ["change down", "change", "change up", "change"]
    assert "−5.0" in page.text
    assert "±0.0" in page.text
    assert "lower is better" in page.text


def test_unbounded_metrics_are_not_percent(write, make_content: MakeContent) -> None:
    rows = [MetricRow("ACG@100", "tags shared", {"before training": 0.8, "HAPPIER": 1.31}, bounded=False)]
    text = write(make_content(metrics=rows)).text
    assert "ACG@100 tags shared 0.80" in text
    assert "1.31 +0.51" in text


@pytest.mark.parametrize("levels", [["class"], ["a", "b", "c"], [f"level{i}" for i in range(6)]])
def test_any_number_of_levels(write, levels: list[str]) -> None:
    picture = Image.new("L", (8, 8), 9)
    hits = [Hit(str(level), "", [], 0.5, level, picture) for level in range(len(levels) + 1)]
    example = Example("q", "", [], picture, {"m": hits}, {})
    text = write(ReportContent("t", [], ["m"], levels, failures=[example])).text
    assert all(f"1 same {name}" in text for name in levels)
    assert "1 unrelated" in text
    assert len(set(re.findall(r"[●○]+|\d/\d", text))) == len(levels) + 1


def test_bare_report_of_one_model(write) -> None:
    page = write(ReportContent("Bare", [], ["only"], []))
    assert "No mistake to show." in page.text
    assert "differences" not in page.text


def test_one_model_has_no_differences(write, make_content: MakeContent) -> None:
    content = make_content(models=["only"], failures=1, gallery=1)
    page = write(content)
    assert "41.2" in page.text
    assert not any(str(a.get("class")).startswith("change") for a in page.all("span"))


def test_model_without_results_says_so(write, make_content: MakeContent) -> None:
    example = make_content().failures[0]
    page = write(dataclasses.replace(make_content(), failures=[dataclasses.replace(example, hits={"HAPPIER": []})]))
    assert "No results." in page.text


def test_large_report_stays_small(tmp_path: Path, make_content: MakeContent) -> None:
    content = make_content(failures=40, gallery=20, models=["before", "after"])
    assert write_report(content, tmp_path / "report.html").stat().st_size < 2_500_000


def test_file_is_replaced_whole_and_folders_are_made(tmp_path: Path, make_content: MakeContent) -> None:
    target = tmp_path / "new" / "deep" / "report.html"
    assert write_report(make_content(), target) == target
    write_report(make_content(title="Second"), str(target))
    assert "<title>Second</title>" in target.read_text(encoding="utf-8")
    assert list(target.parent.iterdir()) == [target]


def test_failed_write_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, make_content: MakeContent, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = write_report(make_content(title="First"), tmp_path / "report.html")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        write_report(make_content(title="Second"), target)
    assert "<title>First</title>" in target.read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == [target]


def test_folder_that_cannot_be_made(tmp_path: Path, make_content: MakeContent) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match=r"writing .*report\.html failed"):
        write_report(make_content(), tmp_path / "file" / "report.html")


def test_numbers() -> None:
    assert [percent(x) for x in (0.4125, 1.0, None, math.nan)] == ["41.2", "100.0", DASH, DASH]
    assert [score(x) for x in (0.834, -3.0, -0.001, 123.456, -16.0, math.inf)] == [
        "0.83",
        "−3.00",
        "0.00",
        "123.5",
        "−16.0",
        DASH,
    ]


def test_queries_lead_to_the_search_page(write, make_content: MakeContent) -> None:
    content = make_content(page="http://127.0.0.1:8000/")
    odd = dataclasses.replace(content.failures[0], id="a b/ö&c#d.png")
    page = write(dataclasses.replace(content, failures=[odd, *content.failures[1:]]))
    links = [str(a["href"]) for a in page.all("a") if str(a["href"]).startswith("http")]
    assert len(links) == len(content.failures) + len(content.gallery)
    assert links[0] == "http://127.0.0.1:8000/#id=a%20b/%C3%B6%26c%23d.png"


def test_the_search_page_is_on_the_web(make_content: MakeContent) -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:8000; got 'javascript:alert"):
        make_content(page="javascript:alert(1)")
