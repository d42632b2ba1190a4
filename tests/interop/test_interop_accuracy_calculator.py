from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pertinent.errors import InputError, UnknownNameError
from pertinent.interop import pml
from pertinent.interop.pml import AccuracyCalculator

NO_CLUSTERS = ("NMI", "AMI")


def data(rng, n=80, classes=9, dim=6):
    """Whole numbers, so that distances are exact and differ from each other in every library."""
    return torch.from_numpy(rng.integers(0, 1024, (n, dim))).float(), torch.from_numpy(rng.integers(0, classes, n))


@pytest.fixture(scope="module")
def original():
    module = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    return lambda **options: module.AccuracyCalculator(device=torch.device("cpu"), **options)


@pytest.mark.parametrize("k", [None, "max_bin_count", 1, 4, 30])
@pytest.mark.parametrize("options", [{}, {"avg_of_avgs": True}, {"return_per_class": True}])
@pytest.mark.parametrize("gallery", ["own", "other", "begins with the queries"])
def test_numbers_of_the_original(original, k, options, gallery):
    rng = np.random.default_rng(0)
    query, labels = data(rng)
    labels[:2] = torch.tensor([50, 51])
    given = [query, labels]
    if gallery != "own":
        more, theirs = data(rng, 60, 7)
        head = gallery != "other"
        given += [torch.cat([query, more]), torch.cat([labels, theirs]), True] if head else [more, theirs]
    want = original(k=k, exclude=NO_CLUSTERS, **options).get_accuracy(*given)
    got = AccuracyCalculator(k=k, exclude=NO_CLUSTERS, **options).get_accuracy(*given)
    assert set(got) == set(want)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-6, err_msg=name)


def test_clustering_by_the_same_clusters(original):
    rng = np.random.default_rng(1)
    query, labels = data(rng)

    def k_means(x, n_clusters):
        assert x.shape == (80, 6)
        return torch.arange(len(x)) % n_clusters

    want = original(include=NO_CLUSTERS, kmeans_func=k_means).get_accuracy(query, labels)
    got = AccuracyCalculator(include=NO_CLUSTERS, kmeans_func=k_means).get_accuracy(query.numpy(), labels.numpy())
    assert got == pytest.approx(want)
    own = AccuracyCalculator(include=["NMI"]).get_accuracy(query, labels)
    assert 0 < own["NMI"] < 1


def test_a_comparison_of_labels(original, monkeypatch):
    monkeypatch.setattr(pml, "COMPARED_PAIRS", 500)
    query, labels = data(np.random.default_rng(2))
    given = {"exclude": NO_CLUSTERS, "label_comparison_fn": lambda x, y: (x - y).abs() <= 1}
    want = original(**given).get_accuracy(query, labels)
    assert AccuracyCalculator(**given).get_accuracy(query, labels) == pytest.approx(want, rel=1e-6)


def test_a_number_beyond_the_gallery_changes_nothing():
    query, labels = data(np.random.default_rng(3), 20, 3)
    whole = AccuracyCalculator(exclude=NO_CLUSTERS).get_accuracy(query, labels)
    assert AccuracyCalculator(k=1000, exclude=NO_CLUSTERS).get_accuracy(query, labels) == whole


def test_large_ids_stay_apart_and_words_are_labels():
    x = torch.eye(4)[[0, 0, 1, 1]] + 0.01 * torch.arange(4)[:, None]
    first = AccuracyCalculator(include=["precision_at_1"])
    far = torch.tensor([2**24, 2**24 + 1, 2**24, 2**24 + 1])
    assert first.get_accuracy(x, far) == {"precision_at_1": 0.0}
    assert first.get_accuracy(x, np.array(["a", "a", "b", "b"])) == {"precision_at_1": 1.0}
    assert first.get_accuracy(x, torch.tensor([-1, -1, 0, 0])) == {"precision_at_1": 1.0}


def test_reciprocal_rank_alone():
    query, labels = data(np.random.default_rng(4))
    alone = AccuracyCalculator(include=("mean_reciprocal_rank",)).get_accuracy(query, labels)
    assert alone == {
        "mean_reciprocal_rank": pytest.approx(AccuracyCalculator().get_accuracy(query, labels)["mean_reciprocal_rank"])
    }


def test_items_that_do_not_match_themselves_are_counted_right():
    x, y = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0, 0], [0, 1], [0, 2]])
    calculator = AccuracyCalculator(
        exclude=NO_CLUSTERS, label_comparison_fn=lambda a, b: (a[..., 0] == b[..., 0]) & (a[..., 1] != b[..., 1])
    )
    assert calculator.get_accuracy(x, y) == dict.fromkeys(pml.RANKED, 1.0)


def test_nothing_relevant_is_nan():
    x = torch.eye(3)
    got = AccuracyCalculator(exclude=NO_CLUSTERS).get_accuracy(x, torch.arange(3))
    assert all(math.isnan(value) for value in got.values())
    each = AccuracyCalculator(include=["r_precision"], return_per_class=True).get_accuracy(x, torch.arange(3))
    np.testing.assert_array_equal(each["r_precision"], [math.nan] * 3)


def test_metrics_of_one_call():
    query, labels = data(np.random.default_rng(5))
    calculator = AccuracyCalculator(include=["precision_at_1", "r_precision"])
    assert list(calculator.get_accuracy(query, labels, include=["r_precision"])) == ["r_precision"]
    assert list(calculator.get_accuracy(query, labels, exclude=["r_precision"])) == ["precision_at_1"]
    with pytest.raises(UnknownNameError, match="NMI"):
        calculator.get_accuracy(query, labels, include=["NMI"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"avg_of_avgs": True, "return_per_class": True}, "exclude each other"),
        ({"k": 0}, "from 1 on"),
        ({"k": "all"}, "max_bin_count"),
        ({"k": True}, "from 1 on"),
        ({"device": "cuda"}, "works on the CPU"),
        ({"knn_func": print}, "similarity="),
        ({"label_comparison_fn": torch.eq}, "exclude NMI and AMI"),
        ({"include": "NMI"}, "lists of metrics"),
        ({"include": ["precision_at_2"]}, "precision_at_1"),
    ],
)
def test_arguments_that_do_not_fit(options, says):
    with pytest.raises((InputError, UnknownNameError), match=says):
        AccuracyCalculator(**options)


def test_the_cpu_is_fine():
    AccuracyCalculator(device=torch.device("cpu"))


@pytest.mark.parametrize(
    ("given", "options", "says"),
    [
        ((torch.ones(3, 2), torch.ones(2)), {}, "same length"),
        ((torch.ones(3, 2), torch.ones(3), torch.ones(4, 2)), {}, "reference_labels are missing"),
        ((torch.ones(3, 2), torch.ones(3), torch.zeros(4, 2), torch.ones(4), True), {}, "begins with the queries"),
        ((torch.ones(3, 2), torch.ones(3, 2)), {"exclude": NO_CLUSTERS}, "need a label_comparison_fn"),
        ((torch.ones(3, 2), torch.ones(3, 2)), {"include": NO_CLUSTERS}, "one label an item"),
        (
            (torch.ones(3, 2), torch.ones(3)),
            {"exclude": NO_CLUSTERS, "label_comparison_fn": lambda x, y: x - y},
            "must return bool",
        ),
    ],
)
def test_inputs_that_do_not_fit(given, options, says):
    with pytest.raises(InputError, match=says):
        AccuracyCalculator(**options).get_accuracy(*given)
