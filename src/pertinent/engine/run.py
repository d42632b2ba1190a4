"""`Run`: the folder of one training run and what lies where in it."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pertinent.data.concatenation import queries_and_items
from pertinent.data.datasets import DATASETS
from pertinent.data.table import Dataset, ImageTable
from pertinent.engine.recipe import DataSettings, Recipe, load_recipe
from pertinent.errors import StorageError
from pertinent.files import is_open, refuse_strangers, storage_errors, write_text

LOCK = ".lock"


@dataclass(frozen=True)
class Run:
    """One training run on disk: `recipe.yaml`, `log.jsonl`, the encoders `before`, `best` and `last`,
    `checkpoints/PLACE`, `stores/NAME`, `evaluations/NAME.json`, `index` and `report.html`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path | str) -> Run:
        """Open an existing run; raises StorageError when the folder is none."""
        run = cls(Path(folder))
        if not run.recipe_path.is_file():
            raise StorageError(
                f"{folder} is no run (recipe.yaml is missing); give a folder that `pertinent train` made"
            )
        return run

    @property
    def recipe_path(self) -> Path:
        """The recipe, whole, with all words and defaults filled in."""
        return self.folder / "recipe.yaml"

    @property
    def log_path(self) -> Path:
        """Events of training, one line of JSON each."""
        return self.folder / "log.jsonl"

    def checkpoint(self, epoch: int, step: int) -> Path:
        """Training state at a place in training, for `--resume`."""
        return self.folder / "checkpoints" / f"{epoch:05d}-{step:07d}"

    def checkpoints(self) -> list[Path]:
        """All training states, the newest last."""
        return sorted(path for path in (self.folder / "checkpoints").glob("[0-9]*-[0-9]*") if path.is_dir())

    @property
    def index(self) -> Path:
        """The searchable test collection."""
        return self.folder / "index"

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.folder / "report.html"

    def encoder(self, name: str) -> Path:
        """Encoder `before`, `best` or `last`."""
        return self.folder / name

    def store(self, name: str) -> Path:
        """Embeddings of the test split by encoder `name`."""
        return self.folder / "stores" / name

    def evaluation(self, name: str) -> Path:
        """Metrics of encoder `name` on the test split."""
        return self.folder / "evaluations" / f"{name}.json"

    def save_recipe(self, recipe: Recipe) -> None:
        """Write the recipe as it was run, with the data's root absolute: reports are made from other folders too."""
        values = recipe.model_dump(mode="json")
        if recipe.data.root is not None:
            values["data"]["root"] = str(recipe.data.root.absolute())
        write_text(self.recipe_path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))

    def recipe(self) -> Recipe:
        """Read the recipe as it was run."""
        return load_recipe(self.recipe_path)


def open_dataset(settings: DataSettings) -> Dataset:
    """Build the reader that a recipe names; raises DataError for a missing root or wrong layout."""
    dataset: Dataset = DATASETS.build(settings.name, root=settings.root, **settings.options)
    return dataset


def open_split(settings: DataSettings, split: str, dataset: Dataset | None = None) -> ImageTable:
    """Read one split of a recipe's data set to be measured, with the items in which its pictures search.

    Args:
        settings: the recipe's.
        split: `settings.val` or `settings.test`.
        dataset: the reader, where it is built already.
    """
    dataset = dataset or open_dataset(settings)
    table, gallery = dataset.split(split), settings.gallery_of(split)
    return table if gallery is None else queries_and_items(table, dataset.split(gallery))


def require_free(run: Run, recipe: Recipe, resume: bool) -> None:
    """Refuse a folder whose contents would be lost or mixed up; raises StorageError."""
    if not run.recipe_path.is_file():
        if resume:
            raise StorageError(f"{run.folder} holds no run to resume; leave --resume out to start one")
        refuse_strangers(run.folder, (LOCK,))
    elif not resume:
        raise StorageError(
            f"{run.folder} holds a run already; go on with it by --resume, or choose another folder with --out"
        )
    # Before the first checkpoint there is nothing to go on from, so any recipe may start anew.
    elif run.checkpoints() and _outcome(run.recipe()) != _outcome(recipe):
        raise StorageError(f"{run.folder} was started with another recipe; resume with the recipe it began with")


@contextlib.contextmanager
def sole(run: Run) -> Iterator[None]:
    """Keep other processes from training into a run's folder, which is made when it is not there.

    Raises:
        StorageError: another process trains into it, or it cannot be written.
    """
    try:
        import fcntl
    except ImportError:  # pragma: no cover
        # Windows has none; there nothing keeps two processes apart.
        yield
        return
    path = run.folder / LOCK
    with storage_errors(path, "locking"):
        run.folder.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        try:
            # Of this process alone: those that decode for it, and outlive a killed one by seconds, hold none.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = is_open(path, file.fileno())
        except OSError as error:
            # Some network file systems know no locks.
            free = error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
        if not free:
            raise StorageError(
                f"another process is training into {run.folder}; wait for it, or choose another folder with --out"
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                path.unlink()


def _outcome(recipe: Recipe) -> dict[str, Any]:
    """The settings that decide what is learnt, without those that only say how the work is done."""
    how = {
        "data": {"root", "workers", "on_error"},
        "train": {"device", "checkpoint_every", "checkpoint_steps", "keep", "trackers"},
    }
    return recipe.model_dump(exclude=how)
