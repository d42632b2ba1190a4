"""Training: one loop from a recipe to a run folder."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pertinent.data.samplers import SAMPLERS
from pertinent.data.table import ImageTable
from pertinent.engine.checkpoint import load_state, random_state, restore_random_state, save_state
from pertinent.engine.embed import embed_table
from pertinent.engine.events import JsonLines, Listener, Rate, memory_megabytes, silent
from pertinent.engine.interrupt import interrupt_afterwards
from pertinent.engine.loader import Batch, Pictures, SeededBatches, compact_labels, training_loader
from pertinent.engine.measure import measure, save_evaluation
from pertinent.engine.optim import make_optimisers, set_training_mode
from pertinent.engine.recipe import Recipe
from pertinent.engine.run import Run, open_dataset
from pertinent.errors import InputError, StorageError, TrainingError
from pertinent.files import recover_folder, refuse_strangers
from pertinent.index import Index
from pertinent.losses import LOSSES
from pertinent.metrics._parse import parse_metric
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.store import EmbeddingStore


def train(recipe: Recipe, folder: Path | str, *, resume: bool = False, listener: Listener = silent) -> Run:
    """Train an encoder as a recipe says; measure it before and after on the test split, and index that split.

    Args:
        recipe: checked settings.
        folder: the run folder to write.
        resume: go on from the folder's checkpoint, even in mid-epoch; the recipe must be the same, but for what only
            says how the work is done (`data.root`, `data.workers`, `data.on_error`, `train.device`,
            `train.checkpoint_every`).
        listener: hears `start`, `step`, `evaluation`, `epoch`, `embed` and `end` events; they are logged as well.

    Raises:
        StorageError: the folder holds a run already (without `resume`) or other files, is to be resumed with another
            recipe or other pictures, or cannot be written.
        DataError, ImageError: the data set is not as expected.
        TrainingError: the loss is not finite.
    """
    run = Run(Path(folder))
    _require_free(run, recipe, resume)
    log = JsonLines(run.log_path)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] != "embed":
            log(event)
        listener(event)

    # The folder becomes a run only when recipe and data have proved right, so that a mistake in them leaves no trace.
    trainer = Trainer(recipe, run, tell)
    run.save_recipe(recipe)
    trainer.resume_or_start()
    trainer.fit()
    trainer.finish()
    return run


class Trainer:
    """State of one training run: encoder, losses, optimisers and the place in the data."""

    def __init__(self, recipe: Recipe, run: Run, tell: Listener) -> None:
        self.recipe, self.run, self.tell = recipe, run, tell
        self.settings = recipe.train
        self.device = _device(recipe.train.device)
        self.bf16 = _use_bf16(recipe.train.precision, self.device)
        _seed(recipe.train.seed)
        dataset = open_dataset(recipe.data)
        self.table = dataset.split(recipe.data.train)
        self.val = dataset.split(recipe.data.val) if recipe.data.val else None
        self.test = dataset.split(recipe.data.test)
        self.labels = torch.from_numpy(compact_labels(self.table))
        self.encoder = make_encoder(recipe).to(self.device)
        if recipe.train.channels_last:
            self.encoder = self.encoder.to(memory_format=torch.channels_last)
        self.losses = make_losses(recipe, self.labels, self.encoder.dim)
        self.losses.to(self.device)
        own = {key: loss.optim for key, loss in recipe.losses.items() if loss.optim is not None}
        self.optimisers = make_optimisers(self.encoder, dict(self.losses), own, recipe.optim, recipe.train)
        self.batches = self._batches()
        self.epoch, self.step = 0, 0
        self.best = -math.inf
        self.damaged: set[str] = set()
        self.seconds = 0.0

    def _batches(self) -> SeededBatches:
        settings = self.recipe.sampler
        sampler = SAMPLERS.build(
            settings.name,
            labels=self.labels.numpy(),
            batch_size=settings.batch_size,
            **{"seed": self.settings.seed, **settings.options},
        )
        return SeededBatches(sampler, self.settings.seed)

    def resume_or_start(self) -> None:
        """Load the checkpoint when there is one, else write the encoder as it is before training and measure it."""
        if self.run.checkpoint.is_dir():
            self._load(load_state(self.run.checkpoint))
            self.tell({"event": "resume", "epoch": self.epoch, "step": self.step})
            return
        self.run.log_path.unlink(missing_ok=True)
        self.tell(self._facts())
        self.encoder.save(self.run.encoder("before"))
        self._test("before", self.encoder)

    def fit(self) -> None:
        """Run the epochs that are left; Ctrl-C saves the place first."""
        try:
            for epoch in range(self.epoch, self.settings.epochs):
                self._run_epoch(epoch)
        except KeyboardInterrupt:
            self._save()
            self.tell({"event": "interrupted", "epoch": self.epoch, "step": self.step})
            raise

    def finish(self) -> None:
        """Measure the best encoder on the test split and index that split."""
        self._test("best", Encoder.load(self.run.encoder("best")).to(self.device))
        Index.build(EmbeddingStore.open(self.run.store("best"))).save(self.run.index)
        self.tell({"event": "end", "seconds": self.seconds, "damaged": sorted(self.damaged)})

    def _run_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        set_training_mode(self.encoder, self.settings, epoch)
        self.batches.set_epoch(epoch, self.step)
        steps = len(self.batches)
        if steps == 0:
            raise TrainingError(f"the sampler makes no batch of {self.recipe.sampler.batch_size}; make it smaller")
        pictures = Pictures(self.table, self._augment(), self.recipe.data.on_error == "skip")
        rate = Rate(self.recipe.sampler.batch_size * steps * (self.settings.epochs - epoch))
        started = time.monotonic()
        for batch in training_loader(pictures, self.batches, self.recipe.data.workers):
            for optimiser in self.optimisers.values():
                optimiser.set_time(epoch, self.step / steps)
            # A step is done and counted, or neither: a resumed run then ends as one that was never stopped.
            with interrupt_afterwards():
                parts = self._step(batch)
                self.step += 1
                now = time.monotonic()
                self.seconds, started = self.seconds + now - started, now
            self.tell(self._step_event(parts, steps, rate.add(len(batch.rows))))
        self._end_epoch()

    def _augment(self) -> Any:
        return self.recipe.augment.build(self.encoder.preprocess)

    def _step(self, batch: Batch) -> dict[str, float]:
        self.damaged.update(str(error) for error in batch.damaged)
        if len(batch.rows) < 2:
            return {}
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        pixels = batch.pixels.to(self.device, memory_format=layout)
        labels = self.labels[batch.rows].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            embeddings = self.encoder(pixels)
        terms = {key: loss(embeddings, labels) for key, loss in self.losses.items()}
        total = sum((self.recipe.losses[key].weight * term for key, term in terms.items()), start=torch.zeros(()))
        parts = {"loss": float(total.detach()), **{key: float(term.detach()) for key, term in terms.items()}}
        for key, loss in self.losses.items():
            parts |= {f"{key}.{name}": float(value) for name, value in getattr(loss, "components", {}).items()}
        self._require_finite(parts)
        self._descend(total)
        return parts

    def _descend(self, total: Tensor) -> None:
        for optimiser in self.optimisers.values():
            optimiser.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.encoder.parameters(), self.settings.clip_norm)
        for optimiser in self.optimisers.values():
            optimiser.optimiser.step()

    def _require_finite(self, parts: dict[str, float]) -> None:
        wrong = [name for name, value in parts.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"{', '.join(wrong)} became {parts[wrong[0]]} in epoch {self.epoch + 1}, step {self.step + 1}; "
                "lower optim.lr, set train.clip_norm=1, or use train.precision=float32. "
                f"Encoders and checkpoint written before are intact in {self.run.folder}"
            )

    def _end_epoch(self) -> None:
        done = self.epoch + 1
        event: dict[str, Any] = {"event": "epoch", "epoch": done, "seconds": self.seconds}
        due = self.settings.evaluate_every and done % self.settings.evaluate_every == 0
        last = done == self.settings.epochs
        if self.val is not None and (due or last):
            event |= self._validate(self.val)
        if self.val is None and last:
            self.encoder.save(self.run.encoder("best"))
        if last:
            self.encoder.save(self.run.encoder("last"))
        # Only now is the epoch over: a run that is stopped before ends it again.
        self.epoch, self.step = done, 0
        if last or done % self.settings.checkpoint_every == 0:
            self._save()
        self.tell(event)

    def _validate(self, table: ImageTable) -> dict[str, Any]:
        report = measure(self._embed(table, "val", self.encoder), self._metrics())
        value = selected(report.mean, self.recipe.evaluate.select)
        if value > self.best or not self.run.encoder("best").is_dir():
            self.encoder.save(self.run.encoder("best"))
            self.best = value
        return {"metrics": dict(report.mean), "value": value}

    def _metrics(self) -> list[str]:
        # The test split is measured by `select` too, so that one that does not fit the labels is told at the start.
        return list(dict.fromkeys([*self.recipe.evaluate.metrics, self.recipe.evaluate.select]))

    def _test(self, name: str, encoder: Encoder) -> None:
        store = self._embed(self.test, name, encoder)
        report = measure(store, self._metrics())
        save_evaluation(self.run.evaluation(name), report, store)
        self.tell({"event": "evaluation", "name": name, "metrics": dict(report.mean), "skipped": dict(report.skipped)})

    def _embed(self, table: ImageTable, name: str, encoder: Encoder) -> EmbeddingStore:
        return embed_table(
            encoder,
            table,
            self.run.store(name),
            batch_size=self.recipe.evaluate.batch_size,
            skip_damaged=self.recipe.data.on_error == "skip",
            workers=self.recipe.data.workers,
            listener=self.tell,
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "event": "start",
            "train": len(self.table),
            "test": len(self.test),
            "steps": len(self.batches),
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "device": str(self.device),
            "precision": "bf16" if self.bf16 else "float32",
            "torch": str(torch.__version__),
            "data": self.table.fingerprint(),
        }

    def _step_event(self, parts: dict[str, float], steps: int, speed: dict[str, float]) -> dict[str, Any]:
        rates = {name: lr for optimiser in self.optimisers.values() for name, lr in optimiser.rates().items()}
        place = {"epoch": self.epoch + 1, "epochs": self.settings.epochs, "step": self.step, "steps": steps}
        memory = round(memory_megabytes(self.device))
        return {"event": "step", **place, "parts": parts, "lr": rates, "memory": memory, **speed}

    def _save(self) -> None:
        save_state(
            self.run.checkpoint,
            {
                "place": [self.epoch, self.step],
                "data": self.table.fingerprint(),
                "best": self.best if math.isfinite(self.best) else None,
                "seconds": self.seconds,
                "damaged": sorted(self.damaged),
                "encoder": dict(self.encoder.state_dict()),
                "losses": {key: dict(loss.state_dict()) for key, loss in self.losses.items()},
                "optimisers": {key: item.optimiser.state_dict() for key, item in self.optimisers.items()},
                "random": random_state(),
            },
        )

    def _load(self, state: dict[str, Any]) -> None:
        if state["data"] != self.table.fingerprint():
            raise StorageError(
                f"the training pictures or their labels are not those that {self.run.folder} began with; "
                "put them back, or train in another folder"
            )
        self.epoch, self.step = state["place"]
        self.best = state["best"] if state["best"] is not None else -math.inf
        self.seconds, self.damaged = state["seconds"], set(state["damaged"])
        self.encoder.load_state_dict(state["encoder"])
        for key, values in state["losses"].items():
            self.losses[key].load_state_dict(values)
        for key, values in state["optimisers"].items():
            self.optimisers[key].optimiser.load_state_dict(values)
        restore_random_state(state["random"])


def make_encoder(recipe: Recipe) -> Encoder:
    """Build the encoder that a recipe describes, with its first weights."""
    parts = EncoderConfig(**recipe.model.model_dump(exclude={"pretrained"}))
    return Encoder(parts, recipe.preprocess, recipe.model.pretrained)


def make_losses(recipe: Recipe, labels: Tensor, dim: int) -> nn.ModuleDict:
    """Build the losses of a recipe, giving each what only data and encoder can tell: classes, dimension, label rows."""
    losses = {}
    for key, settings in recipe.losses.items():
        name = settings.loss or key
        known = LOSSES.options(name)
        classes = _num_classes(labels, settings.options.get("level") or 0, f"losses.{key}.level")
        supplied: dict[str, Any] = {"dim": dim, "bits": dim, "num_classes": classes}
        if "proxy_labels" in known:
            supplied["proxy_labels"] = torch.unique(labels, dim=0)
        filled = {option: value for option, value in supplied.items() if option in known}
        losses[key] = LOSSES.build(name, **settings.options, **filled)
    return nn.ModuleDict(losses)


def selected(mean: Mapping[str, float], name: str) -> float:
    """The value of one metric among means; on a tree a binary metric without a level is that of the finest one."""
    word = parse_metric(name).name
    return mean[word] if word in mean else mean[f"{word}.0"]


def _num_classes(labels: Tensor, level: int, key: str) -> int:
    if labels.dtype == torch.bool:
        return int(labels.shape[1])
    columns = labels.reshape(len(labels), -1)
    if not 0 <= level < columns.shape[1]:
        raise InputError(f"{key}={level}, but the labels have columns 0 to {columns.shape[1] - 1}, 0 the finest")
    return int(columns[:, level].max()) + 1


def _require_free(run: Run, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder whose contents would be lost or mixed up."""
    recover_folder(run.checkpoint)
    if not run.recipe_path.is_file():
        if resume:
            raise StorageError(f"{run.folder} holds no run to resume; leave --resume out to start one")
        refuse_strangers(run.folder, ())
    elif not resume:
        raise StorageError(
            f"{run.folder} holds a run already; go on with it by --resume, or choose another folder with --out"
        )
    # Before the first checkpoint there is nothing to go on from, so any recipe may start anew.
    elif run.checkpoint.is_dir() and _outcome(run.recipe()) != _outcome(recipe):
        raise StorageError(f"{run.folder} was started with another recipe; resume with the recipe it began with")


def _outcome(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what is learnt, without those that only say how the work is done."""
    how = {"data": {"root", "workers", "on_error"}, "train": {"device", "checkpoint_every"}}
    return recipe.model_dump(exclude=how)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise TrainingError(f"train.device={name} cannot be used here: {error}; use auto or cpu") from error


def _use_bf16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bf16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16", False))


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
