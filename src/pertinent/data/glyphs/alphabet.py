"""Which characters of which scripts exist, in which typefaces, and how they are split for training and testing.

The typefaces are those that matplotlib installs. Only DejaVu and STIX are used: the Computer Modern files do not map
Unicode sensibly, and the Last Resort face draws a placeholder box for every character.

Two characters that look alike make an unfair label: Latin A, Greek Alpha and Cyrillic A are one picture, and so are
C and c once the size is gone. Of such a group only the first in the order of `SCRIPTS` is kept. This is decided in
every typeface: a character keeps the typefaces where it looks like no character before it, and is left out when that
is half of them or fewer.
"""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pertinent.errors import DataError

# Ranges of code points, for Python knows no script property. Large blocks are thinned: their neighbours are near twins.
# The comment is the number of typefaces that hold the script.
SCRIPTS: dict[str, tuple[range, ...]] = {
    "Latin": (range(0x41, 0x5B), range(0x61, 0x7B), range(0xC6, 0xC7), range(0xD8, 0xE0), range(0xF0, 0xF1)),  # 16
    "Greek": (range(0x391, 0x3CA), range(0x3D0, 0x3E2)),  # 12 to 16
    "Cyrillic": (range(0x402, 0x450), range(0x452, 0x460), range(0x460, 0x482)),  # 4 to 16
    "Armenian": (range(0x531, 0x557), range(0x561, 0x587)),  # 12
    "Georgian": (range(0x10D0, 0x10F7), range(0x10A0, 0x10C6)),  # 8 to 12
    "Hebrew": (range(0x5D0, 0x5EB),),  # 4
    "Arabic": (range(0x620, 0x64B), range(0x66E, 0x6D4)),  # 2 to 4
    "N'Ko": (range(0x7C0, 0x7EB),),  # 2
    "Lao": (range(0xE81, 0xEAF), range(0xEC0, 0xEC5), range(0xED0, 0xEDE)),  # 4 to 8
    "Canadian Syllabics": (range(0x1401, 0x1677, 4),),  # 4
    "Ogham": (range(0x1681, 0x169B),),  # 2
    "Tifinagh": (range(0x2D30, 0x2D66),),  # 2
    "Braille": (range(0x2801, 0x2900, 3),),  # 8
    "Hexagrams": (range(0x4DC0, 0x4E00),),  # 4
    "Dominoes": (range(0x1F030, 0x1F094),),  # 4
    "Arrows": (range(0x2190, 0x2200),),  # 12 to 14
    "Mathematics": (range(0x2200, 0x2300, 2),),  # 5 to 16
    "Shapes": (range(0x25A0, 0x2600),),  # 13 to 14
    "Symbols": (range(0x2600, 0x2630, 2), range(0x263C, 0x2672, 2), range(0x2701, 0x2768, 2)),  # 4 to 14
    "Faces": (range(0x1F600, 0x1F650),),  # 4
}
_FAMILIES = {
    "DejaVuSans": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSansMono": ("", "-Bold", "-Oblique", "-BoldOblique"),
    "DejaVuSerif": ("", "-Bold", "-Italic", "-BoldItalic"),
    "STIXGeneral": ("", "Bol", "Italic", "BolIta"),
}
FACES = tuple(family + style for family, styles in _FAMILIES.items() for style in styles)
_THUMB = 24  # side of the thumbnails on which characters are compared
_LEAST_SIDE = 0.25  # of an em: what is smaller is a dot or a dash, and says nothing once it is enlarged


@dataclass(frozen=True)
class Character:
    """One character, its script and the typefaces (names in `FACES`) that may draw it."""

    code: int
    script: str
    faces: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its Unicode name."""
        return unicodedata.name(chr(self.code))

    @property
    def path(self) -> str:
        """Script and code point, as `Armenian/U+0561`."""
        return f"{self.script}/U+{self.code:04X}"


def font_folder() -> Path:
    """Where matplotlib keeps its font files."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf"


def draw(face: str, code: int, em: int) -> Image.Image:
    """Draw one character alone, white on black, cut to its ink; a picture of mode L, `em` is the font size in pixels.

    Raises:
        DataError: the typeface draws nothing for it.
    """
    canvas = Image.new("L", (3 * em, 3 * em))
    ImageDraw.Draw(canvas).text((em, 2 * em), chr(code), fill=255, font=_font(face, em), anchor="ls")
    ink = canvas.getbbox()
    if ink is None:
        raise DataError(f"{face} draws no ink for U+{code:04X}")
    return canvas.crop(ink)


