"""Checkpoints of HIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.models.encoder import EncoderConfig
from pertinent.models.imports._imported import Imported, State, left_out, renamed, tensors, with_prefix

__all__ = ["HistImporter"]

# A key that only this network has, and how its parts are called.
_NETWORKS = {
    "resnet50": ("model.layer3.5.conv3.weight", ("conv1.", "bn1.", "layer")),
    "googlenet": ("model.inception5b.branch4.1.conv.weight", ("conv", "inception")),
    "bninception": ("model.inception_5b_pool_proj.weight", ("conv", "inception_")),
}


class HistImporter:
    """HIST (CVPR 2022): `DATA_NETWORK_best.pth` of its ResNet-50, BN-Inception and GoogLeNet, or their state dicts."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `model_state_dict`, or the key of its embedding layer."""
        return "model_state_dict" in contents or with_prefix(contents, "model.embedding.weight")

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; the classifiers of ImageNet and the weights of the loss are left out."""
        state = tensors(contents.get("model_state_dict", contents), "model_state_dict")
        network = _network(state)
        config = EncoderConfig(
            backbone=network, pool="average+max", dim=len(state["model.embedding.weight"]), layer_norm="after"
        )
        table = {f"model.{part}": f"backbone.network.{part}" for part in _NETWORKS[network][1]}
        table["model.embedding."] = "head.linear."
        guess = "average plus maximum pooling and a LayerNorm after the last layer are taken for granted"
        entries = {key: None for key in contents if key != "model_state_dict"} if "model_state_dict" in contents else {}
        notes = (guess, *left_out({**state, **entries}, table))
        return Imported(config, Preprocess(resize=256, crop=224), renamed(state, table), notes=notes)


def _network(state: State) -> str:
    found = [network for network, (key, _) in _NETWORKS.items() if key in state]
    if not found or "model.embedding.weight" not in state:
        raise StorageError(
            "this HIST checkpoint is none of the networks of its authors: ResNet-50, BN-Inception, GoogLeNet"
        )
    return found[0]
