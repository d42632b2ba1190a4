"""Cars196, the Stanford Cars (Krause et al., 3dRR 2013)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._class_folders import class_folders
from pertinent.data.datasets._lists import find_pictures, read_text
from pertinent.data.datasets._parts import root_folder, write_example_picture
from pertinent.data.datasets._unseen import Listed, TrainingClasses
from pertinent.data.table import ImageTable
from pertinent.errors import DataError

__all__ = ["Cars"]

_ORIGIN = (
    "its publisher no longer offers Cars196; copies are CARS196.zip of cs.stanford.edu/cs/cvgl and, in other layouts, "
    "on kaggle.com"
)
_FOLDERS = ("", "cars196", "CARS196", "stanford_cars", "cars")
_PLACES = ("", "car_data/car_data/train", "car_data/car_data/test", "car_data/train", "car_data/test", "train", "test")
_EDGES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")
_TRAINING_CLASSES = 98


@dataclass(frozen=True)
class _Found:
    paths: Sequence[str]
    classes: NDArray[np.int64]
    names: Sequence[str]
    boxes: NDArray[np.float64] | None


class Cars:
    """Cars196: photographs of cars of 196 models; the first 98 train, the other 98 test.

    Read is the first of these layouts that is in `root`, or in a folder `cars196`, `stanford_cars` and so on in it:

    - `cars_annos.mat` and `car_ims/`;
    - `devkit/cars_train_annos.mat`, `devkit/cars_meta.mat`, `cars_test_annos_withlabels.mat` (beside or in `devkit`),
      `cars_train/` and `cars_test/`, or `cars_train/cars_train/` and `cars_test/cars_test/`;
    - folders of models in `train` and `test`, perhaps in `car_data/car_data`, with `names.csv`, one name a line, or
      `cars_meta.mat`: the folders' names do not tell the published order, by which the data set is split.

    Labels are the published class numbers less one.

    Args:
        root: the data set's folder, or the folder around it.
        holdout: share of the training classes that become the split `val`, to choose by; then `train` has the others,
            and `trainval` all.
        boxes: cut every picture to its car; not for the layout of folders, which lacks the boxes.

    Raises:
        DataError: none of the layouts is there, or a file is wrong.
        InputError: the share is not 0 to below 1.
    """

    expected: Mapping[str, int] = MappingProxyType({"train": 8_054, "test": 8_131})
    """How many pictures were published, by split."""

    def __init__(self, root: Path | str | None, *, holdout: float = 0.0, boxes: bool = False) -> None:
        self._folder, found = _read(root_folder(root, "cars"), boxes)
        labels = found.classes - 1
        if labels.min() < 0 or labels.max() >= len(found.names):
            raise DataError(f"cars: {self._folder} has class {found.classes.max()}, of {len(found.names)} named ones")
        self._listed = Listed(found.paths, labels[:, None], ["model"], [found.names], found.boxes)
        seen = np.unique(labels[labels < _TRAINING_CLASSES])
        self._training = TrainingClasses({label: found.names[label] for label in seen.tolist()}, holdout, "cars")
        self.splits: Sequence[str] = (*self._training.splits, "test")
        self.expected = self._training.published(type(self).expected)

    def split(self, name: str) -> ImageTable:
        """Read one split; ids are paths below the data set's folder.

        Raises:
            DataError: listed pictures are missing.
        """
        self._training.require(name, self.splits)
        labels = self._listed.labels[:, 0]
        rows = np.flatnonzero(labels >= _TRAINING_CLASSES) if name == "test" else self._training.rows(name, labels)
        part = self._listed.part(rows, f"cars: {name}")
        return part.table(find_pictures(self._folder, part.paths, ("",), "cars", _ORIGIN))

    @classmethod
    def example(cls, root: Path) -> None:
        """Write `cars_annos.mat` and `car_ims/`: 4 training and 2 test classes of 2 pictures each, with boxes."""
        from scipy.io import savemat  # type: ignore[import-untyped]

        root.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(12):
            path = f"car_ims/{number + 1:06}.png"
            write_example_picture(root / path, number)
            rows.append((path, number, 2, number + 16, 14, (1, 2, 50, 98, 99, 196)[number // 2], number % 2))
        fields = ["relative_im_path", *_EDGES, "class", "test"]
        records = np.array(rows, dtype=[(field, object) for field in fields])
        names = np.array([f"Maker Model {number} 2012" for number in range(1, 197)], dtype=object)
        savemat(root / "cars_annos.mat", {"annotations": records[None], "class_names": names[None]})


def _read(root: Path, boxes: bool) -> tuple[Path, _Found]:
    """The folder that has one of the layouts, and what is in it."""
    for folder in (root / place for place in _FOLDERS):
        one_file, devkit = folder / "cars_annos.mat", folder / "devkit" / "cars_train_annos.mat"
        # A common copy has the one file with the pictures of the devkit, which it does not list.
        foreign = (folder / "cars_train").is_dir() and not any(folder.glob("car_ims*"))
        if one_file.is_file() and not foreign:
            return folder, _by_one_file(one_file, boxes)
        if devkit.is_file() or one_file.is_file():
            return folder, _by_devkit(folder, boxes)
        names = _class_order(folder)
        if names:
            return folder, _by_folders(folder, names, boxes)
    raise DataError(
        f"cars: {root} has neither cars_annos.mat nor devkit/cars_train_annos.mat, nor names.csv or cars_meta.mat "
        f"beside folders of models; {_ORIGIN}"
    )


def _by_one_file(path: Path, boxes: bool) -> _Found:
    content = _load(path, "annotations", "class_names")
    records = _records(content, path, ["relative_im_path"], boxes)
    paths = [str(name) for name in records["relative_im_path"]]
    return _Found(paths, _classes(records), _names(content), _boxes(records) if boxes else None)


def _by_devkit(folder: Path, boxes: bool) -> _Found:
    names = _names(_load(folder / "devkit" / "cars_meta.mat", "class_names"))
    test = "cars_test_annos_withlabels.mat"
    files = {
        "cars_train": folder / "devkit" / "cars_train_annos.mat",
        "cars_test": next(
            (path for path in (folder / test, folder / "devkit" / test) if path.is_file()), folder / test
        ),
    }
    parts = {place: _records(_load(path, "annotations"), path, ["fname"], boxes) for place, path in files.items()}
    inner = {place: f"{place}/{place}" if (folder / place / place).is_dir() else place for place in parts}
    paths = [f"{inner[place]}/{name}" for place, records in parts.items() for name in records["fname"]]
    edges = np.concatenate([_boxes(records) for records in parts.values()]) if boxes else None
    return _Found(paths, np.concatenate([_classes(records) for records in parts.values()]), names, edges)


def _by_folders(folder: Path, names: Sequence[str], boxes: bool) -> _Found:
    if boxes:
        raise DataError(f"cars: boxes=true needs the boxes of cars_annos.mat, which {folder} lacks; {_ORIGIN}")
    number = {_plain(name): label for label, name in enumerate(names, 1)}
    paths = class_folders(folder, _PLACES, re.compile("(?!car_data$|train$|test$|[.]).+"))
    if not paths:
        raise DataError(f"cars: {folder} has no folders of models in train and test; {_ORIGIN}")
    models = [path.split("/")[-2] for path in paths]
    unknown = next((model for model in models if _plain(model) not in number), None)
    if unknown is not None:
        raise DataError(f"cars: folder {unknown!r} in {folder} is none of the {len(names)} models that are named there")
    return _Found(paths, np.array([number[_plain(model)] for model in models], np.int64), names, None)


def _class_order(folder: Path) -> list[str]:
    """Names of the models in the published order, where a file beside folders of models tells it."""
    if (folder / "names.csv").is_file():
        lines = read_text(folder / "names.csv", "cars").splitlines()
        return [line.strip().strip('"') for line in lines if line.strip()]
    for path in (folder / "cars_meta.mat", folder / "devkit" / "cars_meta.mat"):
        if path.is_file():
            return _names(_load(path, "class_names"))
    return []


def _plain(name: str) -> str:
    # A slash in a name (Ram C/V) cannot be in a folder's.
    return re.sub("[^0-9a-z]", "", name.casefold())


def _load(path: Path, *wanted: str) -> Mapping[str, Any]:
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"cars: {path} is missing; {_ORIGIN}")
    try:
        content: Mapping[str, Any] = loadmat(path, squeeze_me=True)
    except Exception as error:  # a damaged file makes the reader of MATLAB files fail in any way
        raise DataError(f"cars: {path} is no readable MATLAB file ({error}); copy it again") from error
    lacking = [name for name in wanted if name not in content]
    if lacking:
        raise DataError(f"cars: {path} has no {', '.join(lacking)}; {_ORIGIN}")
    return content


def _names(content: Mapping[str, Any]) -> list[str]:
    return [str(name) for name in np.atleast_1d(content["class_names"])]


def _records(content: Mapping[str, Any], path: Path, fields: Sequence[str], boxes: bool) -> NDArray[Any]:
    records = np.atleast_1d(content["annotations"])
    wanted = [*fields, "class", *(_EDGES if boxes else ())]
    lacking = [field for field in wanted if field not in (records.dtype.names or ())]
    if lacking:
        # The devkit has a file of test pictures without classes.
        raise DataError(f"cars: annotations of {path} have no {', '.join(lacking)}; {_ORIGIN}")
    return records


def _classes(records: NDArray[Any]) -> NDArray[np.int64]:
    return records["class"].astype(np.int64)


def _boxes(records: NDArray[Any]) -> NDArray[np.float64]:
    """Left, top, right and bottom; published are the first and last pixel, counted from 1."""
    edges = np.stack([records[field].astype(np.float64) for field in _EDGES], axis=1)
    return edges - [1, 1, 0, 0]
