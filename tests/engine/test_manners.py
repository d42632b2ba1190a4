"""The manners of training that a recipe may ask for, in whole runs of seconds."""

from __future__ import annotations

import copy
import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from builders import Listening, recipe_of, run_recipe
from pertinent.engine import train as engine
from pertinent.engine.checkpoint import load_state
from pertinent.engine.events import silent
from pertinent.engine.loader import Batch, Pictures, training_loader
from pertinent.engine.optim import learning_rate, make_optimisers, set_training_mode
from pertinent.engine.recipe import NetworkOptimiser, Optimiser, Schedule, TrainSettings
from pertinent.engine.run import Run
from pertinent.engine.train import Trainer
from pertinent.errors import ConfigError
from pertinent.losses import ClusterLoss
from pertinent.models.encoder import Encoder, EncoderConfig

# Every picture by itself, and no number drawn in the network: chunks and batches then change nothing.
SEPARATE = ["train.batch_norm=freeze", "model.backbone_options={}"]


def losses(events: Listening) -> list[float]:
    return [event["parts"]["loss"] for event in events.of("step")]


def run(file: Path, folder: Path, *words: str, resume: bool = False) -> tuple[Run, Listening]:
    events = Listening()
    return run_recipe(file, folder, *words, resume=resume, listener=events), events


def weights(found: Run) -> dict[str, Tensor]:
    return dict(load_state(found.checkpoints()[-1])["encoder"])


# --- chunks


def test_chunks_of_a_run_change_nothing(tmp_path: Path, recipe_file: Path):
    """The pictures are augmented once, not drawn again for the second pass."""
    words = [*SEPARATE, "augment={scale: [0.3, 1], hflip: 0.5, colour_jitter: [0.2, 0.2, 0, 0]}"]
    whole, plain = run(recipe_file, tmp_path / "whole", *words)
    parts, chunked = run(recipe_file, tmp_path / "parts", *words, "train.chunk=3")
    assert losses(chunked) == pytest.approx(losses(plain), rel=1e-3)
    assert losses(chunked)[0] == pytest.approx(losses(plain)[0], rel=1e-5)
    assert weights(whole).keys() == weights(parts).keys()


def test_pictures_are_read_once_a_batch(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    read, seen = Pictures.__getitem__, []

    def noting(self: Pictures, key: tuple[int, int]) -> Any:
        seen.append(key)
        return read(self, key)

    monkeypatch.setattr(Pictures, "__getitem__", noting)
    run(recipe_file, tmp_path / "run", "train.chunk=3", "train.epochs=1")
    assert len([key for key in seen if key[1]]) == 24, "those without a seed are for measuring"


# --- precision


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("chunk", ["null", "3"])
def test_narrow_numbers(tmp_path: Path, recipe_file: Path, precision: str, chunk: str):
    words = [*SEPARATE, f"train.precision={precision}", f"train.chunk={chunk}", "train.epochs=1"]
    found, events = run(recipe_file, tmp_path / "run", *words)
    _, plain = run(recipe_file, tmp_path / "plain", *SEPARATE, "train.epochs=1")
    assert losses(events)[0] == pytest.approx(losses(plain)[0], rel=0.05)
    assert all(value.dtype != torch.float16 for value in weights(found).values())
    scaler = load_state(found.checkpoints()[-1])["scaler"]
    assert bool(scaler) == (precision == "fp16")
    assert events.of("start")[0]["precision"] == precision


def test_half_precision_is_resumed_with_its_scale(tmp_path: Path, recipe_file: Path):
    words = ["train.precision=fp16", "losses.cluster.optim={name: adamw, lr: 0.01}", "train.epochs=1"]
    whole, _ = run(recipe_file, tmp_path / "whole", *words)

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "part", *words, listener=Listening(act))
    part, _ = run(recipe_file, tmp_path / "part", *words, resume=True)
    one, other = (load_state(found.checkpoints()[-1]) for found in (whole, part))
    assert one["scaler"] == other["scaler"]
    assert 0 < one["scaler"]["_growth_tracker"] <= 3
    for key, value in one["encoder"].items():
        assert torch.equal(value, other["encoder"][key])


