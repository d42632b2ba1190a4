"""Training: one loop from a recipe to a run folder."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pertinent.data.table import ImageTable
from pertinent.engine.average import WeightAverage
from pertinent.engine.building import (
    choose_device,
    choose_precision,
    make_encoder,
    make_losses,
    selected,
    set_deterministic,
    set_seed,
)
from pertinent.engine.checkpoint import (
    load_newest,
    prune,
    random_state,
    restore_random_state,
    save_state,
)
from pertinent.engine.distributed import World
from pertinent.engine.embed import embed_table
from pertinent.engine.events import Listener, Rate, memory_megabytes, silent
from pertinent.engine.extract import Extraction
from pertinent.engine.feed import Feed, make_sampler
from pertinent.engine.interrupt import interrupt_afterwards
from pertinent.engine.loader import Batch, compact_labels
from pertinent.engine.measure import measure, relevance_of, require_relevant, save_evaluation
from pertinent.engine.memory import Memory
from pertinent.engine.mining import Mining
from pertinent.engine.optim import make_optimisers, set_training_mode
from pertinent.engine.recipe import Recipe
from pertinent.engine.report import Report
from pertinent.engine.run import Run, open_dataset, open_split, require_free, sole
from pertinent.engine.steps import Objective, gradients
from pertinent.engine.telling import Teller
from pertinent.errors import StorageError, TrainingError
from pertinent.files import clear_unfinished
from pertinent.index import Index
from pertinent.models.encoder import Encoder
from pertinent.store import EmbeddingStore, StoreLabels


def train(recipe: Recipe, folder: Path | str, *, resume: bool = False, listener: Listener = silent) -> Run:
    """Train an encoder as a recipe says; measure it before and after on the test split, and index that split.

    Started by `torchrun` or `accelerate launch`, the processes train one encoder together: each reads and embeds its
    part of every batch, and the loss sees all of it. The first process writes the run and speaks to the listener.

    Args:
        recipe: checked settings.
        folder: the run folder to write.
        resume: go on from the folder's newest checkpoint, even in mid-epoch; the recipe must be the same, but for what
            only says how the work is done (`data.root`, `data.workers`, `data.on_error`, `train.device`,
            `train.checkpoint_every`, `train.checkpoint_steps`, `train.keep`, `train.trackers`).
        listener: hears `start`, `step`, `evaluation`, `epoch`, `embed` and `end` events; they are logged as well.

    Raises:
        StorageError: the folder holds a run already (without `resume`) or other files, is to be resumed with another
            recipe or other pictures, or cannot be written.
        DataError, ImageError: the data set is not as expected.
        MissingDependencyError: a tracker's package is not installed.
        TrainingError: the loss is not finite.
    """
    world = World.join(cpu=recipe.train.device == "cpu")
    run = Run(Path(folder))
    if not world.leads:
        _train(Trainer(recipe, run, silent, world))
        return run
    with contextlib.ExitStack() as stack:
        begun = run.recipe_path.is_file()
        if begun:
            stack.enter_context(sole(run))
        _clear_crash(run)
        require_free(run, recipe, resume)
        tell = Teller(run, listener)
        # The folder becomes a run only when recipe and data have proved right: a mistake in them leaves no trace.
        trainer = Trainer(recipe, run, tell, world)
        if not begun:
            stack.enter_context(sole(run))
            # Another may have begun and ended here meanwhile.
            require_free(run, recipe, resume=False)
        stack.callback(tell.close)
        tell.open_trackers(recipe)
        run.save_recipe(recipe)
        _train(trainer)
    return run


def _train(trainer: Trainer) -> None:
    trainer.resume_or_start()
    trainer.fit()
    trainer.finish()


def _clear_crash(run: Run) -> None:
    """Remove what a killed process left half-written in a run's folder."""
    clear_unfinished(run.folder, ("recipe.yaml", "before", "best", "last", "index"))
    if run.recipe_path.is_file():
        for name in ("checkpoints", "stores", "evaluations"):
            clear_unfinished(run.folder / name)


