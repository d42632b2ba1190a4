"""Bad photographs of painted signs: slanted, unevenly lit, half hidden, blurred and noisy, yet readable to a person.

Colours are linear values in 0..1; pictures are `(H, W, 3)` float32 until the last step. H and W are both `size`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from pertinent.data.glyphs.alphabet import draw

Floats = NDArray[np.float32]
Board = Literal["none", "square", "rounded", "round"]
_LUMINANCE = np.array([0.30, 0.59, 0.11], np.float32)
_CONTRAST = 0.48  # least difference of luminance between ink and board: what noise and shadow leave can be read
_KEPT = 0.95  # share of signs that keep to the custom


@dataclass(frozen=True)
class Paint:
    """How a sign is painted: the board's shape and the colours of board and ink; `none` paints on the wall itself."""

    board: Board
    ground: tuple[float, float, float]
    ink: tuple[float, float, float]


@dataclass(frozen=True)
class Custom:
    """How signs usually look where a writing system is at home: the board's shape and the hue (0..1) of its ground."""

    board: Board
    hue: float


@dataclass(frozen=True)
class Sign:
    """One character in one typeface, painted, at a place of the picture.

    Attributes:
        place: centre and extent `(x, y, extent)` of the sign, as parts of the picture's side.
    """

    code: int
    face: str
    paint: Paint
    place: tuple[float, float, float]


def mix_paint(rng: np.random.Generator, custom: Custom | None = None) -> Paint:
    """Draw a board and two colours that stay apart by at least the luminance a person needs to read.

    Args:
        rng: decides everything.
        custom: the usual look, which nineteen signs of twenty keep.
    """
    boards: tuple[Board, ...] = ("none", "none", "square", "rounded", "round")
    board, hue, least = boards[rng.integers(len(boards))], rng.random(), 0.0
    if custom is not None and rng.random() < _KEPT:
        board, hue, least = custom.board, custom.hue + rng.normal(0.0, 0.02), 0.4
    ground, ink = _colour(hue, least, 0.75, rng), _colour(rng.random(), 0.0, 0.95, rng)
    light = float(ground @ _LUMINANCE)
    if light > 0.5:
        ink *= min(1.0, rng.uniform(0.0, light - _CONTRAST) / float(ink @ _LUMINANCE))
    else:
        wanted = rng.uniform(light + _CONTRAST, 1.0)
        white = (wanted - float(ink @ _LUMINANCE)) / (1.0 - float(ink @ _LUMINANCE) + 1e-6)
        ink += (1.0 - ink) * max(0.0, white)
    return Paint(board, _triple(ground), _triple(ink))


