from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pertinent.cli import screen
from pertinent.cli.__main__ import app
from pertinent.cli.data_screen import DataScreen, amount
from pertinent.data.datasets import DATASETS
from pertinent.data.sources import sources
from web import Site, make_certificate, publishing, serving

TABLE = {
    "omniglot": {
        "page": "https://a.org/omniglot",
        "licence": "MIT",
        "labels": ["tree"],
        "splits": ["train", "val", "test"],
        "files": [
            {"url": "SITE/images_background.zip"},
            {"url": "SITE/images_evaluation.zip", "recalled": True},
        ],
    },
    "landmarks_clean": {
        "page": "https://a.org/landmarks",
        "licence": "unknown",
        "labels": ["classes"],
        "splits": ["train"],
        "by_hand": "ask the authors",
    },
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def site(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[Site]:
    """A publisher of the two zip files of Omniglot."""
    model = tmp_path / "model"
    DATASETS.get("omniglot").example(model)
    with serving(certificate) as site, publishing(TABLE, site, certificate[0]):
        for part in ("images_background", "images_evaluation"):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w") as archive:
                for path in sorted((model / part).rglob("*.png")):
                    archive.write(path, path.relative_to(model))
            site.add(f"{part}.zip", stream.getvalue())
        yield site


def test_list(call: Any):
    said = call("datasets", "list").stdout
    for name, source in sources().items():
        row = next(line for line in said.splitlines() if line.startswith(f"{name} "))
        assert ", ".join(source.splits) in row
        assert source.licence in row
        assert ("by hand" in row) == (not source.files)
    assert "www.robots.ox.ac.uk" in said
    assert "from your own files, or made here: " in said
    assert "folder" in said.splitlines()[-1]


def test_download_and_doctor(call: Any, site: Site, tmp_path: Path):
    said = call("datasets", "download", "omniglot", tmp_path / "o", "--yes").stdout
    assert f"{site.address}/images_evaluation.zip  (an address that its publisher does not write so)" in said
    assert "licence: MIT; see https://a.org/omniglot" in said
    assert "kB" in said
    assert "no checksum of images_background.zip, images_evaluation.zip" in said
    assert "pictures: train 8, val 2, test 2" in said
    assert "omniglot is healthy" in said
    asked = len(site.asked)
    said = call("datasets", "download", "omniglot", tmp_path / "o").stdout
    assert f"{tmp_path / 'o'}: nothing to download" in said
    assert "omniglot is healthy" in said
    assert len(site.asked) == asked
    said = call("datasets", "doctor", "omniglot", tmp_path / "o", "official=true", "--pictures").stdout
    assert "pictures: train 12, test 12" in said
    assert said.splitlines()[-1] == "omniglot is healthy."


def test_one_may_say_no(site: Site, tmp_path: Path):
    words = ["datasets", "download", "omniglot", str(tmp_path / "o")]
    result = CliRunner().invoke(app, words, input="n\n")
    assert result.exit_code == 1
    assert "Download? [y/N]" in result.output
    assert not (tmp_path / "o").exists()
    assert {method for method, _, _ in site.asked} == {"HEAD"}
    result = CliRunner().invoke(app, words, input="y\n")
    assert result.exit_code == 0
    assert "omniglot is healthy" in result.output


def test_an_interrupted_download_goes_on(call: Any, site: Site, tmp_path: Path):
    page = site.pages["/images_background.zip"]
    page.plan += [("end", 1000), *[503] * 4]
    said = call("datasets", "download", "omniglot", tmp_path / "o", "--yes", status=1)
    assert "images_background.zip: the connection ended after 1,000 of" in said.stdout
    assert "trying again in 0 s" in said.stdout
    assert "in 5 tries; see whether" in said.stderr
    said = call("datasets", "doctor", "omniglot", tmp_path / "o", status=1).stdout
    assert f"problem: {tmp_path}/o/.images_background.zip.part is a download that was broken off" in said
    assert said.splitlines()[-1].startswith("Run `pertinent datasets download omniglot")
    assert "healthy" in call("datasets", "download", "omniglot", tmp_path / "o", "--yes").stdout
    assert ("GET", "/images_background.zip", "bytes=1000-") in site.asked


def test_doctor_of_a_broken_data_set(call: Any, site: Site, tmp_path: Path):
    call("datasets", "download", "omniglot", tmp_path / "o", "--yes")
    path = tmp_path / "o" / "images_background.zip"
    path.write_bytes(path.read_bytes()[:-10])
    said = call("datasets", "doctor", "omniglot", tmp_path / "o", status=1).stdout
    assert "problem: " in said
    assert "were downloaded" in said
    # What we brought and was damaged since is brought again.
    assert "healthy" in call("datasets", "download", "omniglot", tmp_path / "o", "--yes").stdout


def test_doctor_names_every_missing_picture_in_a_file(call: Any, tmp_path: Path):
    lines = ["path,label", *(f"{number:02}.png,{number % 2}" for number in range(30))]
    (tmp_path / "all.csv").write_text("\n".join(lines))
    words = ["datasets", "doctor", "csv", tmp_path, "file=all.csv", "label_columns=[label]"]
    said = call(*words, status=1).stdout
    assert "problem: 30 pictures are missing (all 30 of 30): " in said
    assert "09.png and 20 more" in said
    assert "30 pictures are missing or damaged; --json FILE names each" in said
    said = call(*words, "--json", tmp_path / "found.json", status=1).stdout
    assert f"all of it in {tmp_path / 'found.json'}" in said
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["healthy"] is False
    assert [Path(one["place"]).name for one in written["pictures"]] == [f"{number:02}.png" for number in range(30)]


def test_what_has_to_be_asked_for(call: Any, site: Site, tmp_path: Path):
    said = call("datasets", "download", "landmarks_clean", tmp_path, status=1).stdout
    assert "by hand: ask the authors; see https://a.org/landmarks" in said
    assert "nothing to download" in said
    assert "Bring what is missing by hand" in said


def test_wrong_words(call: Any, tmp_path: Path):
    assert "did you mean 'omniglot'" in call("datasets", "download", "omniglt", tmp_path, status=1).stderr
    assert "did you mean 'omniglot'" in call("datasets", "doctor", "omniglt", tmp_path, status=1).stderr
    assert "did you mean 'official'" in call("datasets", "doctor", "omniglot", tmp_path, "oficial=1", status=1).stderr
    assert "expected key=value" in call("datasets", "doctor", "omniglot", tmp_path, "official", status=1).stderr
    call("datasets", "doctor", "omniglot", status=2)
    said = call("datasets", "--help").stdout
    assert all(word in said for word in ("list", "download", "doctor"))


def test_the_real_program_needs_no_torch(tmp_path: Path):
    """The commands start fast, and their status reaches the shell."""
    DATASETS.get("omniglot").example(tmp_path)
    code = (
        "import sys; from pertinent.cli.__main__ import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules and 'typer' in sys.modules"
    )
    for root, status in ((tmp_path, 0), (tmp_path / "gone", 1)):
        words = [sys.executable, "-c", code, "datasets", "doctor", "omniglot", str(root)]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "40"})
        assert (done.returncode, "Traceback" in done.stderr) == (status, False), done.stderr
        assert ("healthy" in done.stdout) == (status == 0)


