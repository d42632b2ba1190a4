"""Our losses in Lightning's loop: they are plain modules, so nothing is needed but to call them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from pertinent.losses import ClusterLoss, HAPLoss

lightning = pytest.importorskip("lightning", reason="lightning is not installed")
# Lightning warns of its own use of torch, and of how small a test is.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_lightning_trains_with_two_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    fine = torch.arange(6).repeat_interleave(4)
    x = torch.randn(6, 12, generator=generator)[fine] + torch.randn(24, 12, generator=generator)
    labels = torch.stack([fine, fine % 2], dim=1)

    class Task(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(12, 8)
            self.rank, self.cluster = HAPLoss(), ClusterLoss(6, 8)

        def loss(self, pixels: Tensor, labels: Tensor) -> Tensor:
            embeddings = nn.functional.normalize(self.net(pixels))
            return 0.9 * self.rank(embeddings, labels) + 0.1 * self.cluster(embeddings, labels)

        def training_step(self, batch: list[Tensor], _: int) -> Tensor:
            return self.loss(*batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=0.02)

    task = Task()
    before = task.loss(x, labels).item()
    trainer = lightning.Trainer(
        max_epochs=30,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, DataLoader(TensorDataset(x, labels), batch_size=24))
    assert task.loss(x, labels).item() < before
