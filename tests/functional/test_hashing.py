"""Terms of the losses for codes (`functional/hashing.py`) and hash centres (`functional/hash_centres.py`)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pertinent.errors import InputError
from pertinent.functional.code_distance import code_threshold
from pertinent.functional.hash_centres import COUNTED, hadamard, hash_centres
from pertinent.functional.hashing import (
    balance,
    balance_weights,
    cauchy_pairs,
    cauchy_quantisation,
    centre_likelihood,
    code_distances,
    decorrelation,
    jaccard,
    label_cosine,
    log_cosh,
    majority,
    margin_likelihood,
    pair_likelihood,
    sign_cosine,
    signs,
    soft_pairs,
    squared_distances,
)

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(5, 6, dtype=torch.float64, generator=GENERATOR)
Y = torch.randn(4, 6, dtype=torch.float64, generator=GENERATOR)


def least_distance(codes: np.ndarray) -> int:
    return min(int((a != b).sum()) for place, a in enumerate(codes) for b in codes[:place])


@pytest.mark.parametrize("order", [1, 2, 4, 8, 12, 16, 20, 24, 28, 32, 36, 48, 60, 64, 76, 128])
def test_hadamard_rows_are_orthogonal(order: int) -> None:
    matrix = hadamard(order)
    assert matrix is not None
    assert set(np.unique(matrix)) <= {-1, 1}
    wide = matrix.astype(int)
    np.testing.assert_array_equal(wide @ wide.T, order * np.eye(order, dtype=int))
    assert (matrix[:, 0] == 1).all()


@pytest.mark.parametrize("order", [3, 5, 6, 10, 14, 30, 52])
def test_no_hadamard_matrix_is_made_of_other_orders(order: int) -> None:
    assert hadamard(order) is None


@pytest.mark.parametrize("kind", ["separated", "random"])
@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8, 12, 13, 16, 30])
@pytest.mark.parametrize("classes", [1, 2, 3, 7, 20, 38, 80, 150])
def test_centres_are_as_far_apart_as_they_say(classes: int, bits: int, kind: str) -> None:
    found = hash_centres(classes, bits, kind)  # type: ignore[arg-type]
    assert found.codes.shape == (classes, bits)
    assert found.codes.dtype == np.int8
    assert (np.abs(found.codes) == 1).all()
    if classes > 1:
        least = least_distance(found.codes)
        assert found.distance <= least
        assert kind == "separated" or found.distance == least
    assert (found.distance > 0) or kind == "random" or classes > 2**bits
    if kind == "separated" and classes > 2**bits:
        counts = np.unique(found.codes, axis=0, return_counts=True)[1]
        assert found.distance == 0
        assert "share" in found.reason
        assert len(counts) == 2**bits
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("classes", "bits", "distance"),
    [(20, 12, 6), (20, 16, 8), (20, 36, 18), (20, 48, 24), (38, 24, 12), (38, 36, 18), (80, 48, 24), (21, 31, 16)],
)
def test_usual_lengths_reach_half_of_the_bits(classes: int, bits: int, distance: int) -> None:
    found = hash_centres(classes, bits)
    assert found.distance == distance == least_distance(found.codes)
    assert "Hadamard" in found.reason


@pytest.mark.parametrize(("classes", "bits"), [(38, 12), (80, 12), (80, 16), (80, 24), (200, 32), (1000, 48)])
def test_more_classes_come_near_the_best_known_codes(classes: int, bits: int) -> None:
    assert hash_centres(classes, bits).distance >= code_threshold(classes, bits).distance - 2


def test_many_bits_and_many_classes() -> None:
    many = hash_centres(10, 1000)
    assert many.distance == 500
    products = many.codes.astype(int) @ many.codes.T.astype(int)
    np.testing.assert_array_equal(products, 1000 * np.eye(10, dtype=int))
    assert hash_centres(40_000, 64).distance >= 18
    assert hash_centres(3, 9000).distance > 4000  # above the orders that are looked for
    assert hash_centres(COUNTED + 1, 64, "random").distance == 0


def test_centres_follow_from_the_seed() -> None:
    for kind in ("separated", "random"):
        first, again, other = (hash_centres(30, 20, kind, seed).codes for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()


def test_wrong_centres() -> None:
    for classes, bits in ((0, 4), (4, 0)):
        with pytest.raises(InputError, match="at least 1"):
            hash_centres(classes, bits)
    with pytest.raises(InputError, match="seed at least 0"):
        hash_centres(4, 4, seed=-1)
    with pytest.raises(InputError, match="centres must be one of"):
        hash_centres(4, 4, "far")  # type: ignore[arg-type]


def test_signs_have_no_zero_and_no_gradient() -> None:
    x = torch.tensor([-2.0, 0.0, 3.0], requires_grad=True)
    assert signs(x).tolist() == [-1, 1, 1]
    assert not signs(x).requires_grad


def test_squared_distances_and_code_distances() -> None:
    for i, a in enumerate(X):
        for j, b in enumerate(Y):
            torch.testing.assert_close(squared_distances(X, Y)[i, j], ((a - b) ** 2).sum())
    a, b = torch.tensor([1.0, 1, -1, 1]), torch.tensor([1.0, -1, 1, 1])
    assert code_distances((a @ b) / 4, 4) == 2
    assert code_distances(torch.tensor(1.0000001), 4) == 0


@pytest.mark.parametrize("logit", [-1e4, -3.0, 0.0, 3.0, 1e4])
def test_likelihoods_do_not_overflow(logit: float) -> None:
    one, two = torch.tensor([logit, logit]).double().requires_grad_(), torch.tensor([True, False])
    value = pair_likelihood(one, two)
    value.sum().backward()
    assert value.isfinite().all()
    assert one.grad.isfinite().all()
    if abs(logit) < 10:
        want = [math.log(1 + math.exp(logit)) - logit, math.log(1 + math.exp(logit))]
        torch.testing.assert_close(value.detach(), torch.tensor(want).double())
        torch.testing.assert_close(log_cosh(one.detach()), one.detach().cosh().log())
    assert log_cosh(one).isfinite().all()


def test_weights_even_out_the_two_kinds() -> None:
    similar = torch.tensor([[True, False, False, True]])
    counted = torch.tensor([[True, True, True, False]])
    weights = balance_weights(similar, counted).double() * counted
    torch.testing.assert_close(weights, torch.tensor([[3.0, 1.5, 1.5, 0.0]]).double())
    only = balance_weights(similar[:, :1], counted[:, :1])
    assert only.tolist() == [[1.0]]
    assert balance_weights(similar[:, :0], counted[:, :0]).shape == (1, 0)


def test_degrees_of_similarity() -> None:
    tags = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).double()
    shared, sizes = tags @ tags.T, tags.sum(1)
    for i in range(4):
        for j in range(4):
            either = ((tags[i] + tags[j]) > 0).sum()
            want = shared[i, j] / either if either else 0.0
            assert float(jaccard(shared, sizes, sizes)[i, j]) == pytest.approx(float(want))
            lengths = tags[i].norm() * tags[j].norm()
            want = shared[i, j] / lengths if lengths else 0.0
            assert float(label_cosine(shared, sizes, sizes)[i, j]) == pytest.approx(float(want))


def test_soft_pairs_are_least_where_codes_are_as_similar_as_labels() -> None:
    products = torch.linspace(-8, 8, 17).double()
    for similarity in (0.25, 0.5, 0.75):
        losses = soft_pairs(products, torch.full_like(products, similarity), 8, 0.5, 0.1)
        assert products[losses.argmin()] == 16 * similarity - 8
        assert losses.min() == 0
    hard = soft_pairs(products, torch.ones_like(products), 8, 0.5, 0.1)
    assert (hard.diff() < 0).all()


def test_cauchy_is_the_papers_formula() -> None:
    d = torch.tensor([0.5, 3.0, 20.0]).double()
    for s in (0.0, 1.0):
        want = s * (d / 7).log() + (1 + 7 / d).log()
        torch.testing.assert_close(cauchy_pairs(d, torch.full_like(d, s) > 0, 7.0), want)
    at_zero = cauchy_pairs(torch.zeros(2), torch.tensor([True, False]), 7.0)
    assert at_zero[0] == 0
    assert at_zero.isfinite().all()
    ones = torch.tensor([[1.0, -1, 1], [2, 2, -2]])
    torch.testing.assert_close(cauchy_quantisation(ones, 7.0), torch.zeros(2), atol=1e-6, rtol=0)
    assert cauchy_quantisation(torch.tensor([[1.0, 0, 0]]), 7.0) > 0.05


def test_majority_counts_votes() -> None:
    centres = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, -1]])
    ties = torch.tensor([-1.0, 1, 1, -1])
    tags = torch.tensor([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 0, 0]]).bool()
    assert majority(tags, centres, ties).tolist() == [
        [1, 1, -1, -1],
        [1, 1, 1, -1],
        [1, -1, -1, -1],
        [-1, 1, 1, -1],
    ]


def test_centre_likelihood_is_the_binary_cross_entropy_of_tanh() -> None:
    targets = signs(torch.flip(X, [1]))
    h, c = (torch.tanh(X) + 1) / 2, (targets + 1) / 2
    want = -(c * h.log() + (1 - c) * (1 - h).log()).mean(1)
    torch.testing.assert_close(centre_likelihood(X, targets), want)
    assert centre_likelihood(1e4 * X, targets).isfinite().all()


def test_margins() -> None:
    cosines = torch.tensor([[0.5, -0.1, 0.3]]).double()
    tags = torch.tensor([[True, False, True]])
    lowered = {
        "cos": torch.tensor([0.3, -0.1, 0.1]).double(),
        "arc": torch.tensor([math.cos(math.acos(0.5) + 0.2), -0.1, math.cos(math.acos(0.3) + 0.2)]).double(),
    }
    for kind, values in lowered.items():
        log_share = (8 * values).log_softmax(0)
        want = -(log_share[0] + log_share[2]) / 2
        torch.testing.assert_close(margin_likelihood(cosines, tags, 8.0, 0.2, kind)[0], want)  # type: ignore[arg-type]
    assert margin_likelihood(cosines, ~tags & tags, 8.0, 0.2, "cos") == 0
    for edge in (-1.0, 1.0):
        leaf = torch.full((1, 3), edge).requires_grad_()
        margin_likelihood(leaf, tags, 8.0, 0.2, "arc").sum().backward()
        assert leaf.grad.isfinite().all()


def test_sign_cosine() -> None:
    want = 1 - torch.nn.functional.cosine_similarity(X, X.sign())
    torch.testing.assert_close(sign_cosine(X), want)
    assert sign_cosine(torch.zeros(1, 4)) == 1


def literal_decorrelation(bits: Tensor) -> float:
    width = bits.shape[1]
    pairs = [(a, b) for a in range(width) for b in range(width) if a != b]
    return sum(float((bits[:, a] * bits[:, b]).mean()) ** 2 for a, b in pairs) / max(len(pairs), 1)


def test_balance_and_decorrelation() -> None:
    known = torch.tensor([True, True, False, True, True])
    rows = X[known]
    assert float(balance(X, known)) == pytest.approx(float((rows.mean(0) ** 2).mean()))
    assert float(decorrelation(X, known)) == pytest.approx(literal_decorrelation(rows))
    assert decorrelation(X[:, :1], known) == 0
    whole = torch.tensor(hadamard(8)).double()[:, 1:]
    everything = torch.ones(8, dtype=torch.bool)
    assert balance(whole, everything) == 0
    assert decorrelation(whole, everything) == 0
