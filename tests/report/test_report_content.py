from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from PIL import Image

from pertinent.errors import InputError
from pertinent.report.content import MetricRow, ReportContent, Series
from pertinent.report.pictures import Pictures
from pertinent.report.severity import severities, shares

MakeContent = Callable[..., ReportContent]


def test_content_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, pertinent.report.page, pertinent.report.contact_sheet; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("models", [[], ["a", "a"]])
def test_models_must_be_distinct(models: list[str]) -> None:
    with pytest.raises(InputError, match="distinct"):
        ReportContent("t", [], models, [])


def test_unknown_model_of_a_metric_is_an_error_that_suggests(make_content: MakeContent) -> None:
    with pytest.raises(InputError, match=r"metric 'AP'.*'HAPIER'.*'HAPPIER'"):
        make_content(metrics=[MetricRow("AP", "", {"HAPIER": 0.5})])
    with pytest.raises(InputError, match="metric 'AP'"):
        make_content(metrics=[MetricRow("AP", "", {}, {"other": 1})])


def test_unknown_model_of_an_example_is_an_error(make_content: MakeContent) -> None:
    example = dataclasses.replace(make_content().gallery[0], hits={}, value={"other": 0.5})
    with pytest.raises(InputError, match="no model is called 'other'"):
        dataclasses.replace(make_content(), gallery=[example])


@pytest.mark.parametrize("level", [-1, 3])
def test_level_out_of_range(make_content: MakeContent, level: int) -> None:
    example = make_content().gallery[0]
    hit = dataclasses.replace(example.hits["HAPPIER"][0], level=level)
    with pytest.raises(InputError, match=f"has level {level}, expected 0 to 2"):
        dataclasses.replace(make_content(), failures=[dataclasses.replace(example, hits={"HAPPIER": [hit]})])


def test_series_of_unequal_lengths() -> None:
    with pytest.raises(InputError, match="x has 2 values and y has 1"):
        Series("s", [1, 2], [1])


def test_severity_scale_is_ordered_and_distinct() -> None:
    scale = severities(["species", "genus", "family"])
    assert [step.words for step in scale] == ["unrelated", "same family", "same genus", "same species"]
    assert [step.mark for step in scale] == ["○○○", "●○○", "●●○", "●●●"]
    assert len({step.light for step in scale}) == len({step.dark for step in scale}) == 4
    assert (scale[0].light, scale[-1].light) == ("#b0241c", "#0b6e80")


def test_severity_colours_stand_out_from_the_page() -> None:
    for step in severities(list("abcdef")):
        assert _contrast(step.light, "#fcfcfa") >= 3
        assert _contrast(step.dark, "#15171a") >= 3


def test_shares_leave_out_unknown_levels(make_content: MakeContent) -> None:
    hit = make_content().gallery[0].hits["HAPPIER"][0]
    hits = [dataclasses.replace(hit, level=level) for level in (2, 2, 2, 0, None)]
    found = shares(hits, severities(["character", "script"]))
    assert [(share.severity.words, share.count, share.percent) for share in found] == [
        ("same character", 3, "75%"),
        ("unrelated", 1, "25%"),
    ]


def test_picture_kept_once_at_the_largest_size_shown() -> None:
    pictures = Pictures()
    image = Image.effect_noise((400, 200), 50)
    names = {pictures.add(image, 96), pictures.add(image.copy(), 192), pictures.add(image, 96)}
    assert names == {"p0"}
    assert pictures._thumbnails["p0"].size == (192, 96)


def test_small_pictures_are_not_enlarged_and_look_alikes_stay_apart() -> None:
    pictures = Pictures()
    assert pictures.add(Image.new("RGB", (10, 20)), 96) != pictures.add(Image.new("RGB", (20, 10)), 96)
    assert pictures._thumbnails["p0"].size == (10, 20)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_pictures_of_every_mode(mode: str) -> None:
    pictures = Pictures()
    pictures.add(Image.new(mode, (12, 12)), 96)
    assert pictures.css().startswith(".p0{background-image:url(data:image/webp;base64,")


def test_transparent_picture_lies_on_white() -> None:
    pictures = Pictures()
    pictures.add(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), 96)
    assert pictures._thumbnails["p0"].getpixel((0, 0)) == (255, 255, 255)


def _contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted(_luminance(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
