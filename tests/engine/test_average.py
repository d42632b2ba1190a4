from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from builders import Listening, run_recipe
from pertinent.engine import train as engine
from pertinent.engine.average import WeightAverage
from pertinent.engine.checkpoint import load_state
from pertinent.engine.run import Run
from pertinent.models.encoder import Encoder, EncoderConfig


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder(EncoderConfig(backbone="test_resnet", pool="gem", dim=8))


def moved(encoder: Encoder, by: float) -> None:
    with torch.no_grad():
        for value in (*encoder.parameters(), *encoder.buffers()):
            value.add_(by if value.is_floating_point() else 1)


def test_the_average_follows_the_formula(encoder: Encoder):
    average = WeightAverage(encoder, 0.8)
    means = {name: weight.detach().clone().double() for name, weight in encoder.named_parameters()}
    for step in range(60):
        moved(encoder, 0.1)
        average.update(encoder)
        # (1 + n) / (10 + n) is less than .8 in the first 35 steps.
        decay = min(0.8, (1 + step) / (10 + step))
        assert (decay < 0.8) == (step < 35)
        means = {n: decay * means[n] + (1 - decay) * w.detach().double() for n, w in encoder.named_parameters()}
    for name, weight in average.encoder.named_parameters():
        torch.testing.assert_close(weight.double(), means[name], rtol=1e-5, atol=1e-5)


def test_running_statistics_are_taken_as_they_are(encoder: Encoder):
    average = WeightAverage(encoder, 0.99)
    moved(encoder, 1.0)
    average.update(encoder)
    for own, buffer in zip(average.encoder.buffers(), encoder.buffers(), strict=True):
        assert torch.equal(own, buffer)


def test_it_is_a_copy_that_does_not_learn(encoder: Encoder):
    before = copy.deepcopy(encoder.state_dict())
    average = WeightAverage(encoder, 0.5)
    assert not average.encoder.training
    assert not any(p.requires_grad for p in average.encoder.parameters())
    moved(encoder, 1.0)
    for key, value in average.encoder.state_dict().items():
        assert torch.equal(value, before[key])


def state(run: Run) -> dict[str, Any]:
    return load_state(run.checkpoints()[-1])


def same(encoder: Path, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[key]) for key, value in Encoder.load(encoder).state_dict().items())


@pytest.mark.parametrize("words", [[], ["data.val=val"]], ids=["no validation", "validation"])
def test_what_is_measured_and_saved_are_the_averages(
    tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
):
    embed, measured = engine.embed_table, []

    def noting(encoder: Encoder, *arguments: Any, **options: Any) -> Any:
        measured.append(encoder.fingerprint())
        return embed(encoder, *arguments, **options)

    monkeypatch.setattr(engine, "embed_table", noting)
    run = run_recipe(recipe_file, tmp_path / "run", "train.ema=0.5", *words)
    average, steps = state(run)["average"]
    assert steps == 6
    assert same(run.encoder("last"), average)
    assert not same(run.encoder("last"), state(run)["encoder"])
    assert measured[-1] == Encoder.load(run.encoder("best")).fingerprint()
    if words:
        assert measured[-2] == Encoder.load(run.encoder("last")).fingerprint()


def test_training_itself_does_not_notice(tmp_path: Path, recipe_file: Path, finished_run: Run):
    run = run_recipe(recipe_file, tmp_path / "run", "train.ema=0.5")
    plain = state(finished_run)["encoder"]
    for key, value in state(run)["encoder"].items():
        assert torch.equal(value, plain[key])


def test_a_resumed_run_keeps_them(tmp_path: Path, recipe_file: Path):
    whole = run_recipe(recipe_file, tmp_path / "whole", "train.ema=0.5")

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (2, 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "part", "train.ema=0.5", listener=Listening(act))
    part = run_recipe(recipe_file, tmp_path / "part", "train.ema=0.5", resume=True)
    assert state(part)["average"][1] == 6
    assert same(part.encoder("last"), state(whole)["average"][0])


@torch.no_grad()
def test_skipping_the_first_weights(encoder: Encoder):
    """After a few steps the average is near the weights, whatever the decay."""
    average = WeightAverage(encoder, 0.9999)
    for _ in range(10):
        moved(encoder, 1.0)
        average.update(encoder)
    pairs = zip(average.encoder.parameters(), encoder.parameters(), strict=True)
    assert max(float((mean - weight).abs().max()) for mean, weight in pairs) < 2
