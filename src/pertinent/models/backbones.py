"""Any timm network as a feature map (B, C, H, W) or pooled its own way, with weights from timm or a local file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.models import classic


class Backbone(nn.Module):
    """A timm network without its classifier; maps `(B, 3, H, W)` pixels to a `(B, C, h, w)` feature map.

    Networks of tokens (transformers) give their patch tokens as a map of height 1; those that keep channels last
    are turned round, so that every pooling works on every map.

    Args:
        name: a timm model, or a network of `classic.NAMES`.
        options: further arguments of the model; `last_pool=False` takes the last pooling of VGG and AlexNet away.
        pretrained: take timm's own weights.
        pooled: give what timm's own pooling makes of the map instead, `(B, C)`: a class token, an average, attention,
            with the norms and layers that come after it.

    Raises:
        UnknownNameError: no such model.
        InputError: options that the model does not take, or no feature map to pool.
        StorageError: weights that cannot be fetched.
    """

    def __init__(
        self, name: str, options: dict[str, Any] | None = None, pretrained: bool = False, pooled: bool = False
    ) -> None:
        super().__init__()
        import timm

        known = [*timm.list_models(), *classic.NAMES]
        if name not in known and name.split(".", maxsplit=1)[0] not in known:
            raise UnknownNameError("timm backbone", name, known)
        try:
            self.network = _network(name, dict(options or {}), pretrained)
        except OSError as error:
            raise StorageError(
                f"the pretrained weights of {name} cannot be fetched: {error}; connect to the network, name a local "
                "file with model.pretrained=FILE, or start from nothing with model.pretrained=false"
            ) from error
        except (TypeError, AssertionError, RuntimeError, ValueError) as error:
            raise InputError(f"timm cannot build {name} with options {options or {}}: {error}") from error
        self.name, self.pooled = name, pooled
        if not pooled and not isinstance(getattr(self.network, "fc_norm", None), nn.Identity | None):
            # Its tokens are not normalised before they are pooled, so any other pooling would lose a trained layer.
            raise InputError(f"{name} normalises its features after its own pooling; set model.pool=own")
        width = getattr(self.network, "head_hidden_size", None) if pooled else None
        self.channels = int(width or self.network.num_features)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """Feature map `(B, C, h, w)`, or `(B, C)` when `pooled`."""
        if self.pooled:
            embedding: Tensor = self.network(pixels)
            return embedding
        features: Tensor = self.network.forward_features(pixels)  # type: ignore[operator]
        if not isinstance(features, Tensor):
            raise InputError(f"{self.name} has no single feature map; set model.pool=own")
        if features.ndim == 3:
            return features[:, self._prefix(features.shape[1]) :].transpose(1, 2).unsqueeze(2)
        if features.shape[1] != self.channels and features.shape[-1] == self.channels:
            return features.permute(0, 3, 1, 2)
        return features

    @property
    def fine_channels(self) -> int:
        """Channels of the map before the last one.

        Raises:
            InputError: the network does not show its inner maps.
        """
        stages = getattr(self.network, "feature_info", None)
        if not isinstance(stages, list) or len(stages) < 2 or not hasattr(self.network, "forward_intermediates"):
            raise InputError(f"{self.name} does not show the map before its last one; set model.pyramid=none")
        return int(stages[-2]["num_chs"])

    def last_maps(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """The map before the last one, `(B, C', h', w')`, and the last one, `(B, C, h, w)`."""
        fine, coarse = self.network.forward_intermediates(pixels, indices=2, intermediates_only=True)  # type: ignore[operator]
        return fine, coarse

    def _prefix(self, tokens: int) -> int:
        """How many tokens stand before the patches; a network that gives nothing but those is pooled over them."""
        alone = int(getattr(self.network, "cls_token", None) is not None)
        prefix = int(getattr(self.network, "num_prefix_tokens", alone))
        return prefix if tokens > prefix else 0

    def load_weights(self, path: Path) -> None:
        """Load a local state dict (`.safetensors`, or `.pth`/`.pt` read with `weights_only`); a classifier is left out.

        Raises:
            StorageError: the file is missing, cannot be read, or does not fit the network.
        """
        state = _read_state(path)
        if hasattr(self.network, "own_keys"):
            state = self.network.own_keys(state)  # type: ignore[operator]
        own = self.network.state_dict()
        # Files of torch before 0.4.1 do not count batches, and nothing here does.
        state = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")} | state
        missing = sorted(set(own) - set(state))
        shapes = [key for key in own if key in state and own[key].shape != state[key].shape]
        strange = sorted(key for key in set(state) - set(own) if not _is_classifier(key))
        if missing or shapes or strange:
            parts = [("missing", missing), ("of another shape", shapes), ("unexpected", strange)]
            detail = "; ".join(f"{len(keys)} {word} ({', '.join(keys[:3])})" for word, keys in parts if keys)
            raise StorageError(f"{path} does not fit {self.name}: {detail}; check backbone and backbone_options")
        self.network.load_state_dict({key: state[key].to(own[key].dtype) for key in own})


def _network(name: str, options: dict[str, Any], pretrained: bool) -> nn.Module:
    import timm

    if name in classic.NAMES:
        return classic.classic_network(name, pretrained, **options)
    last_pool = options.pop("last_pool", True)
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    return network if last_pool else classic.without_last_pool(network)


def _is_classifier(key: str) -> bool:
    return key.split(".", maxsplit=1)[0] in {"classifier", "fc", "head", "last_linear", "head_dist", "AuxLogits"}


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
