"""Clusters of embeddings, and how far they agree with classes."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

MANY_CLUSTERS = 1000


def k_means(x: NDArray[np.floating[Any]], n_clusters: int, seed: int = 0) -> NDArray[np.int64]:
    """Cluster of each vector by Lloyd's algorithm from k-means++ seeds; the same for the same seed.

    The best of ten runs is taken, for more than 1,000 clusters one run.

    Args:
        x: `(N, D)`.
        n_clusters: at most N.
        seed: of the random starting points.

    Returns:
        `(N,)` int64.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    runs = 1 if n_clusters > MANY_CLUSTERS else 10
    with warnings.catch_warnings():
        # Fewer distinct vectors than clusters is legal here: a collapsed encoder has that.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels: NDArray[np.int64] = KMeans(n_clusters, n_init=runs, random_state=seed).fit_predict(x).astype(np.int64)
    return labels


def normalised_mutual_information(
    classes: NDArray[np.int64], clusters: NDArray[np.int64], mean: Literal["arithmetic", "geometric"] = "arithmetic"
) -> float:
    """Mutual information of two partitions over the mean of their entropies; 0 where one of them has a single part."""
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(classes, clusters, average_method=mean))


def adjusted_mutual_information(classes: NDArray[np.int64], clusters: NDArray[np.int64]) -> float:
    """Mutual information of two partitions above what chance gives. Vinh et al., JMLR 2010."""
    from sklearn.metrics import adjusted_mutual_info_score

    return float(adjusted_mutual_info_score(classes, clusters))
