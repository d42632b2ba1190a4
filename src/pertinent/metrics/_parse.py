"""Read metric names such as `ap`, `r@10`, `ap@1000/hits`, `ap@r` and `r@1.0`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from pertinent.errors import InputError, UnknownNameError
from pertinent.metrics import METRICS
from pertinent.metrics._metric import ClusterMetric, Metric

_GRAMMAR = re.compile(r"(?P<word>[a-z_]+)(@(?P<cut>[0-9]+|r))?(/(?P<divisor>[a-z]+))?(\.(?P<level>[0-9]+))?")


@dataclass(frozen=True)
class RequestedMetric:
    """One column of a report.

    Attributes:
        spelling: the name with K for its number and without level, such as `ap@K/hits`.
        metric: what computes it.
        cut: the number K, where there is one.
        level: label column of a tree (0 finest) in which an item must agree to be relevant, or None for the levels.
    """

    spelling: str
    metric: Metric | ClusterMetric
    cut: int | None = None
    level: int | None = None

    @property
    def name(self) -> str:
        """The name as it stands in a report."""
        word = self.spelling if self.cut is None else self.spelling.replace("@K", f"@{self.cut}")
        return word if self.level is None else f"{word}.{self.level}"

    @property
    def convention(self) -> str:
        """What is counted and by what it is divided."""
        text = self.metric.convention(self.spelling)
        return text if self.cut is None else re.sub(r"\bK\b", str(self.cut), text)


def parse_metric(name: str) -> RequestedMetric:
    """Read one name.

    Raises:
        UnknownNameError: no such metric, or it takes no cut or needs one; the message suggests the nearest.
        InputError: a cut below 1.
    """
    match = _GRAMMAR.fullmatch(name)
    if match is None:
        raise UnknownNameError("metric", name, spellings())
    cut, level = match["cut"], match["level"]
    number = int(cut) if cut not in (None, "r") else None
    tail = "" if cut is None else "@r" if number is None else "@K"
    spelling = match["word"] + tail + (f"/{match['divisor']}" if match["divisor"] else "")
    file = match["word"] + ("_r" if cut == "r" else "") + (f"_{match['divisor']}" if match["divisor"] else "")
    if file not in METRICS.entries or spelling not in METRICS.get(file).conventions:
        shown = [known.replace("@K", f"@{number or 'K'}") for known in spellings()]
        raise UnknownNameError("metric", name, shown)
    if number is not None and number < 1:
        raise InputError(f"metric {name!r}: the number after @ counts ranked items and must be at least 1")
    return RequestedMetric(spelling, METRICS.get(file), number, None if level is None else int(level))


def parse_metrics(names: Iterable[str]) -> list[RequestedMetric]:
    """Read names in order; one that is given twice is read once."""
    return list({request.name: request for request in map(parse_metric, names)}.values())


def per_level(requests: Iterable[RequestedMetric], levels: int) -> list[RequestedMetric]:
    """On a tree, ask binary metrics that name no level for every level."""
    found: dict[str, RequestedMetric] = {}
    for request in requests:
        if request.level is None and not request.metric.graded:
            found |= {one.name: one for one in (replace(request, level=level) for level in range(levels))}
        else:
            found[request.name] = request
    return list(found.values())


def spellings() -> list[str]:
    """Every name there is, with K for a number."""
    return [spelling for name in METRICS.names() for spelling in METRICS.get(name).conventions]
