from __future__ import annotations

import itertools
import math

import pytest

from pertinent.report.content import Curve, Series
from pertinent.report.figures import HEIGHT, WIDTH, Plot, plots


def plot(*series: Series) -> Plot:
    return plots([Curve("title", "step", "loss", series)], subject="subject")[0]


def path_points(path: str) -> list[tuple[float, float]]:
    pairs = path.replace("M", " L").split("L")
    return [tuple(float(number) for number in pair.split()) for pair in pairs if pair.strip()]  # type: ignore[misc]


def test_line_spans_the_frame_and_up_is_more() -> None:
    drawn = plot(Series("a", [0, 5, 10], [1.0, 3.0, 2.0]))
    points = path_points(drawn.lines[0].path)
    assert [x for x, _ in points] == pytest.approx([drawn.left, (drawn.left + drawn.right) / 2, drawn.right], abs=0.1)
    assert points[0][1] > points[2][1] > points[1][1]
    assert drawn.lines[0].end == points[-1]
    assert all(drawn.top <= y <= drawn.bottom for _, y in points)


def test_ticks_are_round_inside_and_few() -> None:
    drawn = plot(Series("a", [0, 60_000], [0.4123, 0.5871]))
    assert [tick.text for tick in drawn.y_ticks] == ["0.45", "0.50", "0.55"]
    assert [tick.text for tick in drawn.x_ticks] == ["0", *(f"{n}0\u202f000" for n in (2, 4, 6))]
    assert all(drawn.left <= tick.at <= drawn.right for tick in drawn.x_ticks)


def test_tiny_and_negative_numbers() -> None:
    assert [tick.text for tick in plot(Series("a", [0, 1], [0, 1e-4])).y_ticks][:2] == ["0", "2.5e−05"]
    assert "−1" in [tick.text for tick in plot(Series("a", [0, 1], [-2, 2])).y_ticks]


def test_gap_breaks_the_line() -> None:
    path = plot(Series("a", [0, 1, 2, 3, 4], [1, 2, math.nan, 2, math.inf])).lines[0].path
    assert path.count("M") == 2
    assert len(path_points(path)) == 3


@pytest.mark.parametrize("series", [Series("a", [], []), Series("a", [1], [math.nan])])
def test_curve_without_values_has_no_lines(series: Series) -> None:
    assert plot(series).lines == []


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-9])
def test_one_point_and_a_flat_line_have_a_place(value: float) -> None:
    for series in (Series("a", [7], [value]), Series("a", [0, 1], [value, value])):
        drawn = plot(series)
        assert drawn.top < drawn.lines[0].end[1] < drawn.bottom
        assert drawn.y_ticks


def test_labels_keep_apart_in_order_and_inside() -> None:
    drawn = plot(*(Series(f"s{i}", [0, 1], [0, 0.001 * i]) for i in range(5)), Series("far", [0, 1], [0, 1]))
    places = sorted(line.label_y for line in drawn.lines)
    assert all(after - before >= 15.9 for before, after in itertools.pairwise(places))
    assert places[-1] <= HEIGHT
    assert [line.label for line in sorted(drawn.lines, key=lambda line: line.label_y)] == [
        "far",
        "s4",
        "s3",
        "s2",
        "s1",
        "s0",
    ]


def test_long_series_is_thinned_but_keeps_spikes_ends_and_gaps() -> None:
    y = [0.0] * 10_000
    y[1234], y[4321], y[-1] = 5.0, math.nan, 1.0
    drawn = plot(Series("a", list(range(10_000)), y))
    points = path_points(drawn.lines[0].path)
    assert len(points) <= 410
    assert drawn.lines[0].path.count("M") == 2
    assert points[-1] == drawn.lines[0].end
    assert min(y for _, y in points) == pytest.approx(drawn.top + (drawn.bottom - drawn.top) * 0.06 / 1.12, abs=0.2)


def test_long_name_leaves_room_for_the_line() -> None:
    drawn = plot(Series("n" * 90, [0, 1], [0, 1]))
    assert len(drawn.lines[0].label) < 20
    assert drawn.right - drawn.left > WIDTH / 2


def test_a_name_keeps_its_style_and_the_subject_has_the_first() -> None:
    curves = [
        Curve("one", "x", "y", [Series("loss", [0, 1], [0, 1])]),
        Curve("two", "x", "y", [Series("other", [0, 1], [0, 1]), Series("subject", [0, 1], [0, 1])]),
        Curve("three", "x", "y", [Series("subject", [0, 1], [0, 1]), Series("loss", [0, 1], [0, 1])]),
    ]
    styles = [[line.style for line in drawn.lines] for drawn in plots(curves, subject="subject")]
    assert styles == [[1], [2, 0], [0, 1]]
