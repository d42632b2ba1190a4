"""Retrieval-SfM, photographs grouped by 3-D models (Radenovic et al., TPAMI 2018), in the layout of cirtorch."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pertinent.data.datasets._lists import Listing, find_folder, find_pictures, first_seen, listed_table
from pertinent.data.datasets._parts import require_split, root_folder, write_example_picture
from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.plain_pickle import read_plain_pickle
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import DataError, InputError

__all__ = ["SfM120k"]

Version = Literal["120k", "30k"]

_ORIGIN = "lists and pictures come from cmp.felk.cvut.cz/cnnimageretrieval/data/train"
_KEYS = {"train": ("cids", "cluster"), "val": ("cids", "cluster"), "whiten": ("cids", "qidxs", "pidxs")}


class SfM120k:
    """Retrieval-SfM-120k: 98,045 photographs in 3-D models of places; those of one model are a class.

    Splits `train` and `val`, of kind classes, come from `NAME.pkl`; `whiten`, from `NAME-whiten.pkl`, is of kind
    judged: each query with the pictures that show the same part of the same thing, for learning to whiten. Clusters are
    numbered as they first appear, in train, then in val. Ids are the published cids; the picture of one lies in
    `ims/cid[-2:]/cid[-4:-2]/cid[-6:-4]/cid`.

    Args:
        root: the folder that holds the lists and `ims/`, or the folder around it. `retrieval-SfM-30k` finds its
            pictures also in a folder `retrieval-SfM-120k` beside its own.
        version: `120k`, the files retrieval-SfM-120k*, or `30k`, the files retrieval-SfM-30k*.

    Raises:
        DataError: neither list is there, or one is no such list.
        InputError: another version.
    """

    expected: ClassVar[Mapping[str, int]] = {"train": 91_642, "val": 6_403}
    """How many pictures version 120k has, by split."""

    def __init__(self, root: Path | str | None, *, version: Version = "120k") -> None:
        if version not in get_args(Version):
            raise InputError(f"sfm120k: version must be {' or '.join(map(repr, get_args(Version)))}, got {version!r}")
        name = f"retrieval-SfM-{version}"
        self.root = root_folder(root, "sfm120k")
        files = {"train": f"{name}.pkl", "val": f"{name}.pkl", "whiten": f"{name}-whiten.pkl"}
        folder = find_folder(self.root, ("", name), sorted(set(files.values())), "sfm120k", _ORIGIN)
        self._files = {split: folder / file for split, file in files.items()}
        self._images = ["ims", *(f"{place}/ims" for place in dict.fromkeys([name, "retrieval-SfM-120k"]))]
        self.splits: Sequence[str] = [split for split, path in self._files.items() if path.is_file()]

    def split(self, name: str) -> ImageTable:
        """Read `train`, `val` or `whiten`.

        Raises:
            DataError: the list is missing or wrong, or its pictures are missing.
        """
        require_split(name, list(self._files))
        cids = [str(cid) for cid in self._read(name)["cids"]]
        source = self._pictures(cids)
        if name == "whiten":
            return ImageTable(cids, source, "judged", judgements=_judgements(self.pairs(name)))
        clusters = {split: [str(cluster) for cluster in self._read(split)["cluster"]] for split in ("train", "val")}
        return listed_table(Listing(cids, clusters[name]), source, first_seen(*clusters.values()), "cluster")

    def pairs(self, name: str) -> NDArray[np.int64]:
        """The published pairs of a split, `(P, 2)` rows: a query and a picture that shows the same.

        Raises:
            DataError: the list is missing, has no pairs, or they name pictures that are not there.
        """
        require_split(name, list(self._files))
        part, path = self._read(name), self._files[name]
        if "qidxs" not in part or "pidxs" not in part:
            raise DataError(f"sfm120k: {path} has no qidxs and pidxs for {name}")
        queries, positives = (np.asarray(part[key]).reshape(-1) for key in ("qidxs", "pidxs"))
        if len(queries) != len(positives):
            raise DataError(f"sfm120k: {path}: {len(queries)} qidxs for {len(positives)} pidxs of {name}")
        pairs = np.stack([queries, positives], axis=1)
        if pairs.size and (pairs.dtype.kind not in "iu" or pairs.min() < 0 or pairs.max() >= len(part["cids"])):
            raise DataError(f"sfm120k: {path}: qidxs and pidxs of {name} must be positions in its cids")
        return pairs.astype(np.int64)

    def _pictures(self, cids: Sequence[str]) -> FolderSource | ZipSource:
        return find_pictures(self.root, [_path(cid) for cid in cids], self._images, "sfm120k", _ORIGIN)

    def _read(self, name: str) -> Mapping[str, Any]:
        path = self._files[name]
        if not path.is_file():
            raise DataError(f"sfm120k: {path} is missing; {_ORIGIN}")
        content = read_plain_pickle(path)
        part = content if name == "whiten" else content.get(name) if isinstance(content, dict) else None
        lacking = [key for key in _KEYS[name] if not isinstance(part, dict) or key not in part]
        if lacking or not isinstance(part, dict):
            raise DataError(f"sfm120k: {path} is no such list: {', '.join(lacking)} missing for {name}")
        if any(len(part[key]) != len(part["cids"]) for key in _KEYS[name] if key == "cluster"):
            raise DataError(f"sfm120k: {path}: {name} has {len(part['cids'])} cids and {len(part['cluster'])} clusters")
        return part

    @classmethod
    def example(cls, root: Path) -> None:
        """Write the two lists of `retrieval-SfM-120k` and `ims/` with 6 + 4 + 3 pictures."""
        cids = [f"{number:02x}" * 16 for number in range(13)]
        for number, cid in enumerate(cids):
            write_example_picture(root / "picture.png", number)
            (root / "ims" / _path(cid)).parent.mkdir(parents=True, exist_ok=True)
            (root / "picture.png").replace(root / "ims" / _path(cid))
        train = {"cids": cids[:6], "cluster": [7, 7, 7, 3, 3, 3], "qidxs": [0, 3], "pidxs": [1, 5]}
        val = {"cids": cids[6:10], "cluster": [12, 12, 9, 9], "qidxs": [0], "pidxs": [1]}
        whiten = {"cids": cids[10:], "qidxs": [0, 0, 2], "pidxs": [1, 2, 0]}
        (root / "retrieval-SfM-120k.pkl").write_bytes(pickle.dumps({"train": train, "val": val}))
        (root / "retrieval-SfM-120k-whiten.pkl").write_bytes(pickle.dumps(whiten))


def _path(cid: str) -> str:
    return f"{cid[-2:]}/{cid[-4:-2]}/{cid[-6:-4]}/{cid}"


def _judgements(pairs: NDArray[np.int64]) -> list[Judgement]:
    shown: dict[int, dict[int, None]] = {}
    for query, positive in pairs.tolist():
        shown.setdefault(query, {})[positive] = None
    return [Judgement(query, easy=tuple(positives)) for query, positives in shown.items()]