def trainer_and_batches(file: Path, folder: Path, *words: str) -> tuple[Trainer, list[Batch]]:
    trainer = Trainer(recipe_of(file, *words), Run(folder), silent)
    trainer.batches.set_epoch(0)
    set_training_mode(trainer.encoder, trainer.settings, 0)
    pictures = Pictures(trainer.table, trainer._augment(), skip=False)
    return trainer, list(training_loader(pictures, trainer.batches, 0))


def test_a_step_that_overflows_is_passed_over(tmp_path: Path, recipe_file: Path):
    trainer, batches = trainer_and_batches(recipe_file, tmp_path, "train.precision=fp16")
    before = copy.deepcopy(dict(trainer.encoder.named_parameters()))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=1e38)
    parts = trainer._step(batches[:1])
    assert math.isfinite(parts["loss"])
    assert trainer.scaler.get_scale() == pytest.approx(5e37)
    assert all(torch.equal(p, before[key]) for key, p in trainer.encoder.named_parameters())
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=16)
    trainer._step(batches[:1])
    assert not all(torch.equal(p, before[key]) for key, p in trainer.encoder.named_parameters())


def test_in_the_warm_up_of_a_network_without_a_head_only_the_losses_learn(tmp_path: Path, recipe_file: Path):
    """In half precision too, whose scaler refuses an optimiser without gradients."""
    words = ["model.dim=null", "model.layer_norm=none", "train.warmup_epochs=1", "train.precision=fp16"]
    own = "losses.cluster.optim={name: adam, lr: 0.1}"
    found, events = run(recipe_file, tmp_path / "run", *words, own, "train.keep=9")
    first, _ = (load_state(path) for path in found.checkpoints())
    before = dict(Encoder.load(found.encoder("before")).named_parameters())
    assert all(torch.equal(first["encoder"][key], value) for key, value in before.items())
    assert losses(events)[0] != losses(events)[2]


# --- several batches a step


def test_accumulated_batches_make_one_step_of_their_mean_gradient(tmp_path: Path, recipe_file: Path):
    words = [*SEPARATE, "train.accumulate=2"]
    trainer, batches = trainer_and_batches(recipe_file, tmp_path / "a", *words)
    parts = trainer._step(batches[:2])
    found = {key: p.grad.clone() for key, p in trainer.encoder.named_parameters() if p.grad is not None}
    sums: dict[str, Tensor] = {}
    means = []
    for batch in batches[:2]:
        other, _ = trainer_and_batches(recipe_file, tmp_path / "b", *words)
        means.append(other._step([batch]))
        for key, p in other.encoder.named_parameters():
            if p.grad is not None:
                sums[key] = sums.get(key, torch.zeros_like(p)) + p.grad / 2
    assert found.keys() == sums.keys()
    for key, gradient in found.items():
        torch.testing.assert_close(gradient, sums[key], rtol=1e-4, atol=1e-6)
    for key, value in parts.items():
        assert value == pytest.approx((means[0][key] + means[1][key]) / 2, rel=1e-6)


def test_accumulating_over_an_epoch(tmp_path: Path, recipe_file: Path):
    """Three batches an epoch: one step of two, one of the third alone."""
    _, events = run(recipe_file, tmp_path / "run", "train.accumulate=2")
    assert [(event["epoch"], event["step"]) for event in events.of("step")] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert events.of("step")[-1]["eta"] == 0


# --- stopping early


