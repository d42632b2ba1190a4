"""Transform words against sizes, places and pixels of the official code of dirtorch (Pillow's bilinear filter)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pertinent.data.transform_words import completed, parse_transforms
from pertinent.data.transforms import Preprocess

FOLDER = Path(__file__).parent
CASES: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "dirtorch_transforms.json").read_text())
GREY = (127, 127, 127)


def run(words: str, picture: Image.Image) -> Image.Image:
    for step in parse_transforms(words):
        picture = step(picture)
    return picture


def numbered(size: tuple[int, int]) -> Image.Image:
    """A picture whose every pixel tells its place."""
    y, x = np.mgrid[: size[1], : size[0]]
    return Image.fromarray(np.stack([x % 256, y % 256, x // 256 + 16 * (y // 256)], axis=2).astype(np.uint8))


def named(case: dict[str, Any]) -> str:
    return str({key: value for key, value in case.items() if "output" not in key and "box" not in key})


def every(kind: str, count: int) -> Any:
    assert len(CASES[kind]) == count
    return pytest.mark.parametrize("case", CASES[kind], ids=named)


@every("scale", 90)
def test_scale(case):
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in case["args"].items()}
    words = f"Scale({', '.join(f'{key}={value!r}' for key, value in options.items())})"
    assert run(words, Image.new("RGB", case["input_wh"])).size == tuple(case["output_wh"])


@every("center_crop", 36)
def test_center_crop(case):
    size = case["size_hw"] if isinstance(case["size_hw"], int) else tuple(case["size_hw"])
    cropped = run(f"CenterCrop({size})", numbered(case["input_wh"]))
    assert cropped.size == tuple(case["output_wh"])
    assert cropped.getpixel((0, 0)) == tuple(case["first_pixel_rgb"])


def check_padding(case: dict[str, Any], padded: Image.Image) -> None:
    assert padded.size == tuple(case["output_wh"])
    left, top, right, bottom = case["content_box_xyxy"]
    content, size = padded.crop((left, top, right, bottom)), tuple(case["input_wh"])
    # What is cut off is cut at the left and the top by half, rounded up; what is left of the picture is unchanged.
    start = tuple(
        -((have - size_of) // 2) if have < size_of else 0 for have, size_of in zip(padded.size, size, strict=True)
    )
    area = (*start, start[0] + content.width, start[1] + content.height)
    assert content.tobytes() == numbered(size).crop(area).tobytes()
    outside = np.asarray(padded).copy()
    outside[top:bottom, left:right] = GREY
    assert (outside == GREY).all()


@every("pad", 18)
def test_pad(case):
    assert tuple(case["border_rgb"]) == GREY
    check_padding(case, run(f"Pad({case['size']})", numbered(case["input_wh"])))


@every("pad_square", 27)
def test_pad_square(case):
    check_padding(case, run(f"PadSquare({case['size']})", numbered(case["input_wh"])))


@every("compose", 7)
def test_whole_texts_are_equal_to_the_last_bit(case):
    with np.load(FOLDER / "dirtorch_transforms.npz") as stored:
        picture, expected = Image.fromarray(stored["image"]), stored[case["array"]]
    assert list(expected.shape) == case["shape"]
    own_size = Preprocess(resize=None, crop=None)
    ours = own_size.with_words(case["cmd"]).build()(picture)
    np.testing.assert_array_equal(ours.numpy(), expected)
    for step in completed(parse_transforms(case["cmd"]), own_size.mean, own_size.std):
        picture = step(picture)
    np.testing.assert_array_equal(picture.numpy(), expected)
