from __future__ import annotations

import numpy as np
import pytest

from pertinent.functional.clustering import adjusted_mutual_information, k_means, normalised_mutual_information


def test_k_means_finds_separate_groups_the_same_way_each_time():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 25)
    x = 10 * np.eye(4)[truth] + 0.1 * rng.standard_normal((100, 4))
    found = k_means(x, 4)
    assert found.dtype == np.int64
    assert normalised_mutual_information(truth, found) == pytest.approx(1.0)
    np.testing.assert_array_equal(found, k_means(x, 4))


def test_fewer_distinct_vectors_than_clusters():
    assert len(np.unique(k_means(np.ones((6, 2)), 3))) == 1


def test_agreement_of_partitions():
    a, b = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert normalised_mutual_information(a, a) == pytest.approx(1.0)
    assert normalised_mutual_information(a, b) == pytest.approx(0.0)
    assert normalised_mutual_information(a, np.zeros(4, int)) == 0.0
    assert adjusted_mutual_information(a, a) == pytest.approx(1.0)
    four = np.arange(4)
    assert normalised_mutual_information(a, four) == pytest.approx(2 * np.log(2) / (np.log(2) + np.log(4)))
    assert normalised_mutual_information(a, four, "geometric") == pytest.approx(np.sqrt(0.5))
