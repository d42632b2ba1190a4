"""Google Landmarks v2 (Weyand et al., CVPR 2020), with the hierarchy H-GLDv2 (Ramzi et al., 2023) where it is there."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pertinent.data.datasets._lists import find_pictures, read_columns
from pertinent.data.datasets._parts import (
    labelled_table,
    require_split,
    root_folder,
    vocabulary,
    write_example_picture,
)
from pertinent.data.images import FolderSource, ZipSource
from pertinent.data.table import ImageTable, Judgement
from pertinent.errors import DataError

__all__ = ["GLDv2"]

_FILES = {
    "train": "train.csv",
    "train_clean": "train_clean.csv",
    "index": "index_image_to_landmark.csv",
    "query": "retrieval_solution_v2.1.csv",
    "test": "retrieval_solution_v2.1.csv",
}
# Their lists name pictures of the index.
_ASKED = ("query", "test")
_HIERARCHY = "_label_to_subcategory_with_clusters.csv"
_LEVELS = ("landmark", "cluster", "overall_cluster")
_ORIGIN = (
    "lists and pictures come from github.com/cvdfoundation/google-landmark, "
    "the hierarchy from github.com/elias-ramzi/SupRank"
)

Rows = list[tuple[str, str]]


class GLDv2:
    """Google Landmarks v2: photographs of landmarks from all over the world, perhaps under clusters of landmarks.

    The splits are those whose list is there: `train` (train.csv) and `train_clean` (train_clean.csv); `index`
    (index_image_to_landmark.csv); and of retrieval_solution_v2.1.csv, those queries that have an answer: as `query`,
    which have the landmark of their first answer, and as `test`, of kind judged: the index, then the queries, which
    are searched with and never found, with all their answers.

    Where a file `train_label_to_subcategory_with_clusters.csv` (for `index` and `query`: `index_label_...`) gives
    landmarks a cluster and an overall cluster, the split is a tree of three levels and leaves out landmarks without,
    as the hierarchy's authors do; otherwise it has classes. Landmarks of train and of the index are numbered apart.
    Ids are those of the pictures; picture `abc...` is `a/b/c/abc....jpg`.

    Args:
        root: the folder of the lists; with the pictures under `train`, `index`, `test`, as they are published, or
            under `images/train` and so on.
        hierarchy: False leaves the clusters alone, True insists on them; default to use them where they are there.

    Raises:
        DataError: there is no list, or no hierarchy where one must be.
    """

    expected: ClassVar[Mapping[str, int]] = {"train_clean": 1_580_470}
    """How many pictures the published lists have, by split; the hierarchy leaves out more than a third of them."""

    def __init__(self, root: Path | str | None, *, hierarchy: bool | None = None) -> None:
        self.root = root_folder(root, "gldv2")
        self.splits: Sequence[str] = [
            name
            for name, file in _FILES.items()
            if (self.root / file).is_file() and (name not in _ASKED or (self.root / _FILES["index"]).is_file())
        ]
        if not self.splits:
            raise DataError(
                f"gldv2: {' or '.join(dict.fromkeys(_FILES.values()))} is missing in {self.root}; {_ORIGIN}"
            )
        self._hierarchy = hierarchy
        self._read_clusters: dict[str, dict[str, tuple[str, str]]] = {}
        for part in dict.fromkeys(_part(name) for name in self.splits):
            if hierarchy and not self._clusters_file(part).is_file():
                raise DataError(f"gldv2: {self._clusters_file(part)} is missing, which hierarchy=true needs; {_ORIGIN}")

    def split(self, name: str) -> ImageTable:
        """Read one split.

        Raises:
            DataError: its list is missing or wrong, a landmark has two clusters, or pictures are missing.
        """
        require_split(name, list(_FILES))
        if name not in self.splits:
            raise DataError(
                f"gldv2: {self.root / _FILES[name]} is missing; the splits here are {', '.join(self.splits)}"
            )
        if name == "test":
            return self._test()
        part, rows = _part(name), self._rows(name)
        names = [self._landmarks(name, rows)]
        words = [[landmark] for _, landmark in rows]
        if self._has_clusters(part):
            above = self._clusters(part)
            names += self._cluster_names()
            words = [[landmark, *above[landmark]] for _, landmark in rows]
        ids = [picture for picture, _ in rows]
        folder = "test" if name == "query" else part
        source = self._pictures([(folder, picture) for picture in ids])
        return labelled_table(ids, source, words, _LEVELS[: len(names)], names)

    def _test(self) -> ImageTable:
        items = [picture for picture, _ in self._listed("index")]
        place = {picture: row for row, picture in enumerate(items)}
        asked = self._asked(place)
        judgements = [
            Judgement(len(items) + number, ok=tuple(place[picture] for picture in answers))
            for number, (_, answers) in enumerate(asked)
        ]
        queries = [query for query, _ in asked]
        source = self._pictures([*(("index", picture) for picture in items), *(("test", query) for query in queries)])
        return ImageTable([*items, *queries], source, "judged", judgements=judgements, probes=len(queries))

    def _asked(self, index: Container[str]) -> list[tuple[str, list[str]]]:
        """The queries that have an answer, and their answers."""
        path, asked = self.root / _FILES["test"], []
        for number, (query, answers) in _read(path, ("id", "images")):
            found = list(dict.fromkeys(answers.split())) if answers != "None" else []
            unknown = [picture for picture in found if picture not in index]
            if unknown:
                raise DataError(f"gldv2: {path} line {number}: the index has no picture {unknown[0]}")
            if found:
                asked.append((query, found))
        return asked

    def _rows(self, name: str) -> Rows:
        """The pictures of a split and their landmarks; with a hierarchy those that are in it."""
        rows = self._listed(name)
        if not self._has_clusters(_part(name)):
            return rows
        above = self._clusters(_part(name))
        return [(picture, landmark) for picture, landmark in rows if landmark in above]

    def _listed(self, name: str) -> Rows:
        """The pictures of a split and their landmarks, as listed."""
        if name == "query":
            landmarks = dict(self._listed("index"))
            return [(query, landmarks[answers[0]]) for query, answers in self._asked(landmarks)]
        path, columns = self.root / _FILES[name], ("id", "landmark_id")
        if name == "train_clean":
            lines = _read(path, ("images", columns[1]))
            pairs = ((number, picture, landmark) for number, (many, landmark) in lines for picture in many.split())
        else:
            pairs = ((number, picture, landmark) for number, (picture, landmark) in _read(path, columns))
        rows = []
        for number, picture, landmark in pairs:
            if len(picture) < 3 or not landmark.isdecimal():
                raise DataError(f"gldv2: {path} line {number}: {picture!r} of landmark {landmark!r} is no such picture")
            rows.append((picture, _landmark(_part(name), landmark)))
        if not rows:
            raise DataError(f"gldv2: {path} lists no pictures")
        return rows

    def _landmarks(self, name: str, rows: Rows) -> list[str]:
        """Names of a split's landmarks by their number: those of train_clean keep theirs in train, index's in query."""
        core = {"train": "train_clean", "query": "index"}.get(name, "")
        known = {landmark for _, landmark in self._rows(core)} if core in self.splits else set()
        rest = {landmark for _, landmark in rows} - known
        return [*sorted(known, key=_number), *sorted(rest, key=_number)]

    def _has_clusters(self, part: str) -> bool:
        return self._hierarchy is not False and self._clusters_file(part).is_file()

    def _clusters_file(self, part: str) -> Path:
        return self.root / f"{part}{_HIERARCHY}"

    def _clusters(self, part: str) -> dict[str, tuple[str, str]]:
        if part not in self._read_clusters:
            self._read_clusters[part] = _read_hierarchy(self._clusters_file(part), part)
        return self._read_clusters[part]

    def _cluster_names(self) -> list[list[str]]:
        rows = [row for part in ("train", "index") if self._has_clusters(part) for row in self._clusters(part).values()]
        return [vocabulary(row[level] for row in rows) for level in range(len(_LEVELS) - 1)]

    def _pictures(self, listed: Sequence[tuple[str, str]]) -> FolderSource | ZipSource:
        paths = [f"{part}/{'/'.join(picture[:3])}/{picture}.jpg" for part, picture in listed]
        return find_pictures(self.root, paths, ("", "images"), "gldv2", _ORIGIN)

    @classmethod
    def example(cls, root: Path) -> None:
        """Write all lists, both hierarchies, and 6 pictures of train, 4 of the index and 2 queries."""
        ids = [f"{number:016x}"[::-1] for number in range(12)]
        places = ["train"] * 6 + ["index"] * 4 + ["test"] * 2
        for number, (picture, place) in enumerate(zip(ids, places, strict=True)):
            write_example_picture(root / place / "/".join(picture[:3]) / f"{picture}.jpg", number)
        clusters = ("landmark_id,cluster,overall_cluster", "5,bridge,built", "9,hill,natural", "11,,")
        files: dict[str, Sequence[str]] = {
            _FILES["train"]: (
                "id,url,landmark_id",
                *(f"{picture},,{landmark}" for picture, landmark in zip(ids, (5, 5, 9, 9, 11, 11), strict=False)),
            ),
            _FILES["train_clean"]: ("landmark_id,images", f"9,{ids[2]} {ids[3]}", f"11,{ids[4]}"),
            _FILES["index"]: (
                "id,landmark_id",
                *(f"{picture},{landmark}" for picture, landmark in zip(ids[6:], (5, 5, 9, 11), strict=False)),
            ),
            _FILES["test"]: ("id,images,Usage", f"{ids[10]},{ids[6]} {ids[7]},Public", f"{ids[11]},None,Ignored"),
            f"train{_HIERARCHY}": clusters,
            f"index{_HIERARCHY}": clusters,
        }
        for file, lines in files.items():
            (root / file).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _part(split: str) -> str:
    """What numbers a split's landmarks."""
    return "train" if split in ("train", "train_clean") else "index"


def _landmark(part: str, number: str) -> str:
    # The same number is another landmark in the index.
    return number if part == "train" else f"{part}/{number}"


def _number(landmark: str) -> int:
    return int(landmark.rpartition("/")[2])


def _read_hierarchy(path: Path, part: str) -> dict[str, tuple[str, str]]:
    """Cluster and overall cluster of the landmarks that have both."""
    above: dict[str, tuple[str, str]] = {}
    for number, (landmark, cluster, overall) in _read(path, ("landmark_id", *_LEVELS[1:])):
        if not (cluster and overall):
            continue
        known = above.setdefault(_landmark(part, landmark), (cluster, overall))
        if known != (cluster, overall):
            raise DataError(
                f"gldv2: {path} line {number}: landmark {landmark} is in {cluster!r}, {overall!r} here and in "
                f"{known[0]!r}, {known[1]!r} before; give it one place"
            )
    return above


def _read(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    return read_columns(path, columns, "gldv2", _ORIGIN)
