"""The geometry of the line charts: where lines, ticks and labels lie; the template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pertinent.report.content import Curve, Series

WIDTH, HEIGHT = 400, 250
_TOP, _BOTTOM = 34, 40
_DIGIT, _CHARACTER, _LABEL_GAP, _LONGEST_LABEL = 6.6, 8.0, 16, 16
_MOST_POINTS = 400
_STYLES = 6


@dataclass(frozen=True)
class Tick:
    """One mark of an axis, in pixels, with its number."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One series: SVG path, end point, place of its label, and style (the same for a name in every chart)."""

    name: str
    label: str
    path: str
    end: tuple[float, float]
    label_y: float
    style: int
    spoken: str


@dataclass(frozen=True)
class Plot:
    """One chart ready to draw; `lines` is empty where a curve has no finite value."""

    curve: Curve
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def plots(curves: Sequence[Curve], subject: str) -> list[Plot]:
    """Lay out all charts; a series name keeps one line style throughout, and the subject's is the strongest."""
    names = list(dict.fromkeys(series.name for curve in curves for series in curve.series))
    names.sort(key=lambda name: name != subject)
    return [_plot(curve, {name: position % _STYLES for position, name in enumerate(names)}) for curve in curves]


def _plot(curve: Curve, styles: dict[str, int]) -> Plot:
    drawn = [series for series in curve.series if _points(series)]
    longest = max((len(_short(series.name)) for series in drawn), default=0)
    right, bottom = WIDTH - 14 - longest * _CHARACTER, HEIGHT - _BOTTOM
    if not drawn:
        return Plot(curve, 0, right, _TOP, bottom, [], [], [])
    points = [point for series in drawn for point in _points(series)]
    y_axis = _Axis(*_range([y for _, y in points], margin=0.06), bottom, _TOP)
    y_ticks = _ticks(y_axis, 5)
    left = 12 + _DIGIT * max(len(tick.text) for tick in y_ticks)
    x_axis = _Axis(*_range([x for x, _ in points], margin=0.0), left, right)
    lines = [_line(series, x_axis, y_axis, styles[series.name]) for series in drawn]
    return Plot(curve, left, right, _TOP, bottom, _ticks(x_axis, 5), y_ticks, _separate(lines))


def _points(series: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(series.x, series.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _line(series: Series, x_axis: _Axis, y_axis: _Axis, style: int) -> Line:
    finite = _points(series)
    end = (x_axis(finite[-1][0]), y_axis(finite[-1][1]))
    spoken = f"{series.name} from {finite[0][1]:.4g} to {finite[-1][1]:.4g}"
    return Line(series.name, _short(series.name), _path(series, x_axis, y_axis), end, end[1], style, spoken)


def _path(series: Series, x_axis: _Axis, y_axis: _Axis) -> str:
    parts, pen = [], "M"
    for x, y in _thin(list(zip(series.x, series.y, strict=True))):
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        parts.append(f"{pen}{x_axis(x):g} {y_axis(y):g}")
        pen = "L"
    return "".join(parts)


def _thin(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Keep the lowest and the highest point of each stretch, so that no spike is lost on the way to fewer points."""
    if len(points) <= _MOST_POINTS:
        return points
    step = math.ceil(2 * len(points) / _MOST_POINTS)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), step):
        stretch = range(start, min(start + step, len(points)))
        finite = [position for position in stretch if math.isfinite(points[position][1])]
        kept.update(position for position in stretch if not math.isfinite(points[position][1]))
        if finite:
            kept |= {min(finite, key=lambda i: points[i][1]), max(finite, key=lambda i: points[i][1])}
    return [points[position] for position in sorted(kept)]


def _separate(lines: list[Line]) -> list[Line]:
    """Move labels at the line ends apart, keeping their order and the chart's frame."""
    order = sorted(range(len(lines)), key=lambda position: lines[position].end[1])
    places: list[float] = []
    for position in order:
        wanted = lines[position].end[1]
        places.append(max(wanted, places[-1] + _LABEL_GAP) if places else wanted)
    limit = float(HEIGHT - _BOTTOM)
    for rank in reversed(range(len(places))):
        places[rank] = min(places[rank], limit)
        limit = places[rank] - _LABEL_GAP
    moved = dict(zip(order, places, strict=True))
    return [Line(**{**vars(line), "label_y": round(moved[position], 1)}) for position, line in enumerate(lines)]


def _range(values: Sequence[float], margin: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        half = abs(low) / 10 or 0.5
        return low - half, high + half
    return low - margin * (high - low), high + margin * (high - low)


def _ticks(axis: _Axis, count: int) -> list[Tick]:
    """Return round numbers inside the axis: steps of 1, 2, 2.5 or 5 times a power of ten."""
    rough = (axis.high - axis.low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return [Tick(axis(number * step), _number(number * step, step)) for number in range(first, last + 1)]


def _number(value: float, step: float) -> str:
    if round(value / step) == 0:
        return "0"
    if not 1e-3 <= step < 1e6:
        return f"{value:.1e}".replace("-", "−")
    decimals = next(places for places in range(6) if math.isclose(round(step, places), step, rel_tol=1e-6))
    return f"{value:,.{decimals}f}".replace(",", "\u202f").replace("-", "−")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
