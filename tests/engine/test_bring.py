from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders import Listening
from pertinent.data import archives
from pertinent.data.datasets import DATASETS
from pertinent.data.ledger import Ledger
from pertinent.engine.bring import bring, needed
from pertinent.engine.doctor import diagnose
from pertinent.errors import DataError, UnknownNameError
from web import Site, make_certificate, publishing, serving

TABLE = {
    "roxford5k": {
        "page": "https://a.org",
        "licence": "free",
        "labels": ["judged"],
        "splits": ["test", "gallery", "queries"],
        "files": [
            {"url": "SITE/gnd_roxford5k.pkl"},
            {"url": "SITE/a-{number}.tgz", "numbers": [1, 2], "unpack": "jpg", "flatten": True},
        ],
    },
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def site(certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A publisher of the example of Revisited Oxford: a ground truth and two archives of half the pictures each."""
    monkeypatch.setattr(DATASETS.get("roxford5k"), "expected", {"gallery": 6, "queries": 2})
    model = tmp_path / "model"
    DATASETS.get("roxford5k").example(model)
    with serving(certificate) as site, publishing(TABLE, site, certificate[0]):
        site.add("gnd_roxford5k.pkl", (model / "gnd_roxford5k.pkl").read_bytes())
        pictures = sorted((model / "jpg").iterdir())
        for number, part in ((1, pictures[:4]), (2, pictures[4:])):
            site.add(f"a-{number}.tgz", tar(part, f"oxford/{number}"))
        yield site


def tar(files: list[Path], inside: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path in files:
            archive.add(path, f"{inside}/{path.name}")
    return stream.getvalue()


def names(files: list[Any]) -> list[str]:
    return [file.name for file in files]


def test_all_is_brought_once(site: Site, tmp_path: Path):
    heard = Listening()
    root = tmp_path / "new" / "root"
    files = needed("roxford5k", root)
    assert names(files) == ["gnd_roxford5k.pkl", "a-1.tgz", "a-2.tgz"]
    bring("roxford5k", root, files, heard)
    assert sorted(path.name for path in root.iterdir()) == [".downloads.json", "gnd_roxford5k.pkl", "jpg"]
    assert len(list((root / "jpg").iterdir())) == 8
    assert diagnose("roxford5k", root, pictures=True).problems == []
    assert {event["name"] for event in heard.of("unpack")} == {"a-1.tgz", "a-2.tgz"}
    assert len(heard.of("unverified")) == 3
    assert needed("roxford5k", root) == []


def test_pictures_that_are_there_are_not_brought(site: Site, tmp_path: Path):
    """As when the same pictures came with the classic benchmark."""
    (tmp_path / "model" / "gnd_roxford5k.pkl").unlink()
    files = needed("roxford5k", tmp_path / "model")
    assert len(files) == 3
    bring("roxford5k", tmp_path / "model", files)
    assert [path for _, path, _ in site.asked] == ["/gnd_roxford5k.pkl"]
    assert needed("roxford5k", tmp_path / "model") == []


def test_a_data_set_laid_out_by_hand_needs_nothing(site: Site, tmp_path: Path):
    assert needed("roxford5k", tmp_path / "model") == []
    assert needed("roxford5k", tmp_path) != []
    (tmp_path / "model").rename(tmp_path / "roxford5k")
    assert needed("roxford5k", tmp_path) == []


def test_only_what_is_not_unpacked_is_brought(site: Site, tmp_path: Path):
    root = tmp_path / "root"
    files = needed("roxford5k", root)
    bring("roxford5k", root, files[:2])
    assert names(needed("roxford5k", root)) == ["a-2.tgz"]
    bring("roxford5k", root, needed("roxford5k", root))
    assert diagnose("roxford5k", root).healthy
    # All archives were unpacked, and yet a picture is missing: nobody knows in which it was.
    (root / "jpg" / "place_000001.jpg").unlink()
    assert names(needed("roxford5k", root)) == ["a-1.tgz", "a-2.tgz"]
    bring("roxford5k", root, needed("roxford5k", root))
    assert diagnose("roxford5k", root).healthy


class Killed(BaseException):
    pass


def test_an_interrupted_unpacking_is_repeated(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    root, moved = tmp_path / "root", archives.os.replace
    bring("roxford5k", root, needed("roxford5k", root)[:2])

    def stop(source: Any, target: Any) -> None:
        if Path(target).name == "place_000005.jpg":
            raise Killed
        moved(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(archives.os, "replace", stop)
        patch.setattr(archives.shutil, "rmtree", lambda *words, **more: None)  # noqa: ARG005
        with pytest.raises(Killed):
            bring("roxford5k", root, needed("roxford5k", root))
    said = "\n".join(diagnose("roxford5k", root).problems)
    assert "a-2.tgz is downloaded but not unpacked" in said
    assert "is what an interrupted unpacking left" in said
    asked = len(site.asked)
    bring("roxford5k", root, needed("roxford5k", root))
    assert diagnose("roxford5k", root).problems == []
    assert len(site.asked) == asked


def test_an_archive_of_somebody_stays(site: Site, tmp_path: Path):
    root = tmp_path / "root"
    root.mkdir()
    for number in (1, 2):
        (root / f"a-{number}.tgz").write_bytes(site.pages[f"/a-{number}.tgz"].data)
    bring("roxford5k", root, needed("roxford5k", root))
    assert diagnose("roxford5k", root).problems == []
    assert (root / "a-1.tgz").exists()
    assert [path for _, path, _ in site.asked] == ["/gnd_roxford5k.pkl"]


def test_a_damaged_list_is_brought_again(site: Site, tmp_path: Path):
    root = tmp_path / "root"
    bring("roxford5k", root, needed("roxford5k", root))
    path = root / "gnd_roxford5k.pkl"
    good = path.read_bytes()
    path.write_bytes(good + b"\0")  # which the reader does not mind
    assert not diagnose("roxford5k", root).healthy
    assert names(needed("roxford5k", root)) == ["gnd_roxford5k.pkl"]
    bring("roxford5k", root, needed("roxford5k", root))
    assert path.read_bytes() == good
    assert diagnose("roxford5k", root).healthy


def test_a_published_checksum_counts(site: Site, tmp_path: Path):
    root = tmp_path / "root"
    file = needed("roxford5k", root)[0].model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DataError, match="expected 0000"):
        bring("roxford5k", root, [file])
    assert Ledger(root).read() == {}


def test_what_nobody_publishes(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="unknown published data set 'csv'"):
        needed("csv", tmp_path)
