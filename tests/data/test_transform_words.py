"""The language of transforms: what is read, what is refused and how it is told; nothing in it is ever run."""

from __future__ import annotations

import builtins
import pickle
import re
import subprocess
import sys
import warnings
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from pertinent.data._fixed_steps import CenterCrop, Normalize, Pad, Scale, ToTensor
from pertinent.data._step import Step
from pertinent.data.transform_words import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    STEPS,
    completed,
    parse_transforms,
    result_size,
    transform_words,
)
from pertinent.errors import InputError, UnknownNameError

EVERY_STEP = (
    "Identity(), RandomBorder(1, 5), RandomScale(40, 80, 1.5), RandomRotation(10), RandomTilting(0.2, 'left-up'), "
    "Pad(70), PadSquare(), Scale(0.5), RandomFlip(), RandomCrop(30, 2), CenterCrop(20), "
    "ColorJitter(0.1, 0.2, 0.3, 0.4), RandomErasing(0.5), ToTensor(), Normalize(mean, std)"
)


def words(text: str, **variables: object) -> str:
    return transform_words(parse_transforms(text, **variables))  # type: ignore[arg-type]


def refused(text: str) -> str:
    with pytest.raises(InputError) as error:
        parse_transforms(text)
    return str(error.value)


# --- what is read


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("  \n ", ""),
        ("Scale( 800 ),CenterCrop(size = 224)", "Scale(800), CenterCrop(224)"),
        ("RandomFlip, Identity", "RandomFlip(), Identity()"),
        ("Scale(800, largest=True, can_upscale=True,)", "Scale(800, largest=True)"),
        ("Scale(800, None)", "Scale(800)"),
        ("Scale(800, 3)", "Scale(800, interpolation='bicubic')"),
        ("Scale(800, 'LANCZOS')", "Scale(800, interpolation='lanczos')"),
        ("Scale(800, interpolation=2)", "Scale(800, interpolation='bilinear')"),
        ("Scale([320, 240])", "Scale((320, 240))"),
        ("Scale(1.0)", "Scale(1.0)"),
        ("Scale(256 * 8 // 7)", "Scale(292)"),
        ("Scale(1/2 + 0.25)", "Scale(0.75)"),
        ("Scale(input_size//8)", "Scale(28)"),
        ("CenterCrop((224, 224))", "CenterCrop(224)"),
        ("CenterCrop((200, 300))", "CenterCrop((200, 300))"),
        ("Pad(70, (127, 127, 127))", "Pad(70)"),
        ("Pad(70, 0)", "Pad(70, color=(0, 0, 0))"),
        ("Pad(70, (1.0, 0.5, 0))", "Pad(70, color=(255, 127, 0))"),
        ("PadSquare", "PadSquare()"),
        ("RandomScale(40, 80, ar=2)", "RandomScale(40, 80, ar=(0.5, 2))"),
        ("RandomScale(40, 80, ar=(0.5, 1.5))", "RandomScale(40, 80, ar=(0.5, 1.5))"),
        ("RandomTilting(.1, 'up, LEFT')", "RandomTilting(0.1, directions='left,up')"),
        ("RandomRotation(10, 0)", "RandomRotation(10, interpolation='nearest')"),
        ("ToTensor, Normalize(std=[1, --2, 3], mean=(-1, 0, .5))", "ToTensor(), Normalize((-1, 0, 0.5), (1, 2, 3))"),
        ("Scale(8), # a remark\nIdentity()", "Scale(8), Identity()"),
    ],
)  # fmt: skip
def test_what_is_read_and_how_it_is_written(text: str, canonical: str):
    assert words(text) == canonical
    assert parse_transforms(canonical) == parse_transforms(text)


def test_every_step_is_known_and_written_back():
    steps = parse_transforms(EVERY_STEP)
    assert {type(step).__name__ for step in steps} == set(STEPS)
    assert parse_transforms(transform_words(steps)) == steps
    assert pickle.loads(pickle.dumps(steps)) == steps


