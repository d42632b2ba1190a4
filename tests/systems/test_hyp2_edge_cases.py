"""Codes where things are few or odd, through losses, packing, search, evaluation and figures, as the docs promise.

Labels that are all zero, a class without images, an image with every tag, 1 and 1,000 bits, bits that fill no whole
byte, more classes than codes, and more results asked for than there are items.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from pertinent import EmbeddingStore, Index, Relevance, evaluate
from pertinent.cli.__main__ import app
from pertinent.codes import write_codes
from pertinent.functional.code_statistics import code_statistics
from pertinent.functional.hash_centres import hash_centres
from pertinent.functional.packed import unpack_signs
from pertinent.losses import LOSSES, HyP2Loss
from pertinent.report._contenders import name_contenders, open_contender
from pertinent.report._figure_files import numbers
from pertinent.report._figure_set import Asked, make_figures
from pertinent.store import StoreLabels

PAIRS = ["dsh", "dpsh", "dhn", "hashnet", "dch", "idhn"]
CENTRES = ["csq", "dpn", "orthohash"]
TERMS = ["quantisation", "bit_balance"]
EVERY = ["hyp2", *PAIRS, *CENTRES, "greedyhash", *TERMS]
BITS = [1, 13, 1000]
C = 5
NONE, ALL = torch.zeros(6, C).bool(), torch.ones(6, C).bool()
MIXED = torch.tensor(
    [[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 0], [1] * 5]
).bool()
LABELLINGS = {"none": NONE, "every": ALL, "mixed": MIXED, "a class without images": MIXED & (torch.arange(C) != 2)}


def build(name: str, bits: int, classes: int = C) -> nn.Module:
    sizes = {"num_classes": classes, "bits": bits}
    torch.manual_seed(0)
    module = LOSSES.build(name, **{key: value for key, value in sizes.items() if key in LOSSES.options(name)})
    assert isinstance(module, nn.Module)
    return module.double()


def batch(bits: int, count: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(bits)
    return torch.randn(count, bits, dtype=torch.float64, generator=generator).requires_grad_()


def value_of(module: nn.Module, x: Tensor, tags: Tensor) -> Tensor:
    value: Tensor = module(x, tags)
    value.backward()
    for leaf in (x, *module.parameters()):
        assert leaf.grad is None or leaf.grad.isfinite().all()
    assert value.isfinite()
    return value.detach()


# --- losses


def test_every_loss_for_codes_is_here():
    assert len(EVERY) == 13
    documented = (Path(__file__).parents[2] / "docs" / "losses-hashing.md").read_text()
    assert all(f"| `{name}` `" in documented for name in EVERY if name != "hyp2")


@pytest.mark.parametrize("tags", LABELLINGS.values(), ids=LABELLINGS.keys())
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("name", EVERY)
def test_any_labels_and_bits(name: str, bits: int, tags: Tensor):
    value_of(build(name, bits), batch(bits), tags)


@pytest.mark.parametrize("name", EVERY)
def test_more_classes_than_codes(name: str):
    tags = torch.eye(20).bool() | torch.eye(20).bool().roll(1, 1)
    module = build(name, 2, 20)
    value_of(module, batch(2, 20), tags)
    if name in CENTRES:
        assert module.distance == 0
        assert len(module.centres.unique(dim=0)) == 4
    if name in CENTRES or name == "hyp2":
        assert "share" in repr(module) or "0 apart" in repr(module)


@pytest.mark.parametrize("name", [*PAIRS, *CENTRES])
def test_a_class_without_images_is_nothing_to_pairs_and_centres(name: str):
    more = torch.cat([MIXED[:5], torch.zeros(5, 1).bool()], dim=1)
    module, wider = build(name, 16), build(name, 16, C + 1)
    if name in CENTRES:
        wider.centres[:C] = module.centres
    if name in ("csq", "dpn"):
        wider.ties[:] = module.ties
    plain, more_classes = (value_of(one, batch(16, 5), tags) for one, tags in ((module, MIXED[:5]), (wider, more)))
    if name == "orthohash":
        assert more_classes > plain, "one more class to be told from"
    else:
        torch.testing.assert_close(more_classes, plain)


def test_a_class_without_images_pushes_in_hyp2():
    loss, x = HyP2Loss(C, 8, threshold=-1.0), batch(8).detach().float()
    value_of(loss, x.requires_grad_(), LABELLINGS["a class without images"])
    assert loss.proxies.grad is not None
    cosines = nn.functional.normalize(loss.proxies.detach()) @ nn.functional.normalize(x.detach()).T
    moved = nn.functional.normalize((loss.proxies - loss.proxies.grad).detach()) @ nn.functional.normalize(x.detach()).T
    assert moved[2].mean() < cosines[2].mean()


@pytest.mark.parametrize("name", PAIRS)
def test_an_image_without_tags_is_similar_to_none(name: str):
    """Not even to another without: as if each had a tag of its own."""
    own = torch.eye(6).bool()[:, :C]
    own[5] = False
    torch.testing.assert_close(value_of(build(name, 8), batch(8), NONE), value_of(build(name, 8), batch(8), own))


@pytest.mark.parametrize("name", CENTRES)
def test_an_image_without_tags_has_no_centre(name: str):
    known = MIXED.any(1)
    left = batch(8).detach()[known].requires_grad_()
    torch.testing.assert_close(value_of(build(name, 8), batch(8), MIXED), value_of(build(name, 8), left, MIXED[known]))
    assert value_of(build(name, 8), batch(8), NONE) == 0


def test_an_image_without_tags_is_only_pushed_in_hyp2():
    loss = HyP2Loss(C, 8)
    value_of(loss, batch(8).detach().float().requires_grad_(), NONE)
    assert loss.components["positive"] == loss.components["pair"] == 0
    assert loss.components["negative"] > 0


@pytest.mark.parametrize("name", PAIRS)
def test_images_with_every_tag_are_similar_to_each_other(name: str):
    one = torch.arange(C).expand(6, C) == 0
    torch.testing.assert_close(value_of(build(name, 8), batch(8), ALL), value_of(build(name, 8), batch(8), one))


@pytest.mark.parametrize("name", ["csq", "dpn"])
def test_an_image_with_every_tag_has_the_majority_of_all_centres(name: str):
    module = build(name, 8)
    votes = module.centres.sum(0)
    target = torch.where(votes == 0, module.ties, votes.sign())
    right, wrong = (value_of(module, (3 * side * target)[None].requires_grad_(), ALL[:1]) for side in (1, -1))
    assert right < 0.01
    assert wrong > 1


def test_an_image_with_every_tag_is_only_drawn_in_hyp2():
    loss = HyP2Loss(C, 8)
    value_of(loss, batch(8).detach().float().requires_grad_(), ALL)
    assert loss.components["negative"] == loss.components["pair"] == 0
    assert loss.components["positive"] > 0


def test_no_more_codes_than_there_are():
    assert hash_centres(40, 3).distance == 0
    assert len(np.unique(hash_centres(40, 3).codes, axis=0)) == 8


# --- codes and search

X = {bits: np.random.default_rng(bits).standard_normal((60, bits)).astype(np.float32) for bits in BITS}


def store_of(folder: Path, bits: int, tags: np.ndarray | None = None) -> EmbeddingStore:
    labels = None if tags is None else StoreLabels("tags", tags, ["tag"], [list("abcde")])
    return EmbeddingStore.write(folder, X[bits], [f"i{row}" for row in range(60)], labels=labels)


@pytest.mark.parametrize("bits", BITS)
def test_codes_of_any_length_are_packed(tmp_path: Path, bits: int):
    store = store_of(tmp_path / "store", bits)
    codes = write_codes(store)
    assert codes.shape == (60, -(-bits // 8))
    np.testing.assert_array_equal(unpack_signs(codes, bits), np.where(X[bits] > 0, 1, -1))
    found = code_statistics(store.vectors)
    assert found.distinct == len(np.unique(X[bits] > 0, axis=0))
    assert found.distinct == (2 if bits == 1 else 60)
    assert found.entropy <= min(bits, np.log2(60)) + 1e-9


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    ("kind", "options"), [("binary", {}), ("binary_ivf", {"nlist": 3, "nprobe": 3}), ("binary_hnsw", {"ef_search": 60})]
)
def test_search_among_codes_of_any_length(tmp_path: Path, kind: str, options: dict[str, int], bits: int):
    store, queries = store_of(tmp_path / "store", bits), -X[bits][:4] + 0.5
    Index.build(store, kind, **options).save(tmp_path / "index")
    index = Index.open(tmp_path / "index")
    far = ((queries > 0)[:, None] != (X[bits] > 0)[None]).sum(2)
    for k in (1, 10, 60, 1000):
        hits = index.search(queries, k=k)
        want = np.sort(far, axis=1)[:, :k]
        np.testing.assert_allclose(hits.scores, 1 - 2 * want / bits, atol=1e-6)
        assert all(len(set(row)) == min(k, 60) for row in hits.positions.tolist())
    if kind == "binary":
        np.testing.assert_array_equal(hits.positions, np.argsort(far, axis=1, kind="stable"))


# --- evaluation

GALLERY_TAGS = np.array([[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 0, 1, 0], [0, 0, 0, 1, 0]], bool)
# An ordinary one, none, every tag, and a tag that no item has.
QUERY_TAGS = np.array([[1, 0, 0, 1, 0], [0] * 5, [1] * 5, [0, 0, 0, 0, 1]], bool)


def literal(relevant: np.ndarray, cut: int) -> float:
    """AP of the first `cut`, divided by the relevant items among these; 0 without any."""
    hits = relevant[:cut].astype(float)
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits).sum() / max(hits.sum(), 1))


@pytest.mark.parametrize("cut", [1, 3, 5, 1000])
@pytest.mark.parametrize("bits", BITS)
def test_average_precision_by_hand(bits: int, cut: int):
    queries, gallery = X[bits][:4], X[bits][10:15]
    far = ((queries > 0)[:, None] != (gallery > 0)[None]).sum(2)
    relevant = (QUERY_TAGS[:, None] & GALLERY_TAGS[None]).any(2)
    assert relevant.sum(1).tolist() == [4, 0, 4, 0]
    metric, rel = f"ap@{cut}/hits", Relevance.tags(QUERY_TAGS, GALLERY_TAGS)
    given: dict[str, Any] = {"relevance": rel, "metrics": [metric, "ap", f"topn@{cut}"], "similarity": "hamming"}
    stable, expected = (evaluate(queries, gallery, **given, ties=ties) for ties in ("index", "expected"))
    orders = [np.array(order) for order in itertools.permutations(range(5))]
    for row in range(4):
        first = np.argsort(far[row], kind="stable")
        assert stable.per_query[metric][row] == pytest.approx(literal(relevant[row][first], cut))
        values = [literal(relevant[row][order[np.argsort(far[row][order], kind="stable")]], cut) for order in orders]
        assert expected.per_query[metric][row] == pytest.approx(np.mean(values))
        top = relevant[row][first][:cut].sum() / cut
        assert stable.per_query[f"topn@{cut}"][row] == pytest.approx(top), "divided by N, however few there are"
    # Queries with nothing relevant count 0 in the papers' metric, and are left out of others.
    assert (stable.skipped[metric], stable.skipped["ap"]) == (0, 2)
    assert np.isnan(stable.per_query["ap"][[1, 3]]).all()


@pytest.mark.parametrize("bits", BITS)
def test_no_label_at_all(bits: int):
    report = evaluate(
        X[bits], relevance=Relevance.tags(np.zeros((60, C), bool)), metrics=["ap@9/hits", "ap"], similarity="hamming"
    )
    assert report.mean["ap@9/hits"] == 0
    assert np.isnan(report.mean["ap"])
    assert report.skipped == {"ap@9/hits": 0, "ap": 60}


def test_every_tag_everywhere():
    report = evaluate(
        X[13], relevance=Relevance.tags(np.ones((60, C), bool)), metrics=["ap@1000/hits", "ap"], similarity="hamming"
    )
    assert report.mean == {"ap@1000/hits": 1.0, "ap": 1.0}


# --- on the command line, and in figures


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("labels", ["none", "mixed"])
def test_measured_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, labels: str):
    monkeypatch.chdir(tmp_path)
    store_of(Path("store"), bits, np.tile(LABELLINGS[labels].numpy(), (10, 1)))

    def call(*words: str) -> str:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == 0, result.output
        return result.stdout

    metrics = ["ap@1000/hits", "ap"]
    said = call("evaluate", "store", "--similarity", "hamming", "--metrics", ",".join(metrics), "--json", "report.json")
    report = json.loads(Path("report.json").read_text())
    assert (report["mean"]["ap@1000/hits"] == 0) == (labels == "none")
    assert f"ap: {60 if labels == 'none' else 10} of 60 queries have no relevant item and are left out" in said
    assert f"60 codes of {bits} bits" in call("codes", "store", "--radius", "1")

    asked = Asked(similarity="hamming", metrics=metrics, tsne_items=20)
    made = make_figures(name_contenders([open_contender(Path("store"))]), asked)
    figures = {figure.key: figure for figure in made.figures}
    drawn = {row["panel"]: row["y"] for row in csv.DictReader(io.StringIO(numbers(figures["metrics"])))}
    assert float(drawn["ap@1000/hits"]) == pytest.approx(report["mean"]["ap@1000/hits"])
    assert (drawn["ap"] == "") == (labels == "none"), "what has no value is empty"
    left_out = {item.figure: item.reason for item in made.left_out}
    assert ("tsne" in figures, "graded" in figures) == (bits > 1, labels == "mixed")
    if bits == 1:
        assert left_out["tsne"] == "t-SNE needs at least 5 items that differ, in two dimensions or more"
    if labels == "none":
        assert "have no graded metrics" in left_out["graded"]
    for key in ("top_n", "precision_recall", "radius", "codes"):
        assert key in figures