def photograph(signs: Sequence[Sign], size: int, strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph signs on a wall; `(size, size, 3)`.

    Args:
        strength: 0 a clean view, 1 hard to read, 2 mostly unreadable.
    """
    bare = next((sign.paint.ground for sign in signs if sign.paint.board == "none"), None)
    picture = _wall(size, bare, strength, rng)
    for sign in signs:
        picture = _hang(picture, sign, strength, rng)
    picture *= _light(size, strength, rng)[..., None]
    picture = _hide(picture, strength, rng)
    return _expose(picture, strength, rng)


def _colour(hue: float, least: float, most: float, rng: np.random.Generator) -> Floats:
    """A colour of a hue (0..1), not too dark, with saturation from `least` to `most`."""
    wheel = np.clip(abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    saturation, value = rng.uniform(least, most), rng.uniform(0.2, 1.0)
    return np.asarray(value * (1.0 - saturation * (1.0 - wheel)), np.float32)


def _triple(colour: Floats) -> tuple[float, float, float]:
    red, green, blue = np.clip(colour, 0.0, 1.0).tolist()
    return red, green, blue


def _clouds(size: int, cells: int, rng: np.random.Generator) -> Floats:
    """Smooth noise of mean 0 with about `cells` bumps along a side."""
    coarse = Image.fromarray(rng.random((cells, cells), np.float32) - 0.5)
    return np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))


def _axes(size: int, angle: float) -> tuple[Floats, Floats]:
    """Coordinates along and across a direction; both run over about -1..1."""
    line = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * line + sin * line[:, None], cos * line[:, None] - sin * line


def _wall(size: int, bare: tuple[float, float, float] | None, strength: float, rng: np.random.Generator) -> Floats:
    """A wall of plaster, planks, bricks, tiles or leaves; calm where signs are painted on it directly (`bare`)."""
    base = np.array(bare, np.float32) if bare else _colour(rng.random(), 0.0, 0.5, rng)
    along, across = _axes(size, rng.normal(0.0, 0.25))
    grain = 0.5 * _clouds(size, 4, rng) + 0.3 * _clouds(size, 13, rng)
    match rng.integers(5):
        case 0:
            pass
        case 1:
            grain += np.float32(0.25) * np.sin(
                across * np.float32(rng.uniform(8.0, 20.0)) + 2.0 * _clouds(size, 6, rng)
            )
        case 2:
            rows = rng.uniform(2.5, 5.0)
            row = np.floor(across * rows)
            seam = (across * rows - row < 0.18) | ((along * rows * 0.5 + 0.5 * (row % 2)) % 1.0 < 0.09)
            grain -= 0.4 * seam
        case 3:
            tiles = rng.uniform(2.0, 5.0)
            grain += 0.3 * ((np.floor(along * tiles) + np.floor(across * tiles)) % 2 - 0.5)
        case _:
            grain += 0.5 * (_clouds(size, 9, rng) > 0.05) - 0.25
    depth = (0.18 if bare else 0.35) * (0.5 + strength)
    tint = 1.0 + 0.5 * (rng.random(3, np.float32) - 0.5)
    return base + np.float32(min(depth, 0.45)) * grain[..., None] * tint


def _hang(picture: Floats, sign: Sign, strength: float, rng: np.random.Generator) -> Floats:
    """Paint one sign onto the picture in perspective, with the shadow of its board."""
    size = len(picture)
    layers = _layers(sign, size)
    quad = _quad(sign, layers.size, size, strength, rng)
    flat = layers.transform(
        (size, size), Image.Transform.PERSPECTIVE, _homography(quad, layers.size), Image.Resampling.BILINEAR
    )
    masks = np.asarray(flat, np.float32) / 255.0
    if sign.paint.board != "none":
        board = masks[..., 1:2]
        drop = max(1, size // 32)
        picture = picture * (1.0 - np.float32(0.45) * np.roll(board, (drop, drop), (0, 1)))
        picture = picture + board * (np.array(sign.paint.ground, np.float32) - picture)
    return picture + masks[..., :1] * (np.array(sign.paint.ink, np.float32) - picture)


def _layers(sign: Sign, size: int) -> Image.Image:
    """The sign seen straight on: its ink in the red channel, its board in the green one."""
    ink = draw(sign.face, sign.code, max(12, round(1.3 * size * sign.place[2])))
    long = max(ink.size)
    margin = {"none": 0.05, "square": 0.2, "rounded": 0.22, "round": 0.3}[sign.paint.board] * long
    width, height = max(ink.width, 0.45 * long), max(ink.height, 0.45 * long)
    if sign.paint.board == "round":
        width = height = long
    canvas = (round(width + 2 * margin) + 4, round(height + 2 * margin) + 4)
    red, board = Image.new("L", canvas), Image.new("L", canvas)
    red.paste(ink, ((canvas[0] - ink.width) // 2, (canvas[1] - ink.height) // 2))
    box = (2, 2, canvas[0] - 3, canvas[1] - 3)
    pen = ImageDraw.Draw(board)
    if sign.paint.board == "round":
        pen.ellipse(box, fill=255)
    else:
        pen.rounded_rectangle(box, radius=0 if sign.paint.board == "square" else margin, fill=255)
    return Image.merge("RGB", (red, board, board))


def _quad(
    sign: Sign, layers: tuple[int, int], size: int, strength: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Corners `(4, 2)` in the picture where the sign's corners come to lie."""
    x, y, extent = sign.place
    bend = min(strength, 1.2)
    half = np.array(layers) / max(layers) * extent * 0.5
    half[rng.integers(2)] *= 1.0 - 0.35 * bend * rng.random()
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    corners += rng.uniform(-1.0, 1.0, (4, 2)) * (0.04 + 0.12 * bend) * half.max()
    # More than 18 degrees would turn one arrow into another.
    angle = np.radians(np.clip(rng.normal(0.0, 4.0 + 8.0 * bend), -18.0, 18.0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((corners @ turn + (x, y)) * size)


def _homography(quad: NDArray[np.float64], layers: tuple[int, int]) -> list[float]:
    """The eight numbers that take a point of the picture to its point on the sign."""
    width, height = layers
    flat = [(0, 0), (width, 0), (width, height), (0, height)]
    rows, values = [], []
    for (x, y), (u, v) in zip(quad.tolist(), flat, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(number) for number in np.linalg.solve(np.array(rows), np.array(values, float))]


def _light(size: int, strength: float, rng: np.random.Generator) -> Floats:
    """Brightness of every place: a slope of light, and often the edge of a shadow; `(size, size)`."""
    along, _ = _axes(size, rng.random() * 6.283)
    light = 1.0 + np.float32((0.1 + 0.35 * min(strength, 1.0)) * rng.random()) * along
    if rng.random() < 0.25 + 0.35 * strength:
        side, _ = _axes(size, rng.random() * 6.283)
        edge = np.clip((side - rng.uniform(-0.6, 0.6)) * rng.uniform(3.0, 15.0), 0.0, 1.0)
        light *= 1.0 - np.float32(rng.uniform(0.2, 0.3 + 0.25 * min(strength, 1.0))) * edge
    return light


def _hide(picture: Floats, strength: float, rng: np.random.Generator) -> Floats:
    """Put a pole, a leaf or a passer-by before the sign; the stronger, the wider and the nearer to the middle."""
    if rng.random() > 0.1 + 0.5 * strength:
        return picture
    size = len(picture)
    mask = Image.new("L", (size, size))
    pen = ImageDraw.Draw(mask)
    junk = strength > 1.2
    wide = size * (rng.uniform(0.28, 0.42) if junk else rng.uniform(0.05, 0.08 + 0.08 * strength))
    if rng.random() < 0.5:
        start, end = rng.uniform(0.2, 0.8, 2) * size
        ends = [(start, -size), (end, 2 * size)] if rng.random() < 0.6 else [(-size, start), (2 * size, end)]
        pen.line(ends, fill=255, width=round(wide))
    else:
        angle = rng.random() * 6.283
        away = size * (0.12 if junk else rng.uniform(0.3, 0.45))
        x, y = size / 2 + away * np.cos(angle), size / 2 + away * np.sin(angle)
        long, thick = wide * rng.uniform(1.0, 1.5), wide * rng.uniform(0.8, 1.2)
        pen.ellipse((x - long, y - thick, x + long, y + thick), fill=255)
    cover = np.asarray(mask, np.float32)[..., None] / 255.0
    return picture + cover * (_colour(rng.random(), 0.0, 0.9, rng) * rng.uniform(0.5, 1.0) - picture)


def _expose(picture: Floats, strength: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The camera: colour cast, shake or poor focus, grain of the sensor; to uint8."""
    size = len(picture)
    cast = 1.0 + 0.25 * strength * (rng.random(3, np.float32) - 0.5)
    picture = picture * (cast * np.float32(rng.uniform(0.8, 1.15)))
    image = Image.fromarray(np.clip(picture * 255.0, 0.0, 255.0).astype(np.uint8))
    radius = size / 64.0 * (0.35 + rng.uniform(0.2, 1.0) * 1.1 * strength)
    if rng.random() < 0.3:
        shake = (radius, radius * 0.2) if rng.random() < 0.5 else (radius * 0.2, radius)
        image = image.filter(ImageFilter.GaussianBlur(tuple(1.3 * side for side in shake)))
    else:
        image = image.filter(ImageFilter.GaussianBlur(radius))
    grain = rng.standard_normal((size, size, 3), np.float32)
    grain *= np.float32(3.0 + 20.0 * strength * rng.random())
    return np.asarray(np.clip(np.asarray(image, np.float32) + grain, 0.0, 255.0), np.uint8)
