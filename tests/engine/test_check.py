from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
from PIL import Image

from builders import recipe_of, write_pictures, write_recipe
from pertinent.engine.check import Findings, check_recipe, measured_epochs


def test_a_recipe_that_is_right(recipe_file: Path):
    found = check_recipe(recipe_of(recipe_file, "data.val=val"))
    assert isinstance(found, Findings)
    assert found.problems == []
    assert found.summary == "pictures: train 24, val 12, test 12; embeddings of 8 numbers"
    shared = [note.split(" of class")[0] for note in found.warnings]
    assert shared == [f"{pair} share 6 of 6 classes" for pair in ("train and val", "train and test", "val and test")]


@pytest.mark.parametrize(
    ("words", "measured"),
    [
        ((), 2),
        (("train.epochs=5", "train.evaluate_every=2"), 3),
        (("train.epochs=4", "train.evaluate_every=2"), 2),
        (("train.evaluate_every=0",), 1),
        (("train.evaluate_every=7",), 1),
        (("train.epochs=1",), 1),
    ],
)
def test_a_choice_among_one_epoch_is_doubtful(recipe_file: Path, words: tuple[str, ...], measured: int):
    recipe = recipe_of(recipe_file, "data.val=val", *words)
    assert measured_epochs(recipe) == measured
    doubts = [note for note in check_recipe(recipe).warnings if "chooses no epoch" in note]
    assert len(doubts) == (measured == 1 < recipe.train.epochs)
    assert not any("chooses no epoch" in note for note in check_recipe(recipe_of(recipe_file, *words)).warnings)


def test_every_fault_of_data_model_sampler_and_losses(recipe_file: Path):
    words = [
        "data.val=vall",
        "sampler.per_class=3",
        "losses.cluster.level=5",
    ]
    found = check_recipe(recipe_of(recipe_file, *words))
    assert [problem.split(": ")[0] for problem in found.problems] == ["data.val", "sampler", "losses"]
    assert "did you mean 'val'" in found.problems[0]
    assert "batch_size=8 must be a positive multiple of per_class = 3" in found.problems[1]
    assert "losses.cluster.level=5, but the labels have columns 0 to 1" in found.problems[2]


def test_a_missing_folder_and_missing_weights_are_told_together(recipe_file: Path):
    found = check_recipe(recipe_of(recipe_file, "data.root=/nowhere", "model.pretrained=/nowhere.pth"))
    assert len(found.problems) == 2
    assert "/nowhere" in found.problems[0]
    assert found.problems[1] == "model: weights file /nowhere.pth does not exist; check model.pretrained"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.backbone=test_resnett", "model: unknown timm backbone 'test_resnett'; did you mean 'test_resnet'"),
        ("model.backbone_options={widht: 1}", "model: timm cannot build test_resnet"),
        ("losses.cluster.temperature=0", "losses: temperature must be positive, got 0"),
    ],
)
def test_faults_that_only_building_shows(recipe_file: Path, word: str, said: str):
    found = check_recipe(recipe_of(recipe_file, word))
    assert len(found.problems) == 1
    assert found.problems[0].startswith(said)


def test_weights_are_not_fetched(recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    create, asked = timm.create_model, []

    def noting(*arguments: Any, pretrained: bool, **options: Any) -> Any:
        asked.append(pretrained)
        return create(*arguments, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", noting)
    assert check_recipe(recipe_of(recipe_file, "model.pretrained=true")).problems == []
    assert asked == [False]


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A recipe on pictures of which one is alone in its kind, one is damaged and two are the same."""
    root = write_pictures(tmp_path / "pictures", splits=("train", "test"))
    for number in (1, 2, 3):
        (root / "train" / "warm" / "red" / f"{number}.png").unlink()
    damaged = root / "train" / "cold" / "blue" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:300])
    cyan = root / "test" / "cold" / "cyan"
    (cyan / "1.png").write_bytes((cyan / "0.png").read_bytes())
    return write_recipe(tmp_path / "r.yaml", root)


def test_a_label_that_appears_once_is_a_note(doubtful: Path):
    found = check_recipe(recipe_of(doubtful))
    assert found.problems == []
    assert found.warnings[0].startswith("train: 1 of 6 labels of class appear once (red)")
    assert not any("cannot read" in note for note in found.warnings)


def test_pictures_are_opened_when_asked(doubtful: Path):
    stopping = check_recipe(recipe_of(doubtful), pictures=True)
    assert any("2 pictures are exactly the same: test:" in note for note in stopping.warnings)
    assert len(stopping.problems) == 1
    assert stopping.problems[0].startswith("train: cannot read")
    assert "blue/2.png: truncated" in stopping.problems[0]
    skipping = check_recipe(recipe_of(doubtful, "data.on_error=skip"), pictures=True)
    assert skipping.problems == []
    assert stopping.problems[0] in skipping.warnings


def test_labels_that_losses_do_not_take(tmp_path: Path, pictures: Path):
    root = write_pictures(tmp_path / "p")
    for path in sorted((root / "train").rglob("*.png")):
        path.rename(root / f"{path.parent.name}{path.name}")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in root.glob("*.png"):
        path.rename(flat / path.name)
    file = write_recipe(tmp_path / "r.yaml", flat)
    found = check_recipe(recipe_of(file, "data.train=all", "data.test=all"))
    assert found.problems[1:] == [
        "data.train: training needs labels of kind classes, tree or tags; this data set has 'none'"
    ]


def test_metrics_that_do_not_fit_the_labels(recipe_file: Path, tmp_path: Path):
    found = check_recipe(recipe_of(recipe_file, "evaluate.metrics=[hap, ap.4, r@1.9]", "evaluate.select=ap.5"))
    assert found.problems == [
        f"evaluate: test: metric {name!r}: relevance of kind tree has levels 0 to 1"
        for name in ("ap.4", "r@1.9", "ap.5")
    ]
    root = tmp_path / "flat"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(root / "1.png")
    found = check_recipe(recipe_of(write_recipe(tmp_path / "r.yaml", root), "data.train=all", "data.test=all"))
    assert (
        "evaluate: all: the 1 items have no labels, so nothing can be measured; searching them works" in found.problems
    )


def test_pictures_that_do_not_pass_the_network_and_pixels_of_another_one(recipe_file: Path):
    fixed = ["model.backbone=vit_tiny_patch16_224", "model.backbone_options={}", "model.pool=own"]
    (problem,) = check_recipe(recipe_of(recipe_file, *fixed)).problems
    assert problem.startswith("model: a picture as preprocess makes it does not pass the network: ")
    assert "(24) doesn't match model (224)" in problem
    own, pretrained = "preprocess.std=[0.5, 0.5, 0.5]", "model.pretrained=true"
    for words, told in (([], False), ([pretrained], True), ([pretrained, own], False)):
        notes = [note for note in check_recipe(recipe_of(recipe_file, *words)).warnings if "gets pixels of" in note]
        assert len(notes) == told
        assert all(
            "were trained with preprocess.mean=[0.5,0.5,0.5] preprocess.std=[0.5,0.5,0.5]" in note for note in notes
        )


def test_a_cut_beyond_the_gallery_is_told(recipe_file: Path):
    said = check_recipe(recipe_of(recipe_file, "evaluate.metrics=[p@12, p@13, ap@20/hits]")).warnings
    assert [note for note in said if "there are but" in note] == [
        "evaluate: test: there are but 12 items for p@13, ap@20/hits"
    ]