def test_the_page_of_the_words_has_every_word_and_its_arguments_in_order():
    page = (Path(__file__).parents[2] / "docs" / "transforms.md").read_text()
    told = {
        name: [argument.partition("=")[0].strip() for argument in arguments.split(",") if argument]
        for name, arguments in re.findall(r"`(\w+)\(([^)]*)\)`(?= \||, `)", page)
    }
    told["Normalize"] = ["mean", "std"]
    assert told == {name: [field.name for field in fields(kind)] for name, kind in STEPS.items()}
    for example in re.findall(r'words: "(.*)"|with_words\("(.*)"\)', page):
        assert parse_transforms("".join(example))


def test_names_stand_for_the_numbers_of_the_encoder():
    text = "CenterCrop(input_size), ToTensor(), Normalize(mean, std)"
    given = parse_transforms(text, mean=(0.1, 0.2, 0.3), std=(1, 2, 3), input_size=64)
    assert given == (CenterCrop(64), ToTensor(), Normalize((0.1, 0.2, 0.3), (1, 2, 3)))
    assert parse_transforms(text)[2] == Normalize(IMAGENET_MEAN, IMAGENET_STD)


def test_a_filter_is_filled_in_where_a_resizing_names_none():
    text = "Scale(8), Scale(8, interpolation='box'), RandomScale(8, 9), RandomRotation(3)"
    filters = [getattr(step, "interpolation") for step in parse_transforms(text, interpolation="bicubic")]  # noqa: B009
    assert filters == ["bicubic", "box", "bicubic", "bilinear"]
    assert words(text).startswith("Scale(8), ")


def test_tensor_and_numbers_are_added_unless_named():
    numbers = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert completed((), *numbers) == (ToTensor(), Normalize(*numbers))
    assert completed((Scale(8),), *numbers) == (Scale(8), ToTensor(), Normalize(*numbers))
    assert completed((ToTensor(),), *numbers) == (ToTensor(),)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("Scale(64)", None),
        ("Scale(0.5)", None),
        ("Scale((64, 48))", (64, 48)),
        ("Scale((64, 48), can_upscale=False)", None),
        ("Scale(64), CenterCrop((32, 40)), Identity", (40, 32)),
        ("CenterCrop(32), Pad(40)", None),
        ("CenterCrop(32), RandomBorder(1, 2)", None),
        ("PadSquare", None),
        ("PadSquare(30), RandomFlip, ToTensor", (30, 30)),
        ("RandomCrop((3, 4)), RandomRotation(3), RandomTilting(1), ColorJitter(1), RandomErasing(1)", (4, 3)),
        ("RandomCrop(3), RandomScale(3, 5)", None),
    ],
)
def test_size_of_every_result(text: str, size: tuple[int, int] | None):
    steps = parse_transforms(text)
    assert result_size(steps) == size
    if size is not None:
        for given in ((70, 50), (64, 100), (48, 64)):
            picture = Image.new("RGB", given)
            for step in steps:
                picture = step(picture)
            assert (picture.size if isinstance(picture, Image.Image) else picture.shape[:0:-1]) == size


