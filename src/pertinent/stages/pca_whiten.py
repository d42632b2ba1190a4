"""PCA whitening: project on principal components and even out their variances; needs no labels."""

from __future__ import annotations

from dataclasses import dataclass

from pertinent.functional.whitening import Rows, Whitening, pca_whitening, principal_components
from pertinent.relevance import Relevance
from pertinent.stages._roles import number, whole

__all__ = ["PCAWhiten"]


@dataclass(frozen=True)
class PCAWhiten:
    """PCA whitening: project on principal components and even out their variances; needs no labels.

    Args:
        p: power of the variance that each direction is divided by: 0 keeps the spectrum, 0.5 makes it flat.
        dims: how many directions are kept; None keeps all that vary.

    Raises:
        InputError: p below 0, dims below 1.
    """

    p: float = 0.25
    dims: int | None = None

    def __post_init__(self) -> None:
        number("pca_whiten: p", self.p, 0)
        if self.dims is not None:
            whole("pca_whiten: dims", self.dims, 1)

    def learn(self, vectors: Rows, relevance: Relevance | None = None) -> Whitening:  # noqa: ARG002 - labels have no say
        """The whitening of `(N, D)` vectors, read once in blocks."""
        return pca_whitening(principal_components(vectors), self.p, self.dims)
