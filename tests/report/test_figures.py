from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from pertinent.data.table import Judgement
from pertinent.engine import figures
from pertinent.engine.curves import metric_curve, precision_recall, precision_recall_by_radius
from pertinent.engine.evaluate import evaluate
from pertinent.engine.figures import REST, UNTAGGED, Line, Panel, clouds, even_cuts, mean_of_seeds
from pertinent.engine.run import Run
from pertinent.errors import DataError, InputError, StorageError, UnknownNameError
from pertinent.functional.code_statistics import code_statistics
from pertinent.relevance import Relevance
from pertinent.report._contenders import name_contenders, open_contender, open_pair
from pertinent.report._figure_drawing import COLOURS, DASHES, LIGHT, draw
from pertinent.report._figure_files import numbers, write_figures
from pertinent.report._figure_set import FIGURES, Asked, Figure, FigureSet, make_figures
from pertinent.store import EmbeddingStore, StoreLabels

NAMES = ["sea", "sky", "dog", "cat"]
TAGS = np.random.default_rng(0).random((40, 4)) < 0.4
FEW = Asked(tsne_items=12)


def outputs(seed: int, count: int = 40, bits: int = 8) -> np.ndarray:
    made: np.ndarray = np.random.default_rng(seed).standard_normal((count, bits)).astype(np.float32)
    return made


def store(
    folder: Path, seed: int = 1, labels: StoreLabels | None = None, rows: slice = slice(0, 40), prefix: str = "im"
) -> EmbeddingStore:
    found = labels or StoreLabels("tags", TAGS[rows], ["tag"], [NAMES])
    vectors = outputs(seed)[rows]
    return EmbeddingStore.write(folder, vectors, [f"{prefix}{n}" for n in range(40)][rows], labels=found)


def made_of(*folders: Path, asked: Asked = FEW) -> FigureSet:
    return make_figures(name_contenders([open_contender(folder) for folder in folders]), asked)


def rows_of(figure: Figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(numbers(figure))))


def column(rows: Sequence[dict[str, str]], panel: str, line: str, key: str = "y") -> list[float]:
    return [float(row[key]) for row in rows if (row["panel"], row["line"]) == (panel, line)]


def by_key(made: FigureSet) -> dict[str, Figure]:
    return {figure.key: figure for figure in made.figures}


def test_the_numbers_of_two_stores_are_those_of_the_metrics(tmp_path: Path) -> None:
    stores = {name: store(tmp_path / name, seed) for seed, name in enumerate(("one", "two"))}
    made = made_of(*(held.folder for held in stores.values()))
    found = {key: rows_of(figure) for key, figure in by_key(made).items()}
    assert (made.similarity, made.ties, made.names) == ("hamming", "expected", ["one", "two"])
    assert [*found] == [key for key in FIGURES if key != "convergence"]
    plain, levels = Relevance.tags(TAGS), Relevance.tags(TAGS, graded=True)
    cuts = even_cuts(39)
    assert cuts == [3, 6, 9, 12, 15, 18, 21, 24, 27, 30]
    for name, held in stores.items():
        how = {"similarity": "hamming"}
        want = metric_curve("topn@K", cuts, held.vectors, relevance=plain, **how)  # type: ignore[arg-type]
        assert column(found["top_n"], "Top-N precision", name) == pytest.approx(list(want.values()), abs=1e-9)
        assert column(found["top_n"], "Top-N precision", name, "x") == cuts
        for word in ("ndcg", "acg", "wap"):
            want = metric_curve(f"{word}@K", cuts, held.vectors, relevance=levels, **how)  # type: ignore[arg-type]
            values = column(found["graded"], f"{word.upper()}@N", name)
            assert values == pytest.approx(list(want.values()), abs=1e-9)
        curve = precision_recall(held.vectors, relevance=plain, similarity="hamming")
        rows = found["precision_recall"]
        assert column(rows, "Precision and recall", name, "x") == pytest.approx(curve.recall.tolist(), abs=1e-9)
        assert column(rows, "Precision and recall", name) == pytest.approx(curve.precision.tolist(), abs=1e-9)
        assert column(rows, "Precision by rank", name) == pytest.approx(curve.precision.tolist(), abs=1e-9)
        assert column(rows, "Recall by rank", name, "x") == curve.at.tolist()
        ball = precision_recall_by_radius(held.vectors, relevance=plain)
        values = column(found["radius"], "Recall by Hamming radius", name)
        assert values == pytest.approx(ball.recall.tolist(), abs=1e-9)
        report = evaluate(held.vectors, relevance=plain, metrics=["ap@30/hits", "ap"], similarity="hamming")
        for metric in ("ap@30/hits", "ap"):
            assert column(found["metrics"], metric, name) == pytest.approx([report.mean[metric]], abs=1e-9)
            (low,), (high,) = (column(found["metrics"], metric, name, side) for side in ("low", "high"))
            assert low < report.mean[metric] < high
        graded = evaluate(held.vectors, relevance=levels, metrics=["wap@30"], similarity="hamming")
        assert column(found["metrics"], "wap@30", name) == pytest.approx([graded.mean["wap@30"]], abs=1e-9)
        known = code_statistics(held.vectors)
        assert column(found["codes"], "Bit balance", name) == pytest.approx(sorted(known.balance), abs=1e-9)
        assert column(found["codes"], "largest correlation of two bits", name) == pytest.approx([known.correlation])
        assert column(found["codes"], "distinct codes of all", name) == pytest.approx([known.distinct / 40])
        assert column(found["codes"], "items whose code another has", name) == pytest.approx([known.colliding / 40])
        assert len([row for row in found["tsne"] if row["panel"] == name]) == 12, "no more items than asked for"


