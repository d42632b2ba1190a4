from __future__ import annotations

import inspect

import pytest

from pertinent.cli import converting, evaluating
from pertinent.data.datasets import DATASETS
from pertinent.engine.protocols import PROTOCOLS
from pertinent.errors import UnknownNameError
from pertinent.models.imports import IMPORTS
from pertinent.models.published import published_model, published_models

MODELS = published_models()
BENCHMARKS = (
    *("cub", "cars", "sop", "inshop", "inat_base", "inat_full", "dyml_vehicle", "dyml_animal", "dyml_product"),
    *("roxford5k", "rparis6k", "voc2007", "voc2012", "mirflickr25k", "nuswide"),
)


def test_the_published_checkpoints_are_there():
    by_origin = {
        origin: [m for m in MODELS.values() if m.origin == origin] for origin in ("dirtorch", "cirtorch", "hist")
    }
    assert [len(models) for models in by_origin.values()] == [5, 8, 3]
    assert {"Resnet101-TL-MAC", "Resnet101-TL-GeM", "Resnet50-AP-GeM", "Resnet101-AP-GeM-LM18"} <= set(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_each_says_where_under_which_licence_and_how_good(name: str):
    model = published_model(name)
    assert model.origin in IMPORTS.names()
    assert model.source.page.startswith("https://github.com/")
    assert model.file.startswith(("https://drive.google.com/", "http://cmp.felk.cvut.cz/", "https://github.com/"))
    assert model.source.licence
    assert all(0 < value < 100 for metrics in model.results.values() for value in metrics.values())
    summary = model.summary()
    for part in (model.file, model.source.page, model.source.licence, model.figures(), "pertinent convert FILE"):
        assert part in summary


def test_the_results_are_those_of_the_authors():
    assert published_model("Resnet101-AP-GeM").results == {
        "oxford5k": {"map": 89.1},
        "paris6k": {"map": 93.0},
        "roxford5k": {"medium": 67.1, "hard": 42.3},
        "rparis6k": {"easy": 90.8, "medium": 80.3, "hard": 60.9},
    }
    assert published_model("gl18-tl-resnet101-gem-w").results["rparis6k"] == {"medium": 80.6, "hard": 61.5}


def test_the_command_converts_and_evaluates():
    assert published_model("Resnet101-AP-GeM").command("a.zip", "data") == (
        "pertinent convert a.zip -o Resnet101-AP-GeM --whiten Landmarks_clean --whitenp 0.25 && "
        "pertinent evaluate Resnet101-AP-GeM --data roxford5k:test --root data"
    )
    command = published_model("retrievalSfM120k-vgg16-gem").command()
    assert "--whiten retrieval-SfM-120k/ms &&" in command
    assert command.endswith("--data roxford5k:test --root ROOT --scales 1,0.70710678,0.5")
    assert published_model("gl18-tl-resnet50-gem-w").command().endswith("--scales 1,0.70710678,0.5")
    assert published_model("cub_resnet50_best").command().endswith("--data cub:test --root ROOT --protocol hist")
    assert published_model("SOP_resnet50_best").command().endswith("--data sop:test --root ROOT --protocol hist/sop")


def test_the_commands_are_words_that_the_command_line_knows():
    """Options of both commands, protocols, and data sets that have a reader or are one of the papers' benchmarks."""
    for model in MODELS.values():
        assert set(model.results) <= {*DATASETS.names(), *BENCHMARKS}, model.name
        convert, evaluate = (part.split()[1:] for part in model.command().split(" && "))
        for words, function in ((convert, converting.convert), (evaluate, evaluating.evaluate)):
            assert words[0] == function.__name__
            known = {f"--{name.replace('_', '-')}" for name in inspect.signature(function).parameters}
            assert {word for word in words if word.startswith("--")} <= known, model.name
        if "--protocol" in evaluate:
            assert evaluate[evaluate.index("--protocol") + 1] in PROTOCOLS


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="unknown published model 'Resnet101-AP-Gem'; did you mean"):
        published_model("Resnet101-AP-Gem")
