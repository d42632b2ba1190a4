"""Embeddings of a table's pictures, whatever their sizes: those whose sizes are equal go through the network together.

Which pictures are together depends on the table and the batch size alone, never on where the work began, so the same
work done in parts, or by several processes, gives the same numbers to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from pertinent.data.table import ImageTable
from pertinent.engine.ahead import ahead
from pertinent.engine.loader import load, refuse
from pertinent.errors import ImageError, InputError
from pertinent.models.encoder import Encoder
from pertinent.models.views import Looks, by_size

# Among so many batches of pictures those of equal size are looked for, where sizes differ.
BATCHES = 4
# oneDNN's bfloat16 convolutions of very small maps multiply memory that nobody set by zero (seen with torch 2.15 where
# maps are 3 x 2): the result is right, unless a NaN lay there by chance. The next try mostly finds other memory; where
# none does, the batch is computed in float32.
TRIES = 5
# What torch, or a network here, says of a convolution or a pooling whose map is smaller than its kernel.
TOO_SMALL = (
    "Output size is too small",
    "Kernel size can't be greater than actual input size",
    "takes a map of at least",
)
# A processor computes so many pixels at once: what layers hand on stays near its caches, and memory is not asked for
# again and again. That takes a third off the time of sixteen pictures at 480 x 360 in a ResNet-50.
CPU_PIXELS = 2**20
Damaged = tuple[int, ImageError]


@dataclass(frozen=True)
class Extraction:
    """How embeddings are made.

    Attributes:
        encoder: used as it is; the caller puts it into evaluation mode.
        batch_size: pictures at once.
        workers: processes that decode; 0 decodes in threads of this one, ahead of the network.
        skip_damaged: pass over damaged pictures.
        precision: of the network; its embeddings are float32 all the same.
        hashed: make digests of the pictures, for one who keeps them.
    """

    encoder: Encoder
    batch_size: int
    workers: int = 0
    skip_damaged: bool = False
    precision: torch.dtype = torch.float32
    hashed: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {self.batch_size}")

    @property
    def window(self) -> int:
        """Rows among which pictures of equal size are brought together; work may begin at a multiple of it."""
        framings = self.encoder.views.framings(self.encoder.preprocess)
        return self.batch_size * (1 if all(framing.size for framing in framings) else BATCHES)

    def windows(self, table: ImageTable, rows: range) -> Iterator[Window]:
        """The rows, window by window; raises ImageError for a damaged picture unless `skip_damaged`."""
        pictures = _Views(table, self.encoder.views.looks(self.encoder.preprocess), self.hashed)
        batches = [rows[first : first + self.batch_size] for first in range(0, len(rows), self.batch_size)]
        if self.workers:
            parts = load(pictures, batches, self.workers, _join)
        else:
            parts = map(_join, ahead(pictures.__getitem__, batches, torch.get_num_threads()))
        found: list[_Part] = []
        for number, part in enumerate(parts, start=1):
            if part.damaged and not self.skip_damaged:
                refuse(part.damaged[0][1])
            found.append(part)
            if number % (self.window // self.batch_size) == 0 or number == len(batches):
                yield Window(self, table, found)
                found = []

    def vectors(self, views: Sequence[Tensor]) -> Tensor:
        """Embeddings `(B, D)` float32 on the CPU, of B pictures whose views are given."""
        at_once = len(views[0])
        if self.encoder.device.type == "cpu":
            at_once = max(1, CPU_PIXELS // max(view.shape[-2] * view.shape[-1] for view in views))
        parts = [torch.split(view, at_once) for view in views]
        return _cat([self._vectors(part) for part in zip(*parts, strict=True)])

    def _vectors(self, views: Sequence[Tensor]) -> Tensor:
        device = self.encoder.device
        pixels = [view.to(device, non_blocking=True) for view in views]
        for precision in (*[self.precision] * TRIES, torch.float32):
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                made = self.encoder.of_views(pixels).float().cpu()
            if precision == torch.float32 or made.isfinite().all():
                break
        return made


@dataclass(frozen=True)
class _Part:
    """Some pictures: those alike together, rows `(B,)` and views; digests by row; and those that could not be read."""

    alike: list[tuple[list[int], list[Tensor]]]
    digests: dict[int, bytes]
    damaged: list[Damaged]


class Window:
    """Some neighbouring rows of a table, decoded; `digests`, where wanted, has the sha256 of size and pixels."""

    def __init__(self, extraction: Extraction, table: ImageTable, parts: Sequence[_Part]) -> None:
        self.extraction, self.table, self.parts = extraction, table, parts
        self.digests = {row: digest for part in parts for row, digest in part.digests.items()}
        self.damaged: list[Damaged] = [pair for part in parts for pair in part.damaged]

    def embeddings(self, wanted: Callable[[list[int]], bool] = bool) -> Iterator[tuple[list[int], Tensor]]:
        """Rows and their embeddings, batch by batch; a batch of rows that is not wanted is passed over.

        Pictures that are too small for the network join the damaged ones.

        Raises:
            ImageError: a picture that is too small, unless `skip_damaged`.
        """
        for rows, views in self._batches():
            if not wanted(rows):
                continue
            try:
                vectors = self.extraction.vectors(views)
            except (RuntimeError, InputError) as error:
                if not any(words in str(error) for words in TOO_SMALL):
                    raise
                self._pass_over(rows, views, str(error))
                continue
            yield rows, vectors

    def _pass_over(self, rows: Sequence[int], views: Sequence[Tensor], reason: str) -> None:
        sizes = ", ".join(f"{view.shape[-1]} x {view.shape[-2]}" for view in views)
        said = f"{sizes} pixels are too few for the network ({reason})"
        damaged = [(row, ImageError(self.table.source.where(row), said)) for row in rows]
        if not self.extraction.skip_damaged:
            refuse(damaged[0][1])
        self.damaged += damaged

    def _batches(self) -> Iterator[tuple[list[int], list[Tensor]]]:
        together: dict[tuple[torch.Size, ...], list[tuple[list[int], list[Tensor]]]] = {}
        for part in self.parts:
            for rows, views in part.alike:
                together.setdefault(tuple(view.shape[1:] for view in views), []).append((rows, views))
        size = self.extraction.batch_size
        for pieces in together.values():
            every = [row for rows, _ in pieces for row in rows]
            joined = [_cat(views) for views in zip(*(views for _, views in pieces), strict=True)]
            for first in range(0, len(every), size):
                yield every[first : first + size], [view[first : first + size] for view in joined]


@dataclass(frozen=True)
class _Seen:
    """A picture: its row, its views, and the digest of what they were made of, if it is wanted."""

    row: int
    views: list[Tensor]
    digest: bytes | None


class _Views(TorchDataset["_Seen | Damaged"]):
    """The views of pictures by row; a picture that cannot be read comes back as its error."""

    def __init__(self, table: ImageTable, looks: Looks, hashed: bool) -> None:
        self.table, self.looks, self.hashed = table, looks, hashed

    def __getitem__(self, row: int) -> _Seen | Damaged:
        try:
            picture = self.table.read(row)
            return _Seen(row, self.looks(picture), _digest(picture) if self.hashed else None)
        except ImageError as error:
            return row, error


def _digest(picture: Image.Image) -> bytes:
    return hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).digest()


def _join(items: list[_Seen | Damaged]) -> _Part:
    seen = [item for item in items if isinstance(item, _Seen)]
    alike = by_size([item.views for item in seen])
    damaged = [item for item in items if not isinstance(item, _Seen)]
    together = [([seen[place].row for place in places], views) for places, views in alike]
    return _Part(together, {item.row: item.digest for item in seen if item.digest is not None}, damaged)


def _cat(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
