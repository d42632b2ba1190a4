"""Adjusted mutual information."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pertinent.functional import clustering
from pertinent.metrics._metric import cluster_metric

__all__ = ["adjusted_mutual_information"]


@cluster_metric(
    {
        "ami": "mutual information above chance / arithmetic mean of the two entropies above chance",
    },
)
def adjusted_mutual_information(classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Adjusted mutual information (AMI) of classes and k-means clusters: 0 for clusters at random."""
    return clustering.adjusted_mutual_information(classes, clusters)