@cache
def alphabet() -> tuple[Character, ...]:
    """All usable characters, in the order of `SCRIPTS`, with the typefaces that draw each unmistakably."""
    twins = {face: _twins(face) for face in FACES}
    kept: dict[int, Character] = {}
    for script, code in _candidates():
        having = [face for face in FACES if code in twins[face]]
        clear = tuple(
            face for face in having if not any(c in kept and face in kept[c].faces for c in twins[face][code])
        )
        if 2 * len(clear) > len(having):
            kept[code] = Character(code, script, clear)
    return tuple(kept.values())


def divide(characters: Iterable[Character], most: int, rng: np.random.Generator) -> dict[str, list[Character]]:
    """Draw up to `most` characters of each script and part them: 65% train, 10% val, 25% test, at least one of each."""
    parts: dict[str, list[Character]] = {"train": [], "val": [], "test": []}
    by_script: dict[str, list[Character]] = {script: [] for script in SCRIPTS}
    for character in characters:
        by_script[character.script].append(character)
    for members in by_script.values():
        drawn = [members[i] for i in rng.permutation(len(members))[:most].tolist()]
        test, val = max(1, round(0.25 * len(drawn))), max(1, round(0.1 * len(drawn)))
        cuts = {"test": drawn[:test], "val": drawn[test : test + val], "train": drawn[test + val :]}
        for split, part in cuts.items():
            parts[split] += sorted(part, key=lambda character: character.code)
    return parts


@cache
def _candidates() -> list[tuple[str, int]]:
    """Letters and symbols of all scripts; composed ones (A with a ring) are left out as too near to their base."""
    return [
        (script, code)
        for script, codes in SCRIPTS.items()
        for code in itertools.chain(*codes)
        if unicodedata.category(chr(code))[0] in "LSN" and not unicodedata.decomposition(chr(code))
    ]


def _chart(face: str) -> set[int]:
    """The code points that a typeface truly holds: glyph 0 is the box drawn for all others."""
    from matplotlib.ft2font import FT2Font

    path = font_folder() / f"{face}.ttf"
    if not path.is_file():
        raise DataError(f"{path} is missing: the glyphs data set draws with the fonts of matplotlib; reinstall it")
    return {int(code) for code, glyph in FT2Font(str(path)).get_charmap().items() if int(glyph) != 0}


def _twins(face: str) -> dict[int, list[int]]:
    """For each candidate that a typeface holds: the earlier candidates that look the same in it, whatever their size.

    Characters are compared as thumbnails stretched to one square. Two are the same picture to a person when their
    proportions agree within a quarter and their thumbnails nowhere differ by the strength of a stroke: so C and c are
    the same, O and Q are not, nor are two hexagrams of which one line differs.
    """
    chart = _chart(face)
    em = 3 * _THUMB
    inks = {code: draw(face, code, em) for _, code in _candidates() if code in chart}
    inks = {code: ink for code, ink in inks.items() if max(ink.size) >= _LEAST_SIDE * em}
    codes = list(inks)
    proportions = np.array([np.clip(np.log(ink.width / ink.height), -1.5, 1.5) for ink in inks.values()])
    thumbs = np.stack([_thumbnail(ink) for ink in inks.values()])
    unit = thumbs - thumbs.mean(1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True) + 1e-6
    near = (unit @ unit.T > 0.6) & (abs(proportions[:, None] - proportions) < np.log(1.25))
    twins: dict[int, list[int]] = {code: [] for code in codes}
    for later, earlier in np.argwhere(np.tril(near, -1)).tolist():
        if abs(thumbs[later] - thumbs[earlier]).max() < 0.65:
            twins[codes[later]].append(codes[earlier])
    return twins


def _thumbnail(ink: Image.Image) -> NDArray[np.float32]:
    square = Image.new("L", (_THUMB + 4, _THUMB + 4))
    square.paste(ink.resize((_THUMB, _THUMB), Image.Resampling.BOX), (2, 2))
    return np.asarray(square.filter(ImageFilter.GaussianBlur(0.8)), np.float32).ravel() / 255.0


@cache
def _font(face: str, em: int) -> ImageFont.FreeTypeFont:
    # The basic layout draws the isolated form of a character on every machine, with or without a shaping library.
    return ImageFont.truetype(font_folder() / f"{face}.ttf", em, layout_engine=ImageFont.Layout.BASIC)
