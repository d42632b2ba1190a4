"""What is done to a feature map before it is pooled."""

from __future__ import annotations

from torch import Tensor, nn

from pertinent.functional.centre_bias import centre_bias


class Prepare(nn.Module):
    """Dropout, more weight in the middle, one linear layer at every place; `(B, C, H, W)` as given.

    Args:
        dropout: share of the numbers that training sets to 0.
        bias: added weight of the middle, see `centre_bias`.
        channels: C of the map, for the linear layer, which is cirtorch's local whitening; None does without it.
    """

    def __init__(self, dropout: float = 0.0, bias: float = 0.0, channels: int | None = None) -> None:
        super().__init__()
        self.dropout, self.bias = nn.Dropout(dropout), bias
        self.local = nn.Linear(channels, channels) if channels is not None else None

    def forward(self, features: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C, H, W)`."""
        features = self.dropout(features)
        if self.bias:
            features = centre_bias(features, self.bias)
        return features if self.local is None else self.local(features.movedim(1, -1)).movedim(-1, 1)