# --- what is refused


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Scale(800", "'Scale(800' cannot be read: "),
        ("Scale(800) CenterCrop(224)", "cannot be read: "),
        (",", "write such as: Scale(800), CenterCrop(224)"),
        ("Scale(8\0)", "cannot be read: "),
        ("Scale(8)] + [Scale(8)", "is no list of transforms"),
        ("800", "'800' is no transform; write such as"),
        ("'Scale'", "is no transform"),
        ("Scale(1)(2)", "'Scale(1)(2)' is no transform"),
        ("*Scale", "'*Scale' is no transform"),
        ("Scale()", "Scale: size must be given, in 'Scale()'"),
        ("RandomScale", "RandomScale: min_size and max_size must be given, in 'RandomScale'"),
        ("Scale(sise=800)", "Scale: unknown argument 'sise'; did you mean 'size'?, in 'Scale(sise=800)'"),
        ("RandomFlip(p=1)", "RandomFlip: unknown argument 'p'; it takes nothing"),
        ("RandomFlip(1)", "RandomFlip: takes nothing, in 'RandomFlip(1)'"),
        ("CenterCrop(1, 2)", "CenterCrop: takes size and no more, in 'CenterCrop(1, 2)'"),
        ("Scale(8, size=9)", "Scale: size is given twice, in 'Scale(8, size=9)'"),
        ("Scale(size=8, size=9)", "Scale: size is given twice"),
        ("Scale(**{'size': 8})", "Scale: name every argument"),
        ("Scale(*[8])", "'*[8]' is no plain value"),
        ("Scale(inputsize)", "unknown name 'inputsize'; did you mean 'input_size'?"),
        ("Scale(8, bicubic)", "unknown name 'bicubic'; known: mean, std, input_size; quote it if it is a word"),
        ("Scale(8, Image.BICUBIC)", "'Image.BICUBIC' is no plain value; give numbers, quoted words such as 'bicubic'"),
        ("Scale(8/0)", "'8/0' cannot be computed: division by zero"),
        ("Scale('8'*3)", "\"'8'\" is no number"),
        ("Scale(-mean)", "'mean' is no number"),
        ("Scale(True + 1)", "'True' is no number"),
        ("Scale(not 1)", "'not 1' is no plain value"),
        ("Scale(8 % 3)", "'8 % 3' is no plain value"),
        ("CropToBbox(margin=0.5)", "CropToBbox is not needed: a box that a data set gives is cut out when"),
        ("Scale(8), BBoxToPixelLabel(3, 4, 'hough')", "BBoxToPixelLabel is not needed: "),
        ("ToTensor, Scale(8)", "Scale(8) works on a picture; put it before ToTensor()"),
        ("ToTensor, ToTensor", "ToTensor is written twice"),
        ("Normalize(mean, std)", "Normalize works on a tensor; put ToTensor() before it"),
    ],
)
def test_wrong_words_are_told_with_the_text(text: str, told: str):
    assert told in refused(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Scale(0)", "Scale: size must be a side from 1 to 16384"),
        ("Scale(-8)", "got -8, in 'Scale(-8)'"),
        ("Scale(99999)", "got 99999"),
        ("Scale(True)", "got True"),
        ("Scale('8')", "got '8'"),
        ("Scale(0.0)", "a factor above 0.0 up to 4.0"),
        ("Scale(4.1)", "a factor above 0.0 up to 4.0"),
        ("Scale(1e400)", "got inf"),
        ("Scale((8, 8, 8))", "(width, height)"),
        ("Scale((8, 8.5))", "(width, height)"),
        ("Scale(8, largest=1)", "Scale: largest must be True or False, got 1"),
        ("Scale(8, can_upscale='no')", "can_upscale must be True or False"),
        ("Scale(8, 'cubic')", "Scale: interpolation must be one of nearest, box, bilinear, hamming, bicubic, lanczos"),
        ("Scale(8, 9)", "interpolation must be one of"),
        ("Scale(8, True)", "interpolation must be one of"),
        ("Pad(0)", "Pad: size must be a whole number from 1 to 16384, got 0"),
        ("Pad(8, (1, 2))", "Pad: color must be three levels"),
        ("Pad(8, (1, 2, 256))", "color must be"),
        ("Pad(8, (1.5, 0, 0))", "color must be"),
        ("Pad(8, 'grey')", "color must be"),
        ("PadSquare(0)", "PadSquare: size must be"),
        ("CenterCrop(0)", "CenterCrop: size must be a side or (height, width)"),
        ("CenterCrop((1, 2, 3))", "CenterCrop: size must be"),
        ("RandomCrop(8.0)", "RandomCrop: size must be"),
        ("RandomCrop(8, -1)", "RandomCrop: padding must be pixels, or (left, top, right, bottom)"),
        ("RandomCrop(8, (1, 2))", "RandomCrop: padding must be"),
        ("RandomBorder(-1, 2)", "RandomBorder: min_size must be a whole number from 0"),
        ("RandomBorder(3, 2)", "RandomBorder: max_size must be at least min_size 3, got 2"),
        ("RandomScale(0, 2)", "RandomScale: min_size must be"),
        ("RandomScale(3, 2)", "RandomScale: max_size must be at least min_size 3, got 2"),
        ("RandomScale(2, 3, ar=0)", "RandomScale: ar must be a factor, or (smallest, largest), above 0.2 and below 5"),
        ("RandomScale(2, 3, ar=5)", "RandomScale: ar must be"),
        ("RandomScale(2, 3, ar=(2, 0.5))", "RandomScale: ar must be"),
        ("RandomScale(2, 3, largest=0)", "RandomScale: largest must be True or False"),
        ("RandomScale(2, 3, interpolation='x')", "RandomScale: interpolation must be"),
        ("RandomRotation(-1)", "RandomRotation: degrees must be a number from 0 to 180"),
        ("RandomRotation(181)", "RandomRotation: degrees must be"),
        ("RandomRotation(1, 'box')", "RandomRotation: interpolation must be one of nearest, bilinear, bicubic"),
        ("RandomTilting(0)", "RandomTilting: magnitude must be above 0, up to 1"),
        ("RandomTilting(1.1)", "RandomTilting: magnitude must be"),
        ("RandomTilting(1, 3)", "RandomTilting: directions must be a quoted word"),
        ("RandomTilting(1, '')", "RandomTilting: directions must be"),
        ("RandomTilting(1, 'rihgt')", "RandomTilting: unknown direction 'rihgt'; did you mean 'right'?"),
        ("ColorJitter(-1)", "ColorJitter: brightness must be a number of 0 or more"),
        ("ColorJitter(1e31)", "ColorJitter: brightness must be a number of 0 or more"),
        ("ColorJitter(1" + "0" * 400 + ")", "ColorJitter: brightness must be a number of 0 or more"),
        ("ColorJitter(1e400 - 1e400)", "ColorJitter: brightness must be a number of 0 or more, got nan"),
        ("ColorJitter(hue=0.6)", "ColorJitter: hue must be a number from 0 to 0.5"),
        ("RandomErasing(0)", "RandomErasing: area must be above 0, up to 1"),
        ("ToTensor, Normalize(0.5, 0.5)", "Normalize: mean must be three numbers"),
        ("ToTensor, Normalize((1, 2), std)", "Normalize: mean must be three numbers"),
        ("ToTensor, Normalize(mean, (1, 0, 1))", "Normalize: std must be three numbers, those of std above 0"),
    ],
)  # fmt: skip
def test_wrong_values_name_the_step_and_the_argument(text: str, told: str):
    message = refused(text)
    assert told in message
    assert ", in " in message


