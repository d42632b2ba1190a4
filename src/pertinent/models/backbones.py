"""Any timm network as a feature map (B, C, H, W), with weights from timm or from a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pertinent.errors import InputError, StorageError, UnknownNameError


class Backbone(nn.Module):
    """A timm network without its classifier; maps `(B, 3, H, W)` pixels to a `(B, C, h, w)` feature map.

    Networks of tokens (transformers) give their patch tokens as a map of height 1; those that keep channels last
    are turned round, so that every pooling works on every network.
    """

    def __init__(self, name: str, options: dict[str, Any] | None = None, pretrained: bool = False) -> None:
        super().__init__()
        import timm

        if name not in timm.list_models():
            base = name.split(".", maxsplit=1)[0]
            if base not in timm.list_models():
                raise UnknownNameError("timm backbone", name, timm.list_models())
        try:
            self.network: nn.Module = timm.create_model(
                name, pretrained=pretrained, num_classes=0, global_pool="", **(options or {})
            )
        except OSError as error:
            raise StorageError(
                f"the pretrained weights of {name} cannot be fetched: {error}; connect to the network, or name a local "
                "file with model.pretrained=FILE"
            ) from error
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            raise InputError(f"timm cannot build {name} with options {options or {}}: {error}") from error
        self.name = name
        self.channels = int(self.network.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Feature map `(B, C, h, w)`."""
        features: Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        if features.ndim == 3:
            prefix = int(getattr(self.network, "num_prefix_tokens", 0))
            return features[:, prefix:].transpose(1, 2).unsqueeze(2)
        if features.shape[1] != self.channels and features.shape[-1] == self.channels:
            return features.permute(0, 3, 1, 2)
        return features

    def load_weights(self, path: Path) -> None:
        """Load a local state dict (`.safetensors`, or `.pth`/`.pt` read with `weights_only`); a classifier is left out.

        Raises:
            StorageError: the file is missing, cannot be read, or does not fit the network.
        """
        state = _read_state(path)
        own = self.network.state_dict()
        missing = sorted(set(own) - set(state))
        shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
        strange = sorted(key for key in set(state) - set(own) if not _is_classifier(key))
        if missing or shapes or strange:
            parts = [("missing", missing), ("of another shape", shapes), ("unexpected", strange)]
            detail = "; ".join(f"{len(keys)} {word} ({', '.join(keys[:3])})" for word, keys in parts if keys)
            raise StorageError(f"{path} does not fit {self.name}: {detail}; check backbone and backbone_options")
        self.network.load_state_dict({key: state[key].to(own[key].dtype) for key in own})


def _is_classifier(key: str) -> bool:
    return key.split(".", maxsplit=1)[0] in {"classifier", "fc", "head", "last_linear", "head_dist"}


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise StorageError(f"weights file {path} does not exist; check model.pretrained")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise StorageError(f"weights file {path} cannot be read: {error}") from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StorageError(f"weights file {path} does not hold a state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
