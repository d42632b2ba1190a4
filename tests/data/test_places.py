from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pertinent.data.datasets.glyphs import Glyphs
from pertinent.data.places import picture_file


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.PNG"
    Image.new("RGB", (4, 3), "red").save(path)
    return path


def test_a_file_and_a_member_of_a_zip_file(picture: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(picture, "deep/b.png")
    assert picture_file(str(picture), 10_000) == (picture.read_bytes(), ".png")
    assert picture_file(f"{tmp_path}/all.zip/deep/b.png", 10_000) == (picture.read_bytes(), ".png")
    assert picture_file(str(picture), 10) == (picture.read_bytes()[:11], ".png")


def test_every_picture_of_glyphs_can_be_read_where_it_lies():
    table = Glyphs(characters=4, per_character=2, size=24).split("test")
    for row in range(len(table)):
        data, suffix = picture_file(table.source.where(row), 10_000)
        assert suffix == ".png"
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), np.asarray(table.read(row)))


@pytest.mark.parametrize(
    "place", ["", "gone.png", "all.zip/gone.png", "a.npy[0]", "pixels.npy[2]", "codes.npy[0]", "text.zip/a.png", "."]
)
def test_nothing_to_read(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.writestr("b.png", b"")
    Path("text.zip").write_text("no zip file")
    np.save("pixels.npy", np.zeros((2, 3, 3, 3), np.uint8))
    np.save("codes.npy", np.zeros((2, 8), np.uint8))
    assert picture_file(place, 100) is None
