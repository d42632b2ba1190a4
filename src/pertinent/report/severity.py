"""How bad a mistake is, as words, a mark that needs no colour, and an ordered scale of colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pertinent.report.content import Hit

# From unrelated over near to right: red, ochre, blue-green; apart in hue and in lightness for colour-blind readers.
_LIGHT = ((176, 36, 28), (184, 128, 0), (11, 110, 128))
_DARK = ((255, 118, 96), (232, 186, 84), (84, 190, 205))
_MOST_PIPS = 4


@dataclass(frozen=True)
class Severity:
    """One step of the scale: `level` shared label levels."""

    level: int
    words: str
    mark: str
    light: str
    dark: str


@dataclass(frozen=True)
class Share:
    """How many of some hits have one severity."""

    severity: Severity
    count: int
    total: int

    @property
    def percent(self) -> str:
        """The share of the hits, such as `63%`."""
        return f"{100 * self.count / self.total:.0f}%"


def severities(levels: Sequence[str]) -> list[Severity]:
    """Return the scale for label levels named from fine to coarse; the position in the list is the level."""
    steps = len(levels)
    words = ["unrelated", *(f"same {name}" for name in reversed(levels))]
    return [
        Severity(
            level,
            words[level],
            _mark(level, steps),
            _colour(_LIGHT, level / max(steps, 1)),
            _colour(_DARK, level / max(steps, 1)),
        )
        for level in range(steps + 1)
    ]


def shares(hits: Iterable[Hit], scale: Sequence[Severity]) -> list[Share]:
    """Count hits by severity, best first, leaving out hits of unknown level and severities that do not occur."""
    levels = [hit.level for hit in hits if hit.level is not None]
    counted = [Share(step, levels.count(step.level), len(levels)) for step in reversed(scale)]
    return [share for share in counted if share.count]


def _mark(level: int, steps: int) -> str:
    """Return one pip a label level, filled where shared; a fraction where pips would be too many to count."""
    return f"{level}/{steps}" if steps > _MOST_PIPS else "●" * level + "○" * (steps - level)


def _colour(stops: Sequence[tuple[int, int, int]], position: float) -> str:
    """Interpolate between equally spaced stops; `position` in 0..1."""
    left = min(int(position * (len(stops) - 1)), len(stops) - 2)
    part = position * (len(stops) - 1) - left
    mixed = (round(a + part * (b - a)) for a, b in zip(stops[left], stops[left + 1], strict=True))
    return "#" + "".join(f"{channel:02x}" for channel in mixed)
