"""The three ways to the ranks, against literal rankings and against each other."""

from __future__ import annotations

import numpy as np
import pytest

from oracles.ranking import ranked_items
from pertinent.engine import ranker
from pertinent.engine.ranker import Ranker
from pertinent.errors import InputError, UnknownNameError
from pertinent.functional import similarity
from pertinent.functional.similarity import Scorer
from pertinent.relevance import Relevance


def exact_matrix(queries, items, name):
    """Scores as they are defined: prepared vectors multiplied in float64."""
    scorer = Scorer(queries, items, name)
    rows, ids = np.divmod(np.arange(scorer.n_queries * scorer.n_items), scorer.n_items)
    return scorer.pair_scores(scorer.queries(0, scorer.n_queries), rows, ids).reshape(scorer.n_queries, -1)


def check(blocks, scores, relevances):
    """Every block against sorting in Python."""
    done = 0
    for rows, ranked in blocks:
        assert rows.start == done
        done = rows.stop
        for relevance, block in zip(relevances, ranked, strict=True):
            levels = relevance.block(rows, slice(None))
            for row in range(len(block)):
                line = scores[rows.start + row].tolist()
                order = ranked_items(line, np.flatnonzero(levels[row] < 0).tolist())
                part = slice(block.offsets[row], block.offsets[row + 1])
                want = [(item, rank) for rank, item in enumerate(order, start=1) if levels[row, item] > 0]
                assert list(zip(block.found.ids[part].tolist(), block.ranks[part].tolist(), strict=True)) == want
                assert block.levels[part].tolist() == [levels[row, item] for item, _ in want]
                assert block.counts[row].tolist() == [
                    int((levels[row] == level).sum()) for level in range(relevance.levels + 1)
                ]
                tied = [sum(line[other] == line[item] for other in order) for item, _ in want]
                above = [sum(line[other] > line[item] for other in order) for item, _ in want]
                if block.tied is None or block.above is None:
                    assert tied == [1] * len(want)
                else:
                    assert block.tied[part].tolist() == tied
                    assert block.above[part].tolist() == above
    assert done == len(scores)


