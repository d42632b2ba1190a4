"""Normalised mutual information."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import clustering
from pertinent.metrics._metric import cluster_metric

__all__ = ["normalised_mutual_information"]


@cluster_metric(
    {
        "nmi": "mutual information / arithmetic mean of the two entropies",
    },
)
def normalised_mutual_information(classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Normalised mutual information (NMI) of classes and k-means clusters, arithmetic mean.

    As scikit-learn and pytorch-metric-learning normalise it; papers often took the geometric mean, `nmi/geometric`.
    """
    return clustering.normalised_mutual_information(classes, clusters, "arithmetic")
