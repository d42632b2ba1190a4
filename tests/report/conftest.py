"""A report of made-up numbers over drawn letters: four scripts, and models that mistake them more or less badly."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import matplotlib
import pytest
from PIL import Image, ImageDraw, ImageFont

from pertinent.report.content import Curve, Example, Hit, MetricRow, ReportContent, Series

SCRIPTS = {"Latin": "abdeghkmrt", "Greek": "αβγδθλξπφω", "Cyrillic": "бдёжилфцяю", "Arabic": "ابجدسعفقكل"}
LETTERS = [(letter, script) for script, letters in SCRIPTS.items() for letter in letters]
FONTS = ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Oblique.ttf"]
MODELS = ["before training", "flat AP", "HAPPIER"]


def draw(letter: str, style: int, size: int = 96) -> Image.Image:
    """Draw one letter, turned a little, in one of four faces."""
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf" / FONTS[style % 4]), size * 2 // 3)
    page = Image.new("L", (size, size), 255)
    ImageDraw.Draw(page).text((size // 2, size // 2), letter, font=font, fill=20, anchor="mm")
    return page.rotate(5 * (style % 7) - 15, fillcolor=255)


def make_example(rng: random.Random, number: int, models: list[str]) -> Example:
    """One query with ten results a model; later models are better."""
    letter, script = LETTERS[number % len(LETTERS)]
    hits = {}
    for strength, model in enumerate(models):
        found = []
        for rank in range(10):
            right = rng.random() < 0.25 + 0.3 * strength - 0.03 * rank
            near = rng.random() < 0.3 + 0.25 * strength
            pool = [(letter, script)] if right else [x for x in LETTERS if (x[1] == script) == near and x[0] != letter]
            other, other_script = rng.choice(pool)
            style = rng.randrange(28)
            place = f"{other_script}/{ord(other):04x}_{style:02d}.png"
            level = (other == letter) + (other_script == script)
            words = [f"letter {other}", other_script]
            found.append(Hit(place, f"omni.zip/{place}", words, 0.95 - 0.04 * rank, level, draw(other, style)))
        hits[model] = found
    value = {model: 0.15 + 0.2 * strength + 0.2 * rng.random() for strength, model in enumerate(models)}
    place = f"{script}/{ord(letter):04x}_{number:02d}.png"
    words = [f"letter {letter}", script]
    return Example(place, f"omni.zip/{place}", words, draw(letter, number), hits, value)


def make_content(
    failures: int = 2, gallery: int = 2, models: list[str] | None = None, **changes: object
) -> ReportContent:
    """A whole report; `changes` replace its fields."""
    rng = random.Random(7)
    models = MODELS if models is None else models
    steps = list(range(0, 601, 20))
    rising = [
        Series(name, steps, [0.41 + (0.1 + 0.06 * i) * (1 - 0.99**step) + rng.gauss(0, 0.004) for step in steps])
        for i, name in enumerate(models[1:])
    ]
    values = [
        ("H-AP", "mean over queries; relevance by shared levels; the query is left out", [0.412, 0.588, 0.630]),
        ("AP, character", "finite sum over all relevant items", [0.221, 0.471, 0.466]),
        ("R@1, character", "any relevant item first", [0.604, 0.823, 0.823]),
        ("NDCG", "gains 2^level - 1, true ideal order", [0.812, None, 0.902]),
    ]
    fields: dict[str, object] = {
        "title": "Handwritten characters, unseen scripts",
        "summary": ["Training with the hierarchical loss raised H-AP and made the remaining mistakes milder."],
        "models": models,
        "levels": ["character", "script"],
        "metrics": [
            MetricRow(name, convention, dict(zip(models, numbers, strict=False)), {models[-1]: 12} if i == 1 else {})
            for i, (name, convention, numbers) in enumerate(values)
        ],
        "curves": [
            Curve("Validation", "step", "H-AP", rising),
            Curve("Loss", "step", "mean loss", [Series("loss", steps, [2.3 * 0.996**step + 0.4 for step in steps])]),
        ],
        "failures": [make_example(rng, 7 * i, models) for i in range(failures)],
        "gallery": [make_example(rng, 7 * i + 3, models) for i in range(gallery)],
        "facts": [("recipe", "happier/omniglot"), ("seed", "0"), ("machine", "2 cores, CPU")],
        "commands": [("Search with a picture of your own", "pertinent search runs/demo picture.png")],
    }
    return ReportContent(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(name="make_content")
def make_content_fixture() -> Callable[..., ReportContent]:
    """The builder of made-up reports."""
    return make_content
