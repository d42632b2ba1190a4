from __future__ import annotations

from pathlib import Path

import pytest

from pertinent.data.datasets.kapture import Kapture
from pertinent.errors import DataError


def test_every_listed_picture_once(tmp_path: Path):
    Kapture.example(tmp_path)
    table = Kapture(tmp_path).split("all")
    assert table.ids == ["cam0/0000.png", "cam1/0001.png", "cam0/0002.png", "cam1/0003.png"]
    assert table.read(3).size == (32, 24)
    listed = tmp_path / "sensors" / "records_camera.txt"
    listed.write_text(listed.read_text() + "\n5, cam0, cam0/0002.png\n")
    assert len(Kapture(tmp_path).split("all")) == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1, cam0\n", r"line 1 needs timestamp, camera, path; got '1, cam0'"),
        ("# nothing\n", "lists no picture"),
        (
            "1, c, cam0/9.png\n2, c, cam0/0000.png\n",
            r"1 of 2 listed pictures are missing in .*records_data: cam0/9\.png",
        ),
        ("1, c, ../../x.png\n", "leads out of"),
        (None, r"records_camera\.txt is missing; root is the folder that holds sensors/"),
    ],
)
def test_lists_that_are_none(tmp_path: Path, text: str | None, said: str):
    Kapture.example(tmp_path)
    listed = tmp_path / "sensors" / "records_camera.txt"
    listed.unlink()
    if text is not None:
        listed.write_text(text)
    with pytest.raises(DataError, match=said):
        Kapture(tmp_path).split("all")
