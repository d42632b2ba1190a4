from __future__ import annotations

import pytest

from pertinent.errors import UnknownNameError
from pertinent.models.imports import IMPORTS
from pertinent.models.published import published_model, published_models

MODELS = published_models()


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
    assert (
        published_model("Resnet101-AP-GeM")
        .command("a.zip", "data")
        .startswith(
            "pertinent convert a.zip -o Resnet101-AP-GeM --whiten Landmarks_clean --whitenp 0.25 && pertinent embed "
        )
    )
    assert "--whiten retrieval-SfM-120k/ms" in published_model("retrievalSfM120k-vgg16-gem").command()
    assert "cub:test" in published_model("cub_resnet50_best").command()


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="unknown published model 'Resnet101-AP-Gem'; did you mean"):
        published_model("Resnet101-AP-Gem")
