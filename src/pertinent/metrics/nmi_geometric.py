"""Normalised mutual information by the geometric mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import clustering
from pertinent.metrics._metric import cluster_metric

__all__ = ["normalised_mutual_information_geometric"]


@cluster_metric(
    {
        "nmi/geometric": "mutual information / geometric mean of the two entropies",
    },
)
def normalised_mutual_information_geometric(classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """NMI with the geometric mean of the entropies, as metric-learning papers of the 2010s have it.

    The mean that scikit-learn took before version 0.22; `nmi` takes the arithmetic one.
    """
    return clustering.normalised_mutual_information(classes, clusters, "geometric")