def test_an_unknown_transform_is_told_with_the_near_one():
    with pytest.raises(UnknownNameError, match="unknown transform 'Scal'; did you mean 'Scale'"):
        parse_transforms("Scal(800)")
    with pytest.raises(UnknownNameError, match="did you mean 'CenterCrop'"):
        parse_transforms("centercrop(224)")
    with pytest.raises(UnknownNameError, match="unknown transform 'PadBad'; did you mean 'Pad'"):
        parse_transforms("PadBad(224)")


# --- nothing is run


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "Scale(__import__('os'))",
        "Scale(().__class__)",
        "Scale.__init__",
        "eval('Scale(8)')",
        "Scale(eval('8'))",
        "lambda: Scale(8)",
        "(lambda: Scale(8))()",
        "Scale((lambda: 8)())",
        "[Scale(8) for _ in range(9)]",
        "Scale(8) for _ in range(9)",
        "Scale([8 for _ in (1,)])",
        "Scale(f'{8}')",
        "Scale(8, f'{__import__}')",
        "Scale(8 if True else 9)",
        "Scale((size := 8))",
        "Scale(mean[0])",
        "Scale({8})",
        "Scale({'size': 8})",
        "Scale(b'8')",
        "Scale(8j)",
        "Scale(...)",
        "Scale(9**9**9**9)",
        "Scale(1 << 99999)",
        "Scale('a' * 999999999)",
        "Scale(~8)",
        "Scale(8 == 8)",
        "await Scale(8)",
        "Scale(8); Scale(9)",
        "import os",
        "Scale(1" + "*9" * 900 + ")",
        "Scale(" + "-" * 1900 + "8)",
        "Scale(" + "(" * 900 + "8" + ")" * 900 + ")",
        "Scale(" + "9" * 1900 + ".0)",
        "Scale(8)," * 500,
    ],
)
def test_nothing_is_run(text: str, monkeypatch: pytest.MonkeyPatch):
    def run(*given: object, **named: object) -> None:
        raise AssertionError("something was run")

    for name in ("eval", "exec"):
        monkeypatch.setattr(builtins, name, run)
    with pytest.raises((InputError, UnknownNameError)) as error:
        parse_transforms(text)
    monkeypatch.undo()
    assert len(str(error.value)) > 20