def test_a_gallery_whose_tags_stand_in_another_order(tmp_path: Path) -> None:
    mine = store(tmp_path / "queries", rows=slice(0, 10))
    order = [2, 0, 3, 1]
    labels = StoreLabels("tags", TAGS[10:][:, order], ["tag"], [[NAMES[tag] for tag in order]])
    theirs = store(tmp_path / "gallery", labels=labels, rows=slice(10, 40))
    pair = open_pair(mine.folder, theirs.folder)
    made = make_figures({"pair": [pair]}, FEW)
    rows = rows_of(by_key(made)["metrics"])
    levels = Relevance.tags(TAGS[:10], TAGS[10:], graded=True)
    want = evaluate(mine.vectors, theirs.vectors, relevance=levels, metrics=["ndcg@30", "ap"], similarity="hamming")
    for metric, value in want.mean.items():
        assert column(rows, metric, "pair") == pytest.approx([value], abs=1e-9)
    assert column(rows_of(by_key(made)["codes"]), "distinct codes of all", "pair") == pytest.approx(
        [code_statistics(theirs.vectors).distinct / 30]
    ), "codes are those of the gallery"


def test_a_store_of_queries_and_items_is_the_pair_of_them(tmp_path: Path) -> None:
    theirs, mine = store(tmp_path / "gallery", rows=slice(0, 30)), store(tmp_path / "queries", rows=slice(30, 40))
    both = store(tmp_path / "both", labels=StoreLabels("tags", TAGS, ["tag"], [NAMES], probes=10))
    pair = by_key(make_figures({"x": [open_pair(mine.folder, theirs.folder)]}, FEW))
    one = by_key(make_figures({"x": [open_contender(both.folder)]}, FEW))
    assert [*one] == [*pair] == [key for key in FIGURES if key != "convergence"]
    for key, figure in pair.items():
        assert numbers(one[key]) == numbers(figure), key


