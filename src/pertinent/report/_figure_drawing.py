"""Draw figures with matplotlib, in light or dark, in colours that everybody can tell apart."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pertinent.engine.figures import REST, Panel
from pertinent.report._figure_set import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours for the colour-blind, without the yellow and black that paper or dark swallows; the second
# row is lighter, for dark. Seven colours and five dashes give 35 lines before two look alike.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a6d3b")
LIGHTER = ("#3d9be0", "#ff8a3d", "#2fc79a", "#e5a3c9", "#f2b93b", "#9adcff", "#c9a86a")
DASHES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1.5)))
MARKS = ("o", "s", "^", "D", "v", "P", "X", "*")
FEW_POINTS = 24
# Inches.
WIDTH, HEIGHT, LEGEND_ROW = 4.4, 3.6, 0.2
COLUMNS = 3


@dataclass(frozen=True)
class Theme:
    """Colours of paper, ink, secondary ink, grid and lines, the first four those of the report's pages."""

    paper: str
    ink: str
    quiet: str
    grid: str
    colours: tuple[str, ...]

    def colour(self, place: int) -> str:
        """The colour of a line by its place in the legend."""
        return self.colours[place % len(self.colours)]


LIGHT = Theme("#ffffff", "#1a1c1f", "#5c6268", "#ecebe6", COLOURS)
DARK = Theme("#1c1f23", "#e9e7e2", "#a3a9b0", "#363a40", LIGHTER)


def draw(figure: Figure, names: Sequence[str], theme: Theme, kind: str) -> bytes:
    """One figure as the bytes of an SVG or PNG; the same numbers give the same SVG.

    Args:
        figure: what to draw.
        names: all lines, so that each keeps its colour in every figure.
        theme: light or dark.
        kind: "svg" or "png".
    """
    from matplotlib import style
    from matplotlib.figure import Figure as Canvas

    settings: dict[str, Any] = {
        "svg.hashsalt": figure.key,
        "font.size": 9,
        "axes.titlesize": 10,
        "text.parse_math": False,  # names may hold a dollar
    }
    # The user's own settings are neither to be drawn with nor to be changed.
    with style.context(["default", settings]):
        # A canvas of its own, not pyplot's: no window is needed.
        columns = min(COLUMNS, len(figure.panels))
        rows = -(-len(figure.panels) // columns)
        heights = _heights(figure.panels, columns, len(names))
        size = (WIDTH * columns, sum(heights) + LEGEND_ROW * -(-_labelled(figure) // _legend_columns(figure)))
        canvas = Canvas(figsize=size, layout="constrained", facecolor=theme.paper)
        grid = canvas.subplots(rows, columns, squeeze=False, height_ratios=heights).ravel().tolist()
        styles = {name: place for place, name in enumerate(names)}
        for axes, panel in zip(grid, figure.panels, strict=False):
            _frame(axes, panel, theme)
            _KINDS[panel.kind](axes, panel, _group_styles(figure.panels) if panel.kind == "points" else styles, theme)
        for axes in grid[len(figure.panels) :]:
            axes.set_visible(False)
        _legend(canvas, grid, figure, theme)
        picture = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else {}
        canvas.savefig(picture, format=kind, dpi=150, metadata=metadata, facecolor=theme.paper)
    return picture.getvalue()


def _heights(panels: Sequence[Panel], columns: int, lines: int) -> list[float]:
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    low = 0.9 + 0.28 * lines
    return [low if all(panel.kind == "value" for panel in row) else HEIGHT for row in rows]


def _frame(axes: Axes, panel: Panel, theme: Theme) -> None:
    axes.set_facecolor(theme.paper)
    axes.set_title(panel.title, loc="left", color=theme.ink, fontweight="bold")
    axes.set_xlabel("" if panel.kind == "value" else panel.x_label, color=theme.quiet)
    axes.set_ylabel(panel.y_label, color=theme.quiet)
    axes.tick_params(colors=theme.quiet)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom") and panel.kind != "points")
        spine.set_color(theme.quiet)
    if panel.kind != "points":
        axes.grid(color=theme.grid)
    axes.set_axisbelow(True)


def _lines(axes: Axes, panel: Panel, styles: Mapping[str, int], theme: Theme) -> None:
    for line in panel.lines:
        place = styles[line.name]
        colour = theme.colour(place)
        few = len(line.x) <= FEW_POINTS
        axes.plot(
            line.x,
            line.y,
            color=colour,
            linestyle=DASHES[place % len(DASHES)],
            marker=MARKS[place % len(MARKS)] if few else None,
            markersize=4,
            linewidth=1.6,
            label=_short(line.name),
        )
        if line.low is not None and line.high is not None:
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)
    if panel.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")


def _values(axes: Axes, panel: Panel, styles: Mapping[str, int], theme: Theme) -> None:
    for height, line in enumerate(reversed(panel.lines)):
        place = styles[line.name]
        colour, value = theme.colour(place), line.y[0]
        if line.low is not None and line.high is not None:
            axes.plot([line.low[0], line.high[0]], [height, height], color=colour, linewidth=1.6)
        axes.plot([value], [height], color=colour, marker=MARKS[place % len(MARKS)], markersize=5)
        axes.annotate(
            f"{value:.4g}", (value, height), xytext=(0, 6), textcoords="offset points", ha="center", color=theme.ink
        )
    axes.set_yticks(range(len(panel.lines)), [_short(line.name) for line in reversed(panel.lines)], color=theme.ink)
    axes.set_ylim(-0.6, len(panel.lines) - 0.2)
    axes.margins(x=0.15)


def _points(axes: Axes, panel: Panel, styles: Mapping[str, int], theme: Theme) -> None:
    for line in panel.lines:
        rest = line.name == REST
        place = styles.get(line.name, 0)
        colour = theme.quiet if rest else theme.colour(place)
        axes.scatter(
            line.x,
            line.y,
            s=5 if rest else 12,
            color=colour,
            alpha=0.35 if rest else 0.9,
            linewidths=0,
            marker="o" if rest else MARKS[place % len(MARKS)],
            label=_short(line.name),
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")


_KINDS = {"line": _lines, "value": _values, "points": _points}


def _group_styles(panels: Sequence[Panel]) -> dict[str, int]:
    """One colour a group in all panels."""
    names = dict.fromkeys(line.name for panel in panels for line in panel.lines if line.name != REST)
    return {name: place for place, name in enumerate(names)}


def _legend(canvas: Any, grid: Sequence[Axes], figure: Figure, theme: Theme) -> None:
    shown: dict[str, Any] = {}
    for axes in grid[: len(figure.panels)]:
        shown |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        labels = list(shown)
        canvas.legend(
            shown.values(),
            labels,
            loc="outside lower center",
            ncols=min(len(labels), _legend_columns(figure)),
            frameon=False,
            labelcolor=theme.ink,
            markerscale=2 if figure.panels[0].kind == "points" else 1,
        )


def _labelled(figure: Figure) -> int:
    """How many names the legend holds."""
    return len({line.name for panel in figure.panels if panel.kind != "value" for line in panel.lines})


def _legend_columns(figure: Figure) -> int:
    return 4 if len(figure.panels) > 1 else 2


def _short(name: str, longest: int = 40) -> str:
    text = name if len(name) <= longest else f"{name[: longest - 1]}…"
    # Names that begin with an underscore would be kept out of the legend; the space has no width.
    return f"\u200b{text}" if text.startswith("_") else text