def data(kind, rng, n):
    x = rng.standard_normal((n, 19)).astype(np.float32)
    if kind == "duplicates":
        x[n // 2 :] = x[: n - n // 2]
    if kind == "collapsed":
        x = (x[:1] + 3e-8 * x).astype(np.float32)
    if kind == "whole numbers":
        x = rng.integers(-1, 2, (n, 4))
    return x


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("kind", ["random", "duplicates", "collapsed", "whole numbers"])
@pytest.mark.parametrize("block", [None, 1, 13])
def test_own_gallery_by_counting(name, kind, block):
    rng = np.random.default_rng(0)
    x, rel = data(kind, rng, 70), Relevance.tree(rng.integers(0, 6, (70, 2)))
    ranked = Ranker(x, None, [rel], name).blocks(block=block)
    check(ranked, exact_matrix(x, None, name), [rel])


@pytest.mark.parametrize(
    ("name", "kind"),
    [(name, kind) for name in ("cosine", "dot", "euclidean") for kind in ("random", "duplicates")]
    + [("dot", "whole numbers"), ("euclidean", "whole numbers")],
)
def test_own_gallery_by_sorting(name, kind, monkeypatch):
    monkeypatch.setattr(ranker, "COUNTED", -1)
    monkeypatch.setattr(ranker, "BLOCK_BYTES", 20_000)
    rng = np.random.default_rng(1)
    x, rel = data(kind, rng, 70), Relevance.tree(rng.integers(0, 6, (70, 2)))
    check(Ranker(x, None, [rel], name).blocks(), exact_matrix(x, None, name), [rel])


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("counted", [-1, 96])
def test_gallery_on_disk_in_tiles(name, dtype, counted, tmp_path, monkeypatch):
    monkeypatch.setattr(ranker, "COUNTED", counted)
    monkeypatch.setattr(similarity, "CACHE_BYTES", 0)
    monkeypatch.setattr(ranker, "tile_rows", lambda *_: 37)
    monkeypatch.setattr(ranker, "TARGETS_AT_A_TIME", 60)
    rng = np.random.default_rng(2)
    mapped = np.memmap(tmp_path / "gallery", dtype, "w+", shape=(200, 9))
    mapped[:] = rng.standard_normal((200, 9))
    mapped.flush()
    only_read = np.memmap(tmp_path / "gallery", dtype, "r", shape=(200, 9))
    queries = rng.standard_normal((23, 9)).astype(np.float32)
    places = np.where(np.arange(23) % 2, rng.permutation(200)[:23], -1)
    rel = Relevance.classes(rng.integers(0, 9, 23), rng.integers(0, 9, 200), query_positions=places)
    check(Ranker(queries, only_read, [rel], name).blocks(), exact_matrix(queries, only_read, name), [rel])


@pytest.mark.parametrize("counted", [-1, 96])
def test_several_relevances_at_once(counted, monkeypatch):
    monkeypatch.setattr(ranker, "COUNTED", counted)
    rng = np.random.default_rng(3)
    gnd = []
    for _ in range(11):
        ids = rng.permutation(60)
        gnd.append({"easy": ids[:4], "hard": ids[4:9], "junk": ids[9:15]})
    gnd[3] = {"easy": [], "hard": [], "junk": [5]}
    relevances = [Relevance.judged(gnd, word, n_items=60) for word in ("easy", "medium", "hard")]
    queries, gallery = (rng.integers(-2, 3, (n, 5)).astype(np.float32) for n in (11, 60))
    check(Ranker(queries, gallery, relevances, "dot").blocks(), exact_matrix(queries, gallery, "dot"), relevances)


@pytest.mark.parametrize("block", [None, 1, 4])
def test_codes(block):
    rng = np.random.default_rng(4)
    queries, gallery = rng.standard_normal((9, 7)), rng.standard_normal((50, 7))
    gallery[rng.random(gallery.shape) < 0.1] = 0
    rel = Relevance.tags(rng.random((9, 5)) < 0.3, rng.random((50, 5)) < 0.3, graded=True)
    check(Ranker(queries, gallery, [rel], "hamming").blocks(block=block), np.sign(queries) @ np.sign(gallery).T, [rel])


def test_depth_leaves_out_only_what_lies_beyond():
    rng = np.random.default_rng(5)
    x, rel = rng.standard_normal((60, 6)), Relevance.classes(rng.integers(0, 3, 60))
    (_, [whole]), (_, [cut]) = (next(Ranker(x, None, [rel], "hamming").blocks(depth=depth)) for depth in (None, 10))
    assert whole.depth is None
    assert whole.above is not None
    assert cut.depth.tolist() == [10] * 60
    np.testing.assert_array_equal(cut.relevant, whole.relevant)
    keep = whole.above < 10
    np.testing.assert_array_equal(cut.ranks, whole.ranks[keep])
    assert 0 < keep.sum() < len(keep)


def test_progress_ends_at_the_end(monkeypatch):
    rng = np.random.default_rng(6)
    x, rel = rng.standard_normal((50, 4)), Relevance.classes(rng.integers(0, 9, 50))
    for counted in (-1, 96):
        monkeypatch.setattr(ranker, "COUNTED", counted)
        monkeypatch.setattr(ranker, "BLOCK_BYTES", 5000)
        steps = []
        list(
            Ranker(x, None, [rel]).blocks(
                block=8, progress=lambda done, total, steps=steps: steps.append((done, total))
            )
        )
        assert steps[-1] == (50, 50)
        assert len(steps) > 3
        assert steps == sorted(steps)


def test_errors():
    x, rel = np.ones((4, 3)), Relevance.classes(range(4))
    with pytest.raises(UnknownNameError, match="did you mean 'hamming'"):
        Ranker(x, None, [rel], "haming")
    with pytest.raises(InputError, match="3 bits and the gallery 2"):
        Ranker(x, x[:, :2], [rel], "hamming")
    with pytest.raises(InputError, match="at least 1 query"):
        Ranker(x, None, [rel]).blocks(block=0)