def test_what_a_person_sees(monkeypatch: pytest.MonkeyPatch):
    text = io.StringIO()
    monkeypatch.setattr(screen, "out", Console(file=text, width=160, markup=False))
    monkeypatch.setattr(screen, "QUIET_FOR", -1.0)
    listener = DataScreen()
    with listener:
        for event in (
            {"event": "download", "name": "a.zip", "done": 1_500_000, "total": 3e9, "rate": 1e6, "eta": 70.0},
            {"event": "download", "name": "a.zip", "done": 1_500_000, "total": None, "rate": 1e6, "eta": None},
            {"event": "unpack", "name": "a.zip", "done": 500, "total": 1000, "rate": 500.0, "eta": 1.0},
            {"event": "checksum", "name": "a.zip", "done": 500, "total": 1000, "rate": 500.0, "eta": 1.0},
            {"event": "decode", "name": "cub", "done": 500, "total": 1000, "rate": 500.0, "eta": 1.0},
            {"event": "retry", "name": "a.zip", "reason": "the server answered 503", "wait": 2.0},
            {"event": "unverified", "name": "a.zip", "sha256": "00"},
        ):
            listener(event)
    assert text.getvalue().splitlines() == [
        "downloading a.zip: 1.5 MB of 3.0 GB  1.0 MB/s  left 1 min 10 s",
        "downloading a.zip: 1.5 MB  1.0 MB/s",
        "unpacking a.zip: 0.5 kB of 1.0 kB  0.5 kB/s  left 1 s",
        "checking a.zip: 0.5 kB of 1.0 kB  0.5 kB/s  left 1 s",
        "decoding cub: 500/1,000  500 pictures/s  left 1 s",
        "a.zip: the server answered 503; trying again in 2 s",
    ]
    assert listener.unverified == ["a.zip"]


def test_amount():
    assert [amount(size) for size in (None, 0, 99_999, 100_000, 1e9)] == ["?", "0.0 kB", "100.0 kB", "0.1 MB", "1.0 GB"]