@given(st.text(alphabet="Scale(8,.9)-*/[]'\"{}:=\\\n #%éNone", max_size=30))
def test_any_text_is_read_or_refused(text: str):
    for tried in (text, f"Scale({text})", f"Scale(8, {text})"):
        try:
            steps = parse_transforms(tried)
        except (InputError, UnknownNameError):
            continue
        assert parse_transforms(transform_words(steps)) == steps


@pytest.mark.parametrize(
    "text",
    [
        r"Scale(8, '\d')",
        "Scale(8if 1 else 2)",
        "Scale(0x1for x in y)",
        "Scale(1e5and 2)",
        "Scale(1.in 2)",
        "1else",
        "8in 9",
    ],
)
def test_no_warning_of_the_compiler_reaches_the_user(text: str):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert "cannot be read: a letter may not follow a number, and a backslash may stand nowhere" in refused(text)
    assert not caught


def test_long_texts_are_told_in_part():
    assert len(refused("Scale(8" * 280)) < 300
    assert "2800 characters are too many, at most 2000 are read" in refused("Scale(8)" * 350)


# --- fixed steps


def official_scale(size: tuple[int, int], scale: int | float, largest: bool, up: bool, down: bool) -> tuple[int, int]:
    """The size after `Scale`, literally as the official code finds it."""
    w, h = size
    if isinstance(scale, float):
        new = int(0.5 + scale * w), int(0.5 + scale * h)
    elif (w >= h and largest) or (w <= h and not largest):
        new = (w, h) if w == scale else (scale, int(0.5 + scale * h / w))
    else:
        new = (w, h) if h == scale else (int(0.5 + scale * w / h), scale)
    allowed = (up and min(size) < min(new)) or (down and min(size) > min(new))
    return new if allowed else size


@settings(max_examples=300)
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(1, 80) | st.floats(0.01, 4),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_scale_is_the_official_one(size: tuple[int, int], scale: int | float, largest: bool, up: bool, down: bool):
    expected = official_scale(size, scale, largest, up, down)
    assume(min(expected) > 0)  # there the official code fails
    assert Scale(scale, None, largest, up, down)(Image.new("RGB", size)).size == expected


def test_no_side_is_ever_rounded_to_nothing():
    thin = Image.new("RGB", (1000, 2))
    assert Scale(100, largest=True)(thin).size == (100, 1)
    assert Scale(0.1)(thin).size == (100, 1)


def test_an_exact_size_is_exact_even_where_the_shorter_side_stays():
    picture = Image.new("RGB", (320, 240))
    assert Scale((400, 240))(picture).size == (400, 240)
    assert Scale((400, 240), can_upscale=False)(picture).size == (320, 240)


def test_steps_leave_the_given_picture_alone():
    picture = Image.new("RGB", (30, 20), (1, 2, 3))
    for step in parse_transforms(EVERY_STEP)[:-2]:
        step(Image.new("RGB", (90, 90)))
        torch.manual_seed(0)
        if not str(step).startswith("RandomCrop"):
            step(picture)
        assert (picture.size, picture.getpixel((4, 4))) == ((30, 20), (1, 2, 3))


def test_steps_are_fixed():
    with pytest.raises(AttributeError):
        Pad(8).size = 9  # type: ignore[misc]
    with pytest.raises(TypeError, match="abstract"):
        Step()  # type: ignore[abstract]


def test_importing_and_reading_need_no_torch():
    code = (
        "import sys, pertinent.data.transform_words as t; t.parse_transforms('Scale(8), RandomFlip'); "
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
