"""Checkpoints of HyP2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pertinent.data.transforms import Preprocess
from pertinent.models.encoder import EncoderConfig
from pertinent.models.imports._imported import Imported, State, left_out, renamed, tensors

__all__ = ["Hyp2Importer"]

_DENSE = {"hash_layer.1.": "backbone.network.hidden.1.", "hash_layer.4.": "backbone.network.hidden.4."}
# The network of the code called googlenet is Inception-v3; its own input is around .5, whatever the data loader does.
_HALF = (0.5, 0.5, 0.5)


class Hyp2Importer:
    """HyP2 (ACM MM 2022): `.ckpt` state dicts of its AlexNet and its Inception-v3; a code is the sign of the output."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """The keys of a hash layer, or of Inception-v3."""
        keys = {str(key).removeprefix("module.") for key in contents}
        return "hash_layer.6.weight" in keys or {"Mixed_7c.branch1x1.conv.weight", "fc.weight"} <= keys

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a state dict; the second classifier of Inception-v3, which only training uses, is left out."""
        state = tensors(contents, "the file")
        return _alexnet(state) if "hash_layer.6.weight" in state else _inception(state)


def _alexnet(state: State) -> Imported:
    table = {"features.": "backbone.network.features.", **_DENSE, "hash_layer.6.": "head.linear."}
    config = EncoderConfig(
        backbone="alexnet",
        backbone_options={"dense": True},
        dim=len(state["hash_layer.6.weight"]),
        normalise=False,
    )
    # The two hidden layers are convolutions here: the same numbers in another shape.
    shaped = {key: _as_convolution(key, value) for key, value in renamed(state, table).items()}
    return Imported(config, Preprocess(resize=(224, 224), crop=None), shaped, notes=left_out(state, table))


def _as_convolution(key: str, value: Tensor) -> Tensor:
    if key == "backbone.network.hidden.1.weight":
        return value.reshape(len(value), 256, 6, 6)
    return value[:, :, None, None] if key == "backbone.network.hidden.4.weight" else value


def _inception(state: State) -> Imported:
    config = EncoderConfig(backbone="inception_v3", dim=len(state["fc.weight"]), normalise=False)
    body = {key for key in state if not key.startswith(("fc.", "AuxLogits."))}
    table = {**{key: f"backbone.network.{key}" for key in body}, "fc.": "head.linear."}
    preprocess = Preprocess(resize=(448, 448), crop=None, mean=_HALF, std=_HALF)
    return Imported(config, preprocess, renamed(state, table), notes=left_out(state, table))
