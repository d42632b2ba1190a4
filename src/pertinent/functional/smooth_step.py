"""Smooth steps: what stands for "item k scores at least as high as item j" where a gradient is wanted.

All of them are pieces of x = s_k - s_j, each a constant, a straight line, a sigmoid, or a sum of these. Sums over many
items can therefore be had from sorted scores: only items on a sigmoid piece near j need a look of their own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pertinent.errors import InputError


@dataclass(frozen=True)
class Pieces:
    """A piecewise step: constant + slope x + [sigmoid] sigma(x/tau) on piece p, `bounds[p-1]` < x <= `bounds[p]`.

    Attributes:
        bounds: upper ends, ascending; the last is infinite.
        constants: height at x = 0 of each piece, the sigmoid not counted.
        slopes: of each piece's straight line.
        sigmoids: 1 where the piece has a sigmoid, else 0.
        tau: temperature of the sigmoids.
    """

    bounds: tuple[float, ...]
    constants: tuple[float, ...]
    slopes: tuple[float, ...]
    sigmoids: tuple[int, ...]
    tau: float = 1.0

    def __call__(self, gap: Tensor) -> tuple[Tensor, Tensor]:
        """Value and slope at `gap` = s_k - s_j, any shape, finite."""
        piece = torch.bucketize(gap, gap.new_tensor(self.bounds[:-1]))
        constant, line = gap.new_tensor(self.constants)[piece], gap.new_tensor(self.slopes)[piece]
        curved = gap.new_tensor(self.sigmoids)[piece]
        value = torch.sigmoid(gap / self.tau)
        slope = curved * value * (1 - value) / self.tau
        return torch.addcmul(constant, line, gap) + curved * value, slope + line


@dataclass(frozen=True)
class Sigmoid:
    """The plain sigmoid sigma(x/tau) of Smooth-AP.

    Raises:
        InputError: tau not positive.
    """

    tau: float = 0.01

    def __post_init__(self) -> None:
        check_tau(self.tau)

    def pieces(self) -> Pieces:
        """This step in pieces: a single one."""
        return Pieces(bounds=(math.inf,), constants=(0.0,), slopes=(0.0,), sigmoids=(1,), tau=self.tau)


@dataclass(frozen=True)
class SmoothStep:
    """The upper-bounding smooth step f of ROADMAP and HAPPIER.

    x <= 0: sigma(x/tau); 0 < x <= delta: start + sigma(x/tau); x > delta: rho (x - delta) + offset.

    Attributes:
        tau: temperature of the sigmoid.
        rho: slope of the linear part; -1 means a plain sigmoid everywhere.
        offset: height where the linear part begins; None makes the step continuous there.
        delta: where the linear part begins; None is 0, so no sigmoid for x > 0.
        start: jump at 0; .5 makes f an upper bound of the true step.

    Raises:
        InputError: tau not positive, or delta negative.
    """

    tau: float = 0.01
    rho: float = 100.0
    offset: float | None = 1.44
    delta: float | None = 0.05
    start: float = 0.5

    def __post_init__(self) -> None:
        check_tau(self.tau)
        if self.delta is not None and self.delta < 0:
            raise InputError(f"delta must be None or at least 0, got {self.delta}")

    def pieces(self) -> Pieces:
        """This step in pieces."""
        if self.rho == -1:
            return Sigmoid(self.tau).pieces()
        delta = self.delta or 0.0
        offset = 1 / (1 + math.exp(-delta / self.tau)) + self.start if self.offset is None else self.offset
        return Pieces(
            bounds=(0.0, delta, math.inf),
            constants=(0.0, self.start, offset - self.rho * delta),
            slopes=(0.0, 0.0, self.rho),
            sigmoids=(1, 1, 0),
            tau=self.tau,
        )


@dataclass(frozen=True)
class Ramp:
    """The lower-bounding smooth step g of HAPPIER's H-rank: leak x for x <= 0, min(1, beta x + gamma) for x > 0.

    Raises:
        InputError: beta not positive.
    """

    beta: float = 25.0
    leak: float = 10.0
    gamma: float = 0.5

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise InputError(f"beta must be positive, got {self.beta}")

    def pieces(self) -> Pieces:
        """This ramp in pieces."""
        full = max(1 - self.gamma, 0.0) / self.beta
        return Pieces(
            bounds=(0.0, full, math.inf),
            constants=(0.0, self.gamma, 1.0),
            slopes=(self.leak, self.beta, 0.0),
            sigmoids=(0, 0, 0),
        )


def check_tau(tau: float) -> None:
    """Raise InputError unless the temperature is positive."""
    if not tau > 0:
        raise InputError(f"tau must be positive, got {tau}")
