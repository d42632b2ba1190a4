"""Cross-batch memory: embeddings of past batches as further items to rank (Wang et al., CVPR 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Memory(nn.Module):
    """The last `size` embeddings and their labels, the oldest overwritten first.

    They carry no gradient and are as old as they are: start when the network no longer changes fast. Every process of
    a world adds the whole batch in the same order, so all hold the same.

    Args:
        size: embeddings to keep; 0 keeps none.
        dim: width D of an embedding.
        labels: any rows of labels, to know their shape and type.
    """

    embeddings: Tensor
    labels: Tensor
    added: Tensor

    def __init__(self, size: int, dim: int, labels: Tensor) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", labels.new_zeros(size, *labels.shape[1:]))
        self.register_buffer("added", torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return min(int(self.added), self.size)

    def items(self) -> tuple[Tensor, Tensor]:
        """What is kept: embeddings `(M, D)` and labels `(M, ...)`."""
        return self.embeddings[: len(self)], self.labels[: len(self)]

    @torch.no_grad()
    def add(self, embeddings: Tensor, labels: Tensor) -> None:
        """Keep a batch; of one larger than the memory its last rows."""
        if not self.size:
            return
        self.embeddings = self.embeddings.to(embeddings.dtype)
        kept = min(len(embeddings), self.size)
        places = (int(self.added) + torch.arange(len(embeddings) - kept, len(embeddings))) % self.size
        self.embeddings[places] = embeddings[-kept:].detach()
        self.labels[places] = labels[-kept:]
        self.added += len(embeddings)
