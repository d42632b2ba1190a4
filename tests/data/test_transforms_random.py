"""Random steps of the transform words: torch's seed alone decides, every draw is reached, none is beyond its bounds."""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from pertinent.data._random_steps import tilted
from pertinent.data.transform_words import parse_transforms
from pertinent.errors import InputError


def picture(width: int = 60, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def numbered(width: int, height: int) -> Image.Image:
    """Red is the column plus 1, green the row plus 1; black is none of the picture."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x + 1, y + 1, 0 * x], axis=2).astype(np.uint8))


def draws(words: str, source: Image.Image, times: int = 300) -> list[Image.Image]:
    (step,) = parse_transforms(words)
    torch.manual_seed(0)
    return [step(source) for _ in range(times)]


RANDOM = [
    "RandomBorder(0, 9)",
    "RandomScale(20, 35, ar=1.5)",
    "RandomCrop(30)",
    "RandomRotation(20)",
    "RandomFlip()",
    "RandomTilting(0.4)",
    "ColorJitter(0.5, 0.5, 0.5, 0.5)",
    "RandomErasing(0.5)",
]


@pytest.mark.parametrize("words", RANDOM)
def test_the_seed_of_torch_alone_decides(words: str):
    (step,) = parse_transforms(words)
    assert step.random
    torch.manual_seed(5)
    first = [step(picture()) for _ in range(6)]
    torch.manual_seed(5)
    random.random(), np.random.rand()
    before = random.getstate(), str(np.random.get_state())
    again = [step(picture()) for _ in range(6)]
    assert [(one.size, one.tobytes()) for one in first] == [(one.size, one.tobytes()) for one in again]
    assert len({one.tobytes() for one in first}) > 1
    assert (random.getstate(), str(np.random.get_state())) == before


def test_border():
    found = draws("RandomBorder(1, 3, (255, 0, 0))", Image.new("RGB", (5, 4)))
    sizes = Counter(one.size for one in found)
    assert set(sizes) == {(5 + 2 * w, 4 + 2 * h) for w in (1, 2, 3) for h in (1, 2, 3)}
    assert found[0].getpixel((0, 0)) == (255, 0, 0)
    assert np.asarray(found[0])[..., 0].sum() == 255 * (found[0].width * found[0].height - 20)
    assert draws("RandomBorder(0, 0)", picture(), 1)[0].tobytes() == picture().tobytes()


def test_every_offset_of_a_crop_is_reached_the_last_too():
    source = numbered(7, 6)
    corners = Counter(one.getpixel((0, 0))[:2] for one in draws("RandomCrop((4, 4))", source, 600))
    assert set(corners) == {(x, y) for x in range(1, 5) for y in range(1, 4)}
    assert min(corners.values()) > 20  # 50 are expected of each
    assert {one.tobytes() for one in draws("RandomCrop((6, 7))", source, 3)} == {source.tobytes()}


@pytest.mark.parametrize("padding", [1, (1, 0, 0, 2)])
def test_padding_of_a_crop(padding: int | tuple[int, ...]):
    source = numbered(3, 3)
    left, top, right, bottom = (padding,) * 4 if isinstance(padding, int) else padding
    whole = Image.new("RGB", (3 + left + right, 3 + top + bottom))
    whole.paste(source, (left, top))
    expected = {
        whole.crop((x, y, x + 3, y + 3)).tobytes() for x in range(whole.width - 2) for y in range(whole.height - 2)
    }
    assert {one.tobytes() for one in draws(f"RandomCrop(3, {padding})", source)} == expected


def test_a_picture_too_small_for_the_crop():
    (step,) = parse_transforms("RandomCrop((50, 20))")
    with pytest.raises(
        InputError, match=r"RandomCrop\(\(50, 20\)\): the picture has 60 x 40 pixels, too few for 20 x 50"
    ):
        step(picture())
    with pytest.raises(InputError, match="put Scale or Pad before it"):
        step(picture(12, 80))


def test_lengths_of_a_random_scale():
    found = draws("RandomScale(20, 30)", picture(60, 40), 600)
    assert {one.height for one in found} == set(range(20, 31))
    assert all(one.width == int(0.5 + one.height * 1.5) for one in found)
    shorter = [one.width for one in draws("RandomScale(10, 40)", picture(40, 60), 600)]
    # Even in the logarithm: as many below the geometric mean, 20, as above.
    assert 250 < sum(side < 20 for side in shorter) < 350
    longer = draws("RandomScale(20, 30, largest=True)", picture(60, 40))
    assert {one.width for one in longer} == set(range(20, 31))


def test_a_random_scale_enlarges_only_when_allowed():
    plain = draws("RandomScale(30, 60)", picture(60, 40))
    assert max(min(one.size) for one in plain) == 40
    assert sum(one.size == (60, 40) for one in plain) > 100
    assert max(min(one.size) for one in draws("RandomScale(30, 60, can_upscale=True)", picture(60, 40))) == 60
    kept = draws("RandomScale(30, 60, can_upscale=True, can_downscale=False)", picture(60, 40))
    assert min(min(one.size) for one in kept) == 40


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (50, 50), (90, 30)])
@pytest.mark.parametrize("largest", [False, True])
def test_aspects_of_a_random_scale_stay_within_the_bounds(size: tuple[int, int], largest: bool):
    words = f"RandomScale(20, 28, ar=2, can_upscale=True, largest={largest})"
    found = draws(words, picture(*size))
    aspects = [one.width / one.height / (size[0] / size[1]) for one in found]
    assert 0.4 < min(aspects) < 0.6
    assert 1.7 < max(aspects) < 2.3
    assert 0.4 < np.mean(np.array(aspects) < 1) < 0.6
    assert all(max(one.size) <= 28 if largest else min(one.size) >= 20 for one in found)


def test_an_aspect_changes_even_where_the_shorter_side_stays():
    assert len({one.width for one in draws("RandomScale(40, 40, ar=1.2, can_upscale=True)", picture(60, 40))}) > 10


def test_a_flip_mirrors_every_other_picture():
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT).tobytes()
    found = Counter(one.tobytes() for one in draws("RandomFlip", picture()))
    assert set(found) == {picture().tobytes(), mirrored}
    assert 110 < found[mirrored] < 190


def test_rotation():
    white = Image.new("RGB", (40, 40), "white")
    found = draws("RandomRotation(30)", white, 100)
    assert {one.size for one in found} == {(40, 40)}
    dark = [float((np.asarray(one)[..., 0] < 128).mean()) for one in found]
    most = float((np.asarray(white.rotate(30, Image.Resampling.BILINEAR))[..., 0] < 128).mean())
    assert 0.8 * most < max(dark) <= most + 0.01
    assert draws("RandomRotation(0)", picture(), 1)[0].tobytes() == picture().tobytes()


def test_both_turns_happen():
    halves = Image.new("L", (41, 41))
    halves.paste(255, (0, 0, 41, 20))
    found = draws("RandomRotation(40)", halves.convert("RGB"), 60)
    heights = [int((np.asarray(one)[:, 8, 0] > 128).sum() - (np.asarray(one)[:, 32, 0] > 128).sum()) for one in found]
    assert min(heights) < -5
    assert max(heights) > 5


@pytest.mark.parametrize(
    ("edge", "turn"),
    [
        ("left", None),
        ("right", Image.Transpose.FLIP_LEFT_RIGHT),
        ("up", Image.Transpose.TRANSPOSE),
        ("down", Image.Transpose.ROTATE_90),
    ],
)
def test_tilting_lengthens_one_edge(edge: str, turn: Image.Transpose | None):
    side, grown = 64, 16
    ramp = Image.fromarray(np.repeat(np.arange(64, dtype=np.uint8)[:, None] * 4, 64, 1)).convert("RGB")
    source = ramp if turn is None else ramp.transpose(turn)
    result = tilted(source, edge, grown)
    # Back to the case of the left edge, where the ramp falls from top to bottom.
    back = {Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270}.get(turn, turn) if turn is not None else None
    rows = np.asarray(result if back is None else result.transpose(back))[..., 0].astype(float) / 4
    place = np.arange(side) + 0.5
    expected = (place + grown) * side / (side + 2 * grown) - 0.5
    assert np.abs(rows[2:-2, 0] - expected[2:-2]).max() < 0.75
    assert np.abs(rows[2:-2, -1] - (place - 0.5)[2:-2]).max() < 0.75
    assert result.size == source.size


def test_directions_and_bounds_of_a_tilt():
    source = picture(40, 40)
    possible = {
        edge: {tilted(source, edge, n).tobytes() for n in range(1, 5)} for edge in ("left", "right", "up", "down")
    }
    allowed: Callable[[str], set[bytes]] = lambda words: {one.tobytes() for one in draws(words, source)}  # noqa: E731
    assert allowed("RandomTilting(0.1)") == set().union(*possible.values())
    assert allowed("RandomTilting(0.1, 'left')") == possible["left"]
    assert allowed("RandomTilting(0.1, 'up-down')") == possible["up"] | possible["down"]
    assert allowed("RandomTilting(0.1, 'up, all')") == set().union(*possible.values())


def test_colours_stay_within_the_bounds():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))
    levels = {one.getpixel((0, 0))[0] for one in draws("ColorJitter(0.2)", grey)}
    assert min(levels) in (80, 81)
    assert max(levels) in (119, 120)
    assert {one.tobytes() for one in draws("ColorJitter(0, 0, 0.9, 0.5)", grey, 20)} == {grey.tobytes()}
    red = Image.new("RGB", (8, 8), (200, 0, 0))
    assert len({one.getpixel((0, 0)) for one in draws("ColorJitter(hue=0.5)", red)}) > 100
    assert {one.getpixel((0, 0))[0] for one in draws("ColorJitter(saturation=0.5)", red)} != {200}
    assert len({one.tobytes() for one in draws("ColorJitter(contrast=3)", picture())}) > 100
    assert draws("ColorJitter()", picture(), 1)[0].tobytes() == picture().tobytes()


def test_colours_change_in_any_order():
    # Brightness by 1.5 and contrast by 0.5, or the other way round: with fixed amounts only the order differs.
    source = picture()
    (step,) = parse_transforms("ColorJitter(0.5, 0.5)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pertinent.data._random_steps._between", lambda *bounds: bounds[1])
        torch.manual_seed(0)
        assert len({step(source).tobytes() for _ in range(30)}) == 2


def test_erasing():
    source = Image.new("RGB", (20, 12), (7, 7, 7))
    spans = []
    for one in draws("RandomErasing(0.5)", source):
        changed = np.argwhere((np.asarray(one) != 7).any(2))
        (top, left), (bottom, right) = changed.min(0), changed.max(0) + 1
        spans.append((right - left, bottom - top, left, top))
        assert len(changed) > 0.9 * (right - left) * (bottom - top)
    widths, heights, lefts, tops = map(set, zip(*spans, strict=True))
    assert (min(widths), max(widths), min(heights), max(heights)) == (5, 10, 3, 6)
    assert (min(lefts), max(lefts), min(tops), max(tops)) == (0, 15, 0, 9)
    assert source.getextrema() == ((7, 7),) * 3
    tiny = Image.new("RGB", (2, 2))
    assert draws("RandomErasing(0.1)", tiny, 1)[0].tobytes() == tiny.tobytes()


def test_no_step_warns():
    with warnings.catch_warnings(action="error"):
        for words in RANDOM:
            assert draws(words, picture(), 3)
