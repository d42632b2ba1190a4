"""The alphabet and the photographs behind the glyphs data set."""

from __future__ import annotations

import errno
import os
import unicodedata
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from fontTools.ttLib import TTFont

from pertinent.data.glyphs.alphabet import FACES, SCRIPTS, alphabet, divide, draw, font_folder
from pertinent.data.glyphs.cache import save
from pertinent.data.glyphs.photograph import Sign, mix_paint, photograph
from pertinent.errors import DataError, StorageError

LUMINANCE = np.array([0.30, 0.59, 0.11])


def test_only_faces_that_hold_true_characters() -> None:
    assert not [face for face in FACES if "LastResort" in face or face.startswith("cm")]
    charts = {}
    for face in FACES:
        with TTFont(font_folder() / f"{face}.ttf") as font:
            charts[face] = font.getBestCmap()
    for character in alphabet():
        for face in character.faces:
            assert charts[face].get(character.code, ".notdef") != ".notdef"


def test_no_two_characters_share_a_picture_in_any_face() -> None:
    for face in FACES:
        pictures: dict[bytes, int] = {}
        for character in alphabet():
            if face in character.faces:
                ink = draw(face, character.code, 40)
                twin = pictures.setdefault(bytes(ink.size) + ink.tobytes(), character.code)
                assert twin == character.code, f"{face}: U+{twin:04X} and {character.path}"


def test_lookalikes_are_kept_once_and_near_ones_both() -> None:
    kept = {chr(character.code): character.script for character in alphabet()}
    assert kept["A"] == kept["C"] == "Latin"
    assert not kept.keys() & {"Α", "А", "С", "о", "ο", "v"}
    assert {"O", "Q", "E", "F", "␣"} & kept.keys() == {"O", "Q", "E", "F"}
    assert sum(script == "Hexagrams" for script in kept.values()) == 64


def test_every_script_has_enough_characters_and_typefaces() -> None:
    for script in SCRIPTS:
        members = [character for character in alphabet() if character.script == script]
        assert len(members) >= 20, script
        assert max(len(character.faces) for character in members) >= 2, script


def test_characters_have_names_and_paths() -> None:
    ayb = next(character for character in alphabet() if character.code == 0x561)
    assert (ayb.name, ayb.path) == ("ARMENIAN SMALL LETTER AYB", "Armenian/U+0561")
    assert all(unicodedata.name(chr(character.code)) for character in alphabet())


@pytest.mark.parametrize("most", [4, 11, 1000])
def test_divide_parts_every_script(most: int) -> None:
    parts = divide(alphabet(), most, np.random.default_rng(3))
    for first, second in combinations(parts.values(), 2):
        assert not {c.code for c in first} & {c.code for c in second}
    for script in SCRIPTS:
        train, val, test = ([c for c in parts[name] if c.script == script] for name in ("train", "val", "test"))
        assert len(train) > len(val) >= 1
        assert len(test) >= len(val)
        assert len(train) + len(val) + len(test) <= most


def test_drawing_nothing_is_refused() -> None:
    with pytest.raises(DataError, match=r"DejaVuSans draws no ink for U\+0020"):
        draw("DejaVuSans", 0x20, 40)


def test_paint_can_be_read() -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        paint = mix_paint(rng)
        assert abs((np.array(paint.ground) - np.array(paint.ink)) @ LUMINANCE) >= 0.479
        assert all(0.0 <= value <= 1.0 for value in paint.ground + paint.ink)


@pytest.mark.parametrize("board", ["none", "square", "rounded", "round"])
def test_strength_spoils_a_photograph(board: str) -> None:
    def error(strength: float) -> float:
        errors = []
        for number in range(12):
            paint = mix_paint(np.random.default_rng(number))
            sign = Sign(0x416, "DejaVuSans-Bold", type(paint)(board, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)), (0.5, 0.5, 0.9))
            picture = photograph([sign], 32, strength, np.random.default_rng(number)).mean(2)
            ideal = photograph([sign], 32, 0.0, np.random.default_rng(99)).mean(2)
            errors.append(1.0 - np.corrcoef(picture.ravel(), ideal.ravel())[0, 1])
        return float(np.mean(errors))

    assert error(0.05) < error(0.9) < error(2.0)


def test_a_photograph_is_a_function_of_its_seed() -> None:
    paint = mix_paint(np.random.default_rng(1))
    sign = Sign(0x41, "STIXGeneral", paint, (0.5, 0.5, 0.8))
    first, again, other = (photograph([sign], 48, 0.5, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (48, 48, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_full_disk_is_told_before_pictures_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def drawn() -> Iterator[np.ndarray]:
        raise AssertionError("no picture may be drawn")
        yield

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match=r"cannot keep pictures in .*No space left on device; name another folder"):
        save(tmp_path / "kept" / "train.npy", drawn(), (2, 4, 4, 3), {})
    assert list((tmp_path / "kept").iterdir()) == []