def test_a_tree_is_judged_by_its_finest_level_and_coloured_by_its_coarsest(tmp_path: Path) -> None:
    values = np.array([(n % 8, n % 8 // 4) for n in range(40)], np.int64)
    names = [[f"fine {n}" for n in range(8)], ["warm", "cold"]]
    held = store(tmp_path / "tree", labels=StoreLabels("tree", values, ["fine", "coarse"], names))
    made = made_of(held.folder, asked=Asked(metrics=["ap", "hap"], tsne_items=40))
    found = by_key(made)
    assert made.similarity == "cosine"
    assert {item.figure: item.reason for item in made.left_out} == {
        "radius": "a radius is a Hamming distance, the ranking is by cosine",
        "convergence": "a store has no log of training; give the run",
        "codes": "the ranking is by cosine, not of codes; ask for --similarity hamming",
    }
    want = evaluate(held.vectors, relevance=Relevance.tree(values), metrics=["ap", "hap", "topn@3"])
    assert [panel.title for panel in found["metrics"].panels] == ["ap.0", "ap.1", "hap"]
    rows = rows_of(found["metrics"])
    for metric in ("ap.0", "ap.1", "hap"):
        assert column(rows, metric, "tree") == pytest.approx([want.mean[metric]], abs=1e-9)
    top = column(rows_of(found["top_n"]), "Top-N precision", "tree")
    assert top[0] == pytest.approx(want.mean["topn@3.0"])
    assert {line.name for line in found["tsne"].panels[0].lines} == {"warm", "cold"}


def test_labels_that_say_less_leave_figures_out(tmp_path: Path) -> None:
    classes = StoreLabels("classes", np.arange(40) % 5, ["kind"], [[f"kind {n}" for n in range(5)]])
    bare = store(tmp_path / "bare", labels=StoreLabels())
    plain = store(tmp_path / "classes", labels=classes)
    made = made_of(bare.folder, plain.folder, asked=Asked(similarity="hamming", tsne_items=12))
    reasons = {(item.figure, item.name): item.reason for item in made.left_out}
    for key in ("metrics", "top_n", "precision_recall", "radius", "graded"):
        assert "have no labels" in reasons[key, "bare"]
    assert "labels of kind none have no names" in reasons["tsne", "bare"]
    assert "have no graded metrics" in reasons["graded", "classes"]
    found = by_key(made)
    assert {line.name for line in found["codes"].panels[0].lines} == {"bare", "classes"}
    assert {line.name for line in found["top_n"].panels[0].lines} == {"classes"}


def test_judged_landmarks(tmp_path: Path) -> None:
    judged = [Judgement(query=0, easy=(1, 2), hard=(3,)), Judgement(query=4, easy=(5,), junk=(6,))]
    held = store(tmp_path / "judged", labels=StoreLabels("judged", judgements=judged))
    made = made_of(held.folder, asked=Asked(metrics=["ap"]))
    want = evaluate(
        held.vectors[[0, 4]],
        held.vectors,
        relevance=Relevance.judged(judged, "medium", n_items=40, query_positions=np.array([0, 4])),
        metrics=["ap"],
    )
    assert column(rows_of(by_key(made)["metrics"]), "ap", "judged") == pytest.approx([want.mean["ap"]])
    assert any(item.figure == "tsne" and "judged" in item.reason for item in made.left_out)


def test_nothing_to_draw_says_why(tmp_path: Path) -> None:
    bare = store(tmp_path / "bare", labels=StoreLabels())
    with pytest.raises(InputError, match=r"(?s)no figure can be drawn:.*bare: the 40 items have no labels"):
        made_of(bare.folder)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (Asked(similarity="haming"), UnknownNameError, "did you mean 'hamming'"),
        (Asked(ties="expect"), UnknownNameError, "did you mean 'expected'"),
        (Asked(metrics=["app"]), UnknownNameError, "unknown metric 'app'"),
        (Asked(metrics=[]), InputError, "names no metric"),
        (Asked(tsne_items=4), InputError, "at least 5, got 4"),
    ],
)
def test_words_that_are_wrong(tmp_path: Path, asked: Asked, error: type[Exception], said: str) -> None:
    held = store(tmp_path / "one")
    with pytest.raises(error, match=said):
        made_of(held.folder, asked=asked)


def test_contenders_that_are_wrong(tmp_path: Path) -> None:
    held = store(tmp_path / "one")
    one = open_contender(held.folder)
    with pytest.raises(InputError, match="nothing to draw"):
        name_contenders([])
    with pytest.raises(InputError, match="one is given twice"):
        name_contenders([one, one])
    with pytest.raises(InputError, match="must be 1 distinct names"):
        name_contenders([one], ["a", "b"])
    with pytest.raises(InputError, match="is a store; give the runs"):
        name_contenders([one], group=True)
    with pytest.raises(StorageError, match="neither a run"):
        open_contender(tmp_path)
    with pytest.raises(StorageError, match="no finished embedding store"):
        open_pair(held.folder, tmp_path / "none")


def test_short_names_tell_folders_apart(tmp_path: Path) -> None:
    made = [open_contender(store(tmp_path / place / "codes").folder) for place in ("a", "b")]
    assert list(name_contenders(made)) == ["a/codes", "b/codes"]


def test_other_pictures_are_told(tmp_path: Path) -> None:
    made = made_of(store(tmp_path / "one").folder, store(tmp_path / "two", prefix="other").folder)
    assert made.notes == ["two was measured on other pictures than one; such lines do not compare"]


def copy_of(run: Run, folder: Path, seed: int, points: Sequence[tuple[float, float]]) -> Path:
    """A run with another seed, validation values and embeddings."""
    values = run.recipe_path.read_text()
    folder.mkdir()
    (folder / "recipe.yaml").write_text(re.sub(r"(?m)^  seed: .*$", f"  seed: {seed}", values))
    events = [
        {"event": "epoch", "epoch": number + 1, "seconds": seconds, "metrics": {"hap": value, "r@1.0": 0.5}}
        for number, (seconds, value) in enumerate(points)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    store(folder / "stores" / "best", seed)
    return folder


def test_seeds_are_a_mean_line_with_a_band(tmp_path: Path, finished_run: Run) -> None:
    folders = [
        copy_of(finished_run, tmp_path / "a", 0, [(10, 0.5), (20, 0.7), (30, 0.8)]),
        copy_of(finished_run, tmp_path / "b", 1, [(12, 0.3), (22, 0.8)]),
    ]
    lines = name_contenders([open_contender(folder) for folder in folders], group=True)
    assert [(name, len(members)) for name, members in lines.items()] == [("a (2 seeds)", 2)]
    made = make_figures(lines, FEW)
    found = by_key(made)
    (line,) = found["convergence"].panels[0].lines
    assert found["convergence"].panels[0].y_label == "hap on validation"
    assert line.at.tolist() == [1, 2], "epochs that both have"
    np.testing.assert_allclose([line.x, line.y], [[11, 21], [0.4, 0.75]])
    np.testing.assert_allclose([line.low, line.high], [[0.3, 0.7], [0.5, 0.8]])
    assert line.runs == 2
    each = [
        evaluate(outputs(seed), relevance=Relevance.tags(TAGS), metrics=["ap"], similarity="hamming").mean["ap"]
        for seed in (0, 1)
    ]
    rows = rows_of(found["metrics"])
    assert column(rows, "ap", "a (2 seeds)") == pytest.approx([np.mean(each)])
    assert column(rows, "ap", "a (2 seeds)", "low") == pytest.approx([min(each)])
    assert column(rows, "ap", "a (2 seeds)", "high") == pytest.approx([max(each)])
    assert len(found["tsne"].panels) == 1
    assert b"fill-opacity: 0.18" in draw(found["convergence"], made.names, LIGHT, "svg")


def test_recipes_that_differ_are_not_grouped(tmp_path: Path, finished_run: Run) -> None:
    folders = [copy_of(finished_run, tmp_path / name, 0, []) for name in ("a", "b")]
    changed = re.sub(r"(?m)^  epochs: .*$", "  epochs: 77", (folders[1] / "recipe.yaml").read_text())
    (folders[1] / "recipe.yaml").write_text(changed)
    made = [open_contender(folder) for folder in folders]
    assert list(name_contenders(made, group=True)) == ["a", "b"]


def test_a_run_without_stores_keeps_its_convergence(tmp_path: Path, finished_run: Run) -> None:
    folder = copy_of(finished_run, tmp_path / "a", 0, [(1, 0.1), (2, 0.2)])
    other = copy_of(finished_run, tmp_path / "b", 1, [(3, 0.1)])
    (folder / "stores").rename(tmp_path / "away")
    made = made_of(folder, other)
    assert [line.name for line in by_key(made)["convergence"].panels[0].lines] == ["a", "b"]
    reasons = {item.reason for item in made.left_out if item.name == "a"}
    assert reasons == {f"{folder} has no store 'best': let its training end first"}
    store(folder / "stores" / "val")
    with pytest.raises(StorageError, match="no store 'last': there are val; choose one by --store"):
        _ = open_contender(folder, "last").store


def test_a_log_without_validation(tmp_path: Path, finished_run: Run) -> None:
    made = made_of(copy_of(finished_run, tmp_path / "a", 0, []))
    assert [item.reason for item in made.left_out if item.figure == "convergence"] == [
        "no validation split was measured in training; set data.val and train.evaluate_every"
    ]


def test_a_resumed_run_repeats_epochs() -> None:
    events = [
        {"event": "epoch", "epoch": epoch, "seconds": seconds, "metrics": {"ap": value}}
        for epoch, seconds, value in [(1, 5.0, 0.1), (2, 9.0, 0.2), (2, 10.0, 0.3)]
    ]
    (panel,) = figures.followed("a", [*events, {"event": "epoch", "epoch": 3, "seconds": 12.0}], "ap")
    np.testing.assert_allclose([panel.lines[0].x, panel.lines[0].y], [[5, 10], [0.1, 0.3]])


def test_clouds_are_the_same_every_time_and_grey_what_is_rare() -> None:
    groups = [f"group {n % 12}" if n < 108 else "group 0" for n in range(110)] + [UNTAGGED] * 10
    vectors = outputs(0, 120)
    (first,) = clouds("a", vectors, groups, "hamming", most=60)
    (again,) = clouds("a", vectors, groups, "hamming", most=60)
    for one, other in zip(first.lines, again.lines, strict=True):
        np.testing.assert_array_equal(np.stack([one.x, one.y]), np.stack([other.x, other.y]))
    assert sum(len(line.at) for line in first.lines) == 60
    assert [line.name for line in first.lines][:2] == [REST, "group 0"]
    assert len(first.lines) == 8
    for line in first.lines[1:]:
        assert {groups[row] for row in line.at.tolist()} == {line.name}
    assert {UNTAGGED} <= {groups[row] for row in first.lines[0].at.tolist()}


@pytest.mark.parametrize("vectors", [np.ones((30, 4)), np.random.default_rng(0).standard_normal((30, 1)), np.eye(4)])
def test_too_little_for_a_cloud(vectors: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least 5 items that differ"):
        clouds("a", vectors, ["x"] * len(vectors), "hamming")


def test_cuts_of_small_and_large_galleries() -> None:
    assert even_cuts(5000) == list(range(100, 1001, 100))
    assert even_cuts(3) == [1, 2, 3]
    assert even_cuts(0) == [1]


def test_a_store_of_one_item_has_little_to_show(tmp_path: Path) -> None:
    made = made_of(store(tmp_path / "one", rows=slice(0, 1)).folder)
    assert "codes" in by_key(made)
    assert {item.figure for item in made.left_out} >= {"convergence", "tsne"}


def test_a_long_curve_is_thinned_to_its_ends() -> None:
    relevance = Relevance.classes(np.arange(700) % 2)
    ranked = figures.Ranked(outputs(0, 700), None, relevance, relevance, "cosine")
    panels = figures.by_rank("a", ranked)
    line = panels[1].lines[0]
    assert panels[1].log
    assert len(line.at) <= 512
    assert (line.at[0], line.at[-1]) == (1, 699)
    want = precision_recall(outputs(0, 700), relevance=relevance)
    np.testing.assert_allclose(line.y, want.precision[line.at - 1])


def test_one_seed_is_left_as_it_is() -> None:
    panel = Panel("t", "x", "y", [Line("a", np.array([1]), np.array([1.0]), np.array([2.0]))])
    assert mean_of_seeds([[panel]]) == [panel]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FigureSet]:
    """Figures of two stores with awkward names; not to be changed."""
    folder = tmp_path_factory.mktemp("figures")
    stores = [store(folder / name, seed) for seed, name in enumerate(("_a $x$", "<b>&"))]
    made = made_of(*(held.folder for held in stores))
    write_figures(made, folder / "out", "Title <1>")
    return folder / "out", made


def test_files_are_whole(written: tuple[Path, FigureSet]) -> None:
    folder, made = written
    keys = [figure.key for figure in made.figures]
    want = {f"{key}.{ending}" for key in keys for ending in ("svg", "png", "csv")}
    assert {path.name for path in folder.iterdir()} == {*want, "index.html"}
    for key in keys:
        assert ElementTree.parse(folder / f"{key}.svg").getroot().tag.endswith("}svg")
        with Image.open(folder / f"{key}.png") as picture:
            picture.load()
            assert min(picture.size) > 100
        assert (folder / f"{key}.csv").read_text() == numbers(by_key(made)[key])


def test_the_page_asks_the_network_for_nothing_and_is_light_and_dark(written: tuple[Path, FigureSet]) -> None:
    folder, made = written
    page = (folder / "index.html").read_text()
    assert "Title &lt;1&gt;" in page
    assert "&lt;b&gt;&amp;" in page
    assert "<b>&" not in page
    sources = re.findall(r'(?:src|srcset)="([^"]{0,26})', page)
    assert len(sources) == 2 * len(made.figures)
    assert set(sources) == {"data:image/svg+xml;base64,"}
    assert page.count("(prefers-color-scheme: dark)") == len(made.figures) + 1
    assert "convergence, &lt;b&gt;&amp;" in page, "what is left out is told"
    links = set(re.findall(r'href="([^"#]+)"', page))
    assert links == {path.name for path in folder.iterdir()} - {"index.html"}


def test_a_later_writing_replaces_an_earlier_one_but_nothing_else(
    written: tuple[Path, FigureSet], tmp_path: Path
) -> None:
    _, made = written
    one, other = (replace(made, figures=[by_key(made)[key]]) for key in ("top_n", "codes"))
    for figures_now in (one, other):
        write_figures(figures_now, tmp_path / "out")
    names = {"codes.svg", "codes.png", "codes.csv", "index.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    (tmp_path / "out" / "mine.txt").write_text("")
    with pytest.raises(StorageError, match=r"mine\.txt"):
        write_figures(one, tmp_path / "out")


def test_the_same_numbers_make_the_same_picture_and_leave_settings_alone(
    written: tuple[Path, FigureSet],
) -> None:
    import matplotlib

    _, made = written
    figure, before = by_key(made)["top_n"], dict(matplotlib.rcParams)
    matplotlib.rcParams["lines.linewidth"] = 9.0
    try:
        first, again = (draw(figure, made.names, LIGHT, "svg") for _ in range(2))
        assert matplotlib.rcParams["lines.linewidth"] == 9.0
    finally:
        matplotlib.rcParams.update({"lines.linewidth": before["lines.linewidth"]})
    assert first == again == draw(figure, made.names, LIGHT, "svg")


def test_many_lines_all_look_different() -> None:
    def line(n: int) -> Line:
        return Line(f"{n}", np.arange(30), np.arange(30.0), np.arange(30.0) + n)

    figure = Figure("many", "", "", [Panel("p", "x", "y", [line(n) for n in range(35)])])
    svg = draw(figure, [f"{n}" for n in range(35)], LIGHT, "svg").decode()
    dashes = r"(?:stroke-dasharray: ([^;]+); stroke-dashoffset: 0; )?"
    looks = set(re.findall(rf'style="fill: none; {dashes}stroke: (#[0-9a-f]{{6}}); stroke-width: 1\.6', svg))
    assert len(looks) == len(COLOURS) * len(DASHES)


def test_metrics_without_values_are_left_empty(tmp_path: Path) -> None:
    labels = StoreLabels("classes", np.arange(40), ["kind"], [[f"kind {n}" for n in range(40)]])
    held = store(tmp_path / "alone", labels=labels)
    made = made_of(held.folder, asked=Asked(metrics=["ap", "nmi"], tsne_items=12))
    rows = rows_of(by_key(made)["metrics"])
    assert rows[0]["y"] == "", "no query has a relevant item"
    write_figures(replace(made, figures=made.figures[:1]), tmp_path / "out")
    assert "–" in (tmp_path / "out" / "index.html").read_text()


def test_groups_need_names(tmp_path: Path) -> None:
    one = open_contender(store(tmp_path / "bare", labels=StoreLabels()).folder)
    with pytest.raises(DataError, match="no names to colour by"):
        one.groups()