class Trainer:
    """State of one training run: encoder, losses, optimisers and the place in the data."""

    def __init__(self, recipe: Recipe, run: Run, tell: Listener, world: World | None = None) -> None:
        self.recipe, self.run, self.tell = recipe, run, tell
        self.settings = recipe.train
        self.world = world or World()
        self.device = choose_device(recipe.train.device, self.world)
        self.precision = choose_precision(recipe.train.precision, self.device)
        set_deterministic(recipe.train.deterministic)
        set_seed(recipe.train.seed)
        self._open_data()
        self.encoder = make_encoder(recipe).to(self.device)
        if recipe.train.channels_last:
            self.encoder = self.encoder.to(memory_format=torch.channels_last)
        self.damaged: set[str] = set()
        sampler = make_sampler(recipe, self.labels)
        self.mining = self._mining(sampler)
        self.feed = Feed(recipe, self.table, sampler, self.mining, self.world)
        self.batches = self.feed.batches
        self.losses = make_losses(recipe, self.labels, self.encoder.dim)
        self.losses.to(self.device)
        own = {key: loss.optim for key, loss in recipe.losses.items() if loss.optim is not None}
        self.optimisers = make_optimisers(self.encoder, dict(self.losses), own, recipe.optim, recipe.train)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.memory = Memory(recipe.memory.size, self.encoder.dim, self.labels).to(self.device)
        weights = {key: loss.weight for key, loss in recipe.losses.items()}
        self.objective = Objective(self.losses, weights, mined=self.mining is not None)
        self.remembering = replace(self.objective, memory=self.memory) if self.memory.size else self.objective
        self.average = WeightAverage(self.encoder, recipe.train.ema) if recipe.train.ema else None
        self.network: Callable[[Tensor], Tensor] = torch.compile(self.encoder) if recipe.train.compile else self.encoder
        if self.world.rank:
            # The first weights are the same everywhere; what is drawn at random from here on is not.
            set_seed(recipe.train.seed + 1_000_003 * self.world.rank)
        self.epoch, self.step, self.unsaved = 0, 0, 0
        self.best, self.without_best = -math.inf, 0
        self.seconds = 0.0

    @property
    def judged(self) -> Encoder:
        """The encoder that is measured and saved: the average of the weights where there is one."""
        return self.average.encoder if self.average else self.encoder

    def _open_data(self) -> None:
        if not self.world.leads:
            self.world.wait()  # the first process makes what the data set keeps on disk, the others read it
        data = self.recipe.data
        dataset = open_dataset(data)
        self.notes: Sequence[str] = getattr(dataset, "notes", ())
        self.table = dataset.split(data.train)
        self.val = open_split(data, data.val, dataset) if data.val else None
        self.test = open_split(data, data.test, dataset)
        for split, table in ((data.val, self.val), (data.test, self.test)):
            if split is not None and table is not None:
                protocol = self.recipe.evaluate.protocol
                require_relevant(relevance_of(StoreLabels.of(table), len(table), protocol), split)
        self.labels = torch.from_numpy(compact_labels(self.table))
        if self.world.leads:
            self.world.wait()

    def _mining(self, sampler: Any) -> Mining | None:
        if not getattr(sampler, "needs_embeddings", False):
            return None
        data = self.recipe.data
        extraction = Extraction(
            self.encoder, self.recipe.evaluate.batch_size, data.workers, data.on_error == "skip", self.precision
        )
        return Mining(sampler, extraction, self.table, self.world, damaged=self.damaged, listener=self.tell)

    def resume_or_start(self) -> None:
        """Load the newest checkpoint when there is one, else keep and measure the encoder as it is before training."""
        found = load_newest(self.run.checkpoints())
        if found is not None:
            state, damaged = found
            self._load(state)
            event = {"event": "resume", "epoch": self.epoch, "step": self.step}
            self.tell(event | ({"damaged": damaged} if damaged else {}))
            return
        if self.world.leads:
            self.run.log_path.unlink(missing_ok=True)
            self.encoder.save(self.run.encoder("before"))
        self.tell(self._facts())
        self._test("before", self.encoder)

    def fit(self) -> None:
        """Run the epochs that are left; Ctrl-C saves the place first."""
        try:
            for epoch in range(self.epoch, self.settings.epochs):
                if not self._tired():
                    self._run_epoch(epoch)
        except KeyboardInterrupt:
            # Several processes stop at several places; there the last regular checkpoint counts.
            if self.world.size == 1:
                self._save()
            self.tell({"event": "interrupted", "epoch": self.epoch, "step": self.step})
            raise

    def finish(self) -> None:
        """Measure the best encoder on the test split and index that split."""
        self.world.wait()
        # A run that had ended before may have been served since, and its index changed: then all stays as it is.
        if not self.world.gather_objects(Index.has_changes(self.run.index))[0]:
            self._test("best", Encoder.load(self.run.encoder("best")).to(self.device))
            if self.world.leads:
                Index.build(EmbeddingStore.open(self.run.store("best"))).save(self.run.index)
        self.tell({"event": "end", "seconds": self.seconds, "damaged": sorted(self.damaged)})

    def _tired(self) -> bool:
        return self.settings.patience is not None and self.without_best >= self.settings.patience

    def _run_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        set_training_mode(self.encoder, self.settings, epoch)
        self.batches.set_epoch(epoch, self.step)
        steps = len(self.batches)
        if steps == 0:
            raise TrainingError(f"the sampler makes no batch of {self.recipe.sampler.batch_size}; make it smaller")
        rate = Rate(self.recipe.sampler.batch_size * (steps * (self.settings.epochs - epoch) - self.step))
        started = time.monotonic()
        for group in self.feed.groups(epoch, self.step, self._augment(), self.settings.accumulate):
            for optimiser in self.optimisers.values():
                optimiser.set_time(epoch, self.step / steps)
            # A step is done and counted, or neither: a resumed run then ends as one that was never stopped.
            with interrupt_afterwards():
                parts = self._step(group)
                self.step, self.unsaved = self.step + len(group), self.unsaved + len(group)
                now = time.monotonic()
                self.seconds, started = self.seconds + now - started, now
            self.tell(self._step_event(parts, steps, rate.add(self.recipe.sampler.batch_size * len(group))))
            if self.unsaved >= (self.settings.checkpoint_steps or math.inf):
                self._save()
        self._end_epoch()

    def _augment(self) -> Any:
        return self.recipe.augment.build(self.encoder.preprocess)

    def _forward(self, pixels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            return self.network(pixels)

    def _step(self, group: list[Batch]) -> dict[str, float]:
        """One step of the optimisers by the gradients of one or more batches; the mean of their loss terms."""
        for optimiser in self.optimisers.values():
            optimiser.optimiser.zero_grad(set_to_none=True)
        found = [
            parts for parts in (self._gradients(batch, len(group), nth) for nth, batch in enumerate(group)) if parts
        ]
        if not found:
            return {}
        sums: Counter[str] = Counter()
        for parts in found:
            sums.update(parts)
        mean = {name: value / len(found) for name, value in sums.items()}
        self._require_finite(mean)
        self._descend()
        return mean

    def _gradients(self, batch: Batch, share: int, nth: int) -> dict[str, float]:
        self.damaged.update(str(error) for error in batch.damaged)
        rows = self.world.gather(batch.rows)
        if len(rows) < 2:
            return {}
        layout = torch.channels_last if self.settings.channels_last else torch.contiguous_format
        parts = gradients(
            self.encoder,
            self._forward,
            batch.pixels.to(self.device, memory_format=layout),
            self.labels[rows].to(self.device),
            self.remembering if self.epoch >= self.recipe.memory.start else self.objective,
            tuples=self.mining.tuples(self.step + nth, rows) if self.mining else None,
            chunk=self.settings.chunk,
            world=self.world,
            scale=lambda total: self.scaler.scale(total / share),
        )
        return {name: float(value) for name, value in parts.items()}

    def _descend(self) -> None:
        self.world.sum_gradients(self.encoder.parameters())
        self.world.copy_gradients(self.losses.parameters())
        self.world.mean_buffers(self.encoder)
        # The scaler refuses an optimiser that has nothing to do, such as the network's in the warm-up without a head.
        optimisers = [scheduled.optimiser for scheduled in self.optimisers.values() if scheduled.has_gradients()]
        for optimiser in optimisers:
            self.scaler.unscale_(optimiser)
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.encoder.parameters(), self.settings.clip_norm)
        for optimiser in optimisers:
            self.scaler.step(optimiser)
        if optimisers:
            self.scaler.update()
        if self.average:
            self.average.update(self.encoder)

    def _require_finite(self, parts: dict[str, float]) -> None:
        wrong = [name for name, value in parts.items() if not math.isfinite(value)]
        if wrong:
            raise TrainingError(
                f"{', '.join(wrong)} became {parts[wrong[0]]} in epoch {self.epoch + 1}, step {self.step + 1}; "
                "lower optim.lr, set train.clip_norm=1, or use train.precision=float32. "
                f"Encoders and checkpoints written before are intact in {self.run.folder}"
            )

    def _end_epoch(self) -> None:
        done = self.epoch + 1
        event: dict[str, Any] = {"event": "epoch", "epoch": done, "seconds": self.seconds}
        due = self.settings.evaluate_every and done % self.settings.evaluate_every == 0
        last = done == self.settings.epochs
        if self.val is not None and (due or last):
            event |= self._validate(self.val)
        if self._tired() and not last:
            last = event["stopped"] = True
        if self.world.leads:
            for name in ("last", "best") if self.val is None else ("last",):
                if last:
                    self.judged.save(self.run.encoder(name))
        # Only now is the epoch over: a run that is stopped before ends it again.
        self.epoch, self.step = done, 0
        if last or done % self.settings.checkpoint_every == 0:
            self._save()
        self.tell(event)

    def _validate(self, table: ImageTable) -> dict[str, Any]:
        store = self._embed(table, "val", self.judged)
        report = self._measure(store) if self.world.leads else None
        mean = self.world.gather_objects(dict(report.mean) if report else {})[0]
        value = selected(mean, self.recipe.evaluate.select)
        if math.isnan(value):
            raise TrainingError(
                f"evaluate.select={self.recipe.evaluate.select} is undefined on data.val={self.recipe.data.val}: no "
                "query there has anything relevant by it; select another metric, or another split"
            )
        better = value > self.best or not self.run.encoder("best").is_dir()
        # Everybody has looked before the first process writes.
        self.world.wait()
        if better:
            if self.world.leads:
                self.judged.save(self.run.encoder("best"))
            self.best = value
        self.without_best = 0 if better else self.without_best + 1
        return {"metrics": mean, "value": value}

    def _measure(self, store: EmbeddingStore) -> Report:
        wanted = self.recipe.evaluate
        # The test split is measured by `select` too, so that one that does not fit the labels is told at the start.
        metrics = list(dict.fromkeys([*wanted.metrics, wanted.select]))
        return measure(store, metrics, wanted.similarity, wanted.protocol)

    def _test(self, name: str, encoder: Encoder) -> None:
        store = self._embed(self.test, name, encoder)
        if self.world.leads:
            report = self._measure(store)
            save_evaluation(self.run.evaluation(name), report, store)
            metrics, skipped = dict(report.mean), dict(report.skipped)
            self.tell({"event": "evaluation", "name": name, "metrics": metrics, "skipped": skipped})

    def _embed(self, table: ImageTable, name: str, encoder: Encoder) -> EmbeddingStore:
        return embed_table(
            encoder,
            table,
            self.run.store(name),
            batch_size=self.recipe.evaluate.batch_size,
            skip_damaged=self.recipe.data.on_error == "skip",
            workers=self.recipe.data.workers,
            listener=self.tell,
            world=self.world,
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "event": "start",
            "train": len(self.table),
            "test": len(self.test),
            "steps": len(self.batches),
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "device": str(self.device),
            "processes": self.world.size,
            "precision": {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(self.precision, "float32"),
            "torch": str(torch.__version__),
            "data": self.table.fingerprint(),
            # What a loss chose by itself, such as a threshold or the distance of its centres, is in these words.
            "losses": {key: words for key, loss in self.losses.items() if (words := loss.extra_repr())},
            "notes": list(self.notes),
        }

    def _step_event(self, parts: dict[str, float], steps: int, speed: dict[str, float]) -> dict[str, Any]:
        rates = {name: lr for optimiser in self.optimisers.values() for name, lr in optimiser.rates().items()}
        place = {"epoch": self.epoch + 1, "epochs": self.settings.epochs, "step": self.step, "steps": steps}
        memory = round(memory_megabytes(self.device))
        return {"event": "step", **place, "parts": parts, "lr": rates, "memory": memory, **speed}

    def _save(self) -> None:
        """Write the state of training, and delete the oldest ones beyond `train.keep`."""
        own = {"random": random_state(), "damaged": sorted(self.damaged)}
        everyone = self.world.gather_objects(own)
        self.damaged.update(text for process in everyone for text in process["damaged"])
        if self.world.leads:
            newest = self.run.checkpoint(self.epoch, self.step)
            save_state(newest, self._state(everyone))
            prune(self.run.checkpoints(), newest, self.settings.keep)
        self.unsaved = 0

    def _state(self, everyone: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "place": [self.epoch, self.step],
            "data": self.table.fingerprint(),
            "best": self.best if math.isfinite(self.best) else None,
            "without_best": self.without_best,
            "seconds": self.seconds,
            "damaged": sorted(self.damaged),
            "encoder": dict(self.encoder.state_dict()),
            "average": [dict(self.average.encoder.state_dict()), self.average.steps] if self.average else None,
            "losses": {key: dict(loss.state_dict()) for key, loss in self.losses.items()},
            "memory": dict(self.memory.state_dict()),
            "optimisers": {key: item.optimiser.state_dict() for key, item in self.optimisers.items()},
            "scaler": self.scaler.state_dict(),
            "mined": self.mining.state(self.epoch) if self.mining else None,
            "random": [process["random"] for process in everyone],
        }

    def _load(self, state: dict[str, Any]) -> None:
        if state["data"] != self.table.fingerprint():
            raise StorageError(
                f"the training pictures or their labels are not those that {self.run.folder} began with; "
                "put them back, or train in another folder"
            )
        self.epoch, self.step = state["place"]
        self.best = state["best"] if state["best"] is not None else -math.inf
        self.without_best = state["without_best"]
        self.seconds = state["seconds"]
        self.damaged.update(state["damaged"])
        self.encoder.load_state_dict(state["encoder"])
        if self.average:
            weights, self.average.steps = state["average"]
            self.average.encoder.load_state_dict(weights)
        for key, values in state["losses"].items():
            self.losses[key].load_state_dict(values)
        self.memory.load_state_dict(state["memory"])
        for key, values in state["optimisers"].items():
            self.optimisers[key].optimiser.load_state_dict(values)
        self.scaler.load_state_dict(state["scaler"])
        if self.mining:
            self.mining.load(self.epoch, state["mined"])
        # With another number of processes each goes on with the seed that it began with.
        if len(state["random"]) == self.world.size:
            restore_random_state(state["random"][self.world.rank])
