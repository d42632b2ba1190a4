from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pertinent import EmbeddingStore, Encoder, Index
from pertinent.data.datasets.glyphs import Glyphs
from pertinent.data.transforms import Preprocess
from pertinent.engine.run import Run
from pertinent.models.encoder import EncoderConfig

SIDE = 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` and `test` of glyphs, with copies among them, an encoder of random weights, and their stores."""
    root = tmp_path_factory.mktemp("copies")
    table = Glyphs(None, size=SIDE, per_character=2, characters=4).split("train")
    for split, rows in {"train": range(0, 24), "test": range(24, 40)}.items():
        (root / split / "sign").mkdir(parents=True)
        for row in rows:
            table.read(row).save(root / split / "sign" / f"{row:02d}.png")
    train = root / "train" / "sign"
    table.read(3).save(train / "03-again.jpg", quality=95)
    large = table.read(5).resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS)
    large.save(train / "05-large.png")
    (root / "test" / "other").mkdir()
    shutil.copy(train / "07.png", root / "test" / "other" / "<b>x.png")
    torch.manual_seed(0)
    config = EncoderConfig(backbone="test_resnet", dim=24)
    preprocess = Preprocess(resize=SIDE, crop=SIDE, mean=[0.5] * 3, std=[0.25] * 3)
    encoder = Encoder(config, preprocess).eval()
    # Random weights see all pictures as nearly one; what is the same in all of them is taken out.
    bare = encoder.embed([table.read(row) for row in range(40)])
    encoder.save(root / "encoder")
    for split in ("train", "test"):
        folder = root / split
        paths = sorted(folder.rglob("*.*"))
        vectors = encoder.embed(paths) - bare.mean(0)
        names = [path.relative_to(folder).as_posix() for path in paths]
        kinds = sorted({path.parent.name for path in paths})
        EmbeddingStore.write(
            root / f"s-{split}",
            (vectors / vectors.norm(dim=1, keepdim=True)).numpy(),
            names,
            places=[str(path) for path in paths],
            labels=_labels(kinds, paths),
            encoder=encoder.fingerprint(),
        )
    return root


def _labels(kinds: list[str], paths: list[Path]) -> Any:
    from pertinent.store import StoreLabels

    return StoreLabels("classes", np.array([kinds.index(path.parent.name) for path in paths]), ["class"], [kinds])


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))


def asks_nobody(page: str) -> bool:
    """Whether a page fetches nothing: no address in any tag but those inside of it, nor in its style."""
    tags = Tags(page).tags
    addresses = [value for _, given in tags for name, value in given.items() if name in ("src", "href", "srcset")]
    return (
        all((value or "").startswith("#") for value in addresses) and "url(http" not in page and "@import" not in page
    )


def test_copies_that_were_planted_are_found(call: Any, made: Path):
    said = call("dedup", made / "s-train", "--above", 0.97, "--json", "d.json", "--keep", "largest").stdout
    assert "within s-train" in said
    saved = json.loads(Path("d.json").read_text())
    found = {frozenset((pair["first"]["id"], pair["second"]["id"])) for pair in saved["pairs"]}
    assert frozenset(("sign/03.png", "sign/03-again.jpg")) in found
    assert frozenset(("sign/05.png", "sign/05-large.png")) in found
    assert "sign/05-large.png" in [group["keep"]["id"] for group in saved["groups"]]


def test_a_leak_with_another_label_comes_first_and_fails(call: Any, made: Path):
    words = ["dedup", made / "s-test", made / "s-train", "--above", 0.9999, "--between"]
    result = call(*words, "--html", "deep/d.html", "--csv", "d.csv", "--list", "drop.txt", "--fail-on-leak", status=3)
    assert "leak: s-test and s-train share 1" in result.stderr
    line = next(line for line in result.stdout.splitlines() if line.startswith("1.0000"))
    assert line.split()[1:] == ["other", "s-test:other/<b>x.png", "sign", "s-train:sign/07.png", *line.split()[5:]]
    assert "leak, other label, same file" in line
    assert "groups: 1, the largest of 2; pictures to drop: 1" in result.stdout
    assert Path("drop.txt").read_text() == "s-train\tsign/07.png\n"
    page = Path("deep/d.html").read_text()
    assert asks_nobody(page)
    assert "Between stores, with other labels: 1" in page
    assert "other/&lt;b&gt;x.png" in page
    assert "<b>x.png" not in page
    assert "same file" in page
    assert page.count("data:image/") == 1, "both are the same picture, which is embedded once"
    assert call(*words, status=0).exit_code == 0, "without the option leaks are told only"


def test_stores_without_copies_and_no_leak_then(call: Any, made: Path):
    call("dedup", made / "s-test", made / "s-train", "--above", 0.9999, "--write-clean", "clean")
    said = call(
        "dedup", "clean/s-test", "clean/s-train", "--above", 0.9999, "--fail-on-leak", "--html", "d.html"
    ).stdout
    assert "no near duplicates" in said
    assert "No near duplicates." in Path("d.html").read_text()


def test_signs(call: Any, made: Path):
    said = call("dedup", made / "s-test", made / "s-train", "--bits", 0, "--html", "d.html").stdout
    assert "s-test:other/<b>x.png" in said
    assert "differ in at most 0 bits" in Path("d.html").read_text()


def test_a_run_means_its_test_split(call: Any, finished_run: Run):
    said = call("dedup", finished_run.folder, "--above", 0.5, "--html", "d.html").stdout
    assert f"within {finished_run.folder.name}" in said
    assert "data:image/" in Path("d.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere is no finished embedding store"),
        (["TRAIN", "TRAIN"], "a store is given twice"),
        (["TRAIN", "--above", "0.9", "--bits", "2"], "give one of them"),
        (["TRAIN", "--above", "1.5"], "lies above 0 and is at most 1, got 1.5"),
        (["TRAIN", "--fail-on-leak"], "--fail-on-leak looks between stores; name two or more"),
        (["TRAIN", "--between"], "nothing between; name two or more"),
        (["TRAIN", "--keep", "larges"], "did you mean 'largest'?"),
        (["TRAIN", "--write-clean", "TRAIN"], "is read here, or would be written twice"),
        (["TRAIN", "RUN"], "were made by different encoders"),
    ],
)
def test_dedup_what_cannot_be(call: Any, made: Path, finished_run: Run, words: list[str], said: str):
    known = {"TRAIN": str(made / "s-train"), "RUN": str(finished_run.folder)}
    assert said in call("dedup", *(known.get(word, word) for word in words), status=1).stderr


def test_of_a_compacted_index_its_store_is_named(call: Any, made: Path, tmp_path: Path):
    index = Index.build(EmbeddingStore.open(made / "s-train"))
    index.save(tmp_path / "photos")
    index.delete(index.store.ids[:1])
    index.compact()
    said = " ".join(call("dedup", tmp_path / "photos", status=1).stderr.split())
    assert f"is an index, and stores are compared; name the one in it: {tmp_path / 'photos' / 'store'}" in said
    assert "no near duplicates" in call("dedup", tmp_path / "photos" / "store", "--above", 0.9999).stdout


def test_interrupted_work_leaves_nothing(call: Any, made: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pertinent.functional.near_pairs._reaching", stopped)
    words = ["--json", "d.json", "--html", "d.html", "--write-clean", "clean"]
    assert "interrupted" in call("dedup", made / "s-train", *words, status=130).stderr
    assert list(Path.cwd().iterdir()) == []