def scripted(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let validation find these values of hap, epoch by epoch."""
    measure, left = engine.measure, iter(values)

    def found(store: Any, metrics: list[str], *options: Any) -> Any:
        report = measure(store, metrics, *options)
        if store.manifest["count"] == 12 and "val" in str(store.folder):
            report.mean["hap"] = next(left)  # type: ignore[index]
        return report

    monkeypatch.setattr(engine, "measure", found)


def test_patience(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, [0.5, 0.7, 0.6, 0.7])
    words = ["data.val=val", "train.epochs=9", "train.patience=2"]
    found, events = run(recipe_file, tmp_path / "run", *words)
    assert [event["value"] for event in events.of("epoch")] == [0.5, 0.7, 0.6, 0.7], "an equal value is no new best"
    assert [event.get("stopped") for event in events.of("epoch")] == [None, None, None, True]
    assert events[-1]["event"] == "end"
    assert load_state(found.checkpoints()[-1])["place"] == [4, 0]
    assert Encoder.load(found.encoder("best")).fingerprint() != Encoder.load(found.encoder("last")).fingerprint()
    _, again = run(recipe_file, tmp_path / "run", *words, resume=True)
    assert not again.of("step")


def test_patience_goes_on_counting_after_a_stop(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    scripted(monkeypatch, [0.7, 0.6, 0.5])
    words = ["data.val=val", "train.epochs=9", "train.patience=2"]

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "epoch" and event["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe_file, tmp_path / "run", *words, listener=Listening(act))
    _, events = run(recipe_file, tmp_path / "run", *words, resume=True)
    assert [event.get("stopped") for event in events.of("epoch")] == [True]


@pytest.mark.parametrize("words", [[], ["data.val=val", "train.evaluate_every=0"]])
def test_patience_needs_something_to_wait_for(recipe_file: Path, words: list[str]):
    with pytest.raises(ConfigError, match=r"train\.patience: needs data\.val and train\.evaluate_every"):
        recipe_of(recipe_file, "train.patience=2", *words)


# --- learning rates


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(EncoderConfig(backbone="test_resnet", pool="gem", dim=8))


def groups(encoder: Encoder, patterns: dict[str, Any], **own: Optimiser) -> list[dict[str, Any]]:
    network = NetworkOptimiser.model_validate({"lr": 1e-3, "head_lr": 2e-3, "weight_decay": 0.1, "groups": patterns})
    made = make_optimisers(encoder, {"cluster": ClusterLoss(5, 8)}, own, network, TrainSettings())
    return list(made["network"].optimiser.param_groups)


def test_groups_by_pattern(encoder: Encoder):
    patterns = {
        "backbone.*.bn*": {"weight_decay": 0},
        "head.*": {"lr": 0.5},
        "losses.cluster.*": {"lr": 9, "weight_decay": 1},
    }
    found = {g["name"]: (g["lr"], g["weight_decay"], len(g["params"])) for g in groups(encoder, patterns)}
    norms = sum("bn" in name for name, _ in encoder.backbone.named_parameters())
    rest = sum(1 for _ in encoder.backbone.parameters()) - norms
    assert found == {
        "backbone": (1e-3, 0.1, rest),
        "backbone: backbone.*.bn*": (1e-3, 0, norms),
        "head": (2e-3, 0.1, 1),  # the pooling's exponent
        "head.*": (0.5, 0.1, 2),
        "losses.cluster.*": (9, 1, 1),
    }
    every = [id(p) for group in groups(encoder, patterns) for p in group["params"]]
    assert len(every) == len(set(every)) == norms + rest + 4


def test_of_several_patterns_the_first_one_counts(encoder: Encoder):
    found = {g["name"]: len(g["params"]) for g in groups(encoder, {"head.*.bias": {"lr": 1}, "head.*": {"lr": 2}})}
    assert (found["head.*.bias"], found["head.*"]) == (1, 1)


def test_a_pattern_across_parts_keeps_their_rates(encoder: Encoder):
    found = {g["name"]: g["lr"] for g in groups(encoder, {"*.weight": {"weight_decay": 0}})}
    assert found["backbone: *.weight"] == 1e-3
    assert found["head: *.weight"] == found["losses: *.weight"] == 2e-3


def test_a_pattern_that_fits_nothing(encoder: Encoder, tmp_path: Path, recipe_file: Path):
    with pytest.raises(ConfigError, match=r"optim\.groups\.hed\.linear\.\*: fits no parameter; did you mean"):
        groups(encoder, {"hed.linear.*": {"lr": 1}})
    with pytest.raises(ConfigError, match=r"optim\.groups\.losses\.cluster\.\*: fits no parameter"):
        groups(encoder, {"losses.cluster.*": {"lr": 1}}, cluster=Optimiser())
    with pytest.raises(ConfigError, match=r"optim\.groups\.nothing: fits no parameter"):
        run(recipe_file, tmp_path / "run", "optim.groups={nothing: {lr: 1}}")
    assert not (tmp_path / "run").exists()


def test_groups_in_a_run(tmp_path: Path, recipe_file: Path):
    word = "optim.groups={head.*: {lr: 0}, backbone.*.bn1.*: {lr: 0.5}}"
    found, events = run(recipe_file, tmp_path / "run", word, "train.epochs=1")
    assert events.of("step")[0]["lr"] == {"backbone": 1e-3, "backbone.*.bn1.*": 0.5, "head.*": 0, "losses": 1e-3}
    before = Encoder.load(found.encoder("before")).state_dict()
    assert all(torch.equal(value, before[key]) for key, value in weights(found).items() if key.startswith("head."))


def test_linear_schedule():
    schedule = Schedule(name="linear", min_lr=0.2)
    rates = [learning_rate(schedule, 1.0, epoch, 4) for epoch in range(5)]
    assert rates == pytest.approx([1, 0.8, 0.6, 0.4, 0.2])


def test_the_rate_rises_from_nothing(tmp_path: Path, recipe_file: Path):
    schedule = "optim.schedule={name: linear, rise_epochs: 1, per: step}"
    _, events = run(recipe_file, tmp_path / "run", schedule, "optim.lr=0.01", "train.epochs=3")
    rates = [event["lr"]["backbone"] for event in events.of("step")]
    done = [step / 3 for step in range(9)]
    assert rates == pytest.approx([0.01 * min(share, 1) * (1 - share / 3) for share in done])
    with pytest.raises(ConfigError, match=r"rise_epochs: needs optim\.schedule\.per=step"):
        recipe_of(recipe_file, "optim.schedule={rise_epochs: 1}")


# --- the rest


def test_deterministic(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    try:
        run(
            recipe_file,
            tmp_path / "run",
            "train.deterministic=true",
            "train.epochs=1",
            "train.chunk=3",
            "memory.size=9",
        )
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8", "what the user has set stays"
    finally:
        torch.use_deterministic_algorithms(False)


def test_everything_at_once(tmp_path: Path, recipe_file: Path):
    words = ["train.chunk=3", "train.accumulate=2", "train.ema=0.9", "train.precision=bf16", "train.clip_norm=1"]
    words += ["memory.size=12", "data.val=val", "train.channels_last=true", "train.checkpoint_steps=2"]
    whole, _ = run(recipe_file, tmp_path / "whole", *words)

    def act(event: dict[str, Any]) -> None:
        if event["event"] == "step" and (event["epoch"], event["step"]) == (2, 2):
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_recipe(recipe_file, tmp_path / "part", *words, listener=Listening(act))
    part, _ = run(recipe_file, tmp_path / "part", *words, resume=True)
    for name in ("best", "last"):
        assert Encoder.load(whole.encoder(name)).fingerprint() == Encoder.load(part.encoder(name)).fingerprint()
    values = [json.loads(found.evaluation("best").read_text())["mean"] for found in (whole, part)]
    assert values[0] == values[1]


@pytest.mark.slow
@pytest.mark.skipif("PERTINENT_SLOW" not in os.environ, reason="compiles for a minute; set PERTINENT_SLOW=1")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("chunk", ["null", "4"])
def test_compiled(tmp_path: Path, recipe_file: Path, chunk: str):
    """Dropped paths and all: the second pass of a compiled network draws what its first pass drew."""
    words = ["train.epochs=1", f"train.chunk={chunk}", "train.batch_norm=freeze"]
    torch._dynamo.reset()
    trainer, batches = trainer_and_batches(recipe_file, tmp_path / "a", *words, "train.compile=true")
    pixels = batches[0].pixels
    states = torch.get_rng_state()
    with torch.no_grad():
        first = trainer.network(pixels)
    torch.set_rng_state(states)
    torch.testing.assert_close(trainer.network(pixels), first, rtol=1e-4, atol=1e-5)
    found, _ = run(recipe_file, tmp_path / "run", *words, "train.compile=true")
    assert Encoder.load(found.encoder("last")).fingerprint() != Encoder.load(found.encoder("before")).fingerprint()
