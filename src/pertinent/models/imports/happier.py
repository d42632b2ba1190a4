"""Checkpoints of HAPPIER and of those who built on its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.models.encoder import EncoderConfig
from pertinent.models.imports._imported import Imported, State, left_out, renamed, resnet_stem, tensors
from pertinent.models.unpickle import Stub

__all__ = ["HappierImporter"]


class HappierImporter:
    """HAPPIER (ECCV 2022) and SupRank: `rolling.ckpt` and `epoch_N.ckpt` files, or the state dict of their network."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `net_state`, or keys of a numbered backbone."""
        return "net_state" in contents or "backbone.0.weight" in contents

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; options that its configuration does not tell are those of the paper."""
        state = tensors(contents.get("net_state", contents), "net_state")
        stated = _options(contents.get("config"))
        config = EncoderConfig(
            backbone=_backbone(state),
            pool="max" if stated.get("pooling") == "max" else "average",
            dim=len(state["fc.weight"]) if "fc.weight" in state else None,
            layer_norm="before" if stated.get("norm_features", True) else "none",
        )
        told = "norm_features" in stated
        guess = () if told else ("a LayerNorm before the last layer and average pooling are taken for granted",)
        table = {**resnet_stem("backbone."), "fc.": "head.linear."}
        notes = (*guess, *left_out(state, table))
        return Imported(config, Preprocess(resize=256, crop=224), renamed(state, table), notes=notes)


def _backbone(state: State) -> str:
    # Blocks of the third stage tell the depth, their third convolution the kind.
    blocks = {key.split(".")[2] for key in state if key.startswith("backbone.6.")}
    known = {(6, False): "resnet34", (6, True): "resnet50", (2, False): "resnet18", (23, True): "resnet101"}
    kind = (len(blocks), "backbone.6.0.conv3.weight" in state)
    if kind not in known:
        raise StorageError(f"the backbone of this HAPPIER checkpoint is not a ResNet known here ({len(blocks)} blocks)")
    return known[kind]


def _options(config: object) -> dict[str, Any]:
    """`model.kwargs` of the configuration in a checkpoint, as far as it can be read."""
    kwargs = _plain(_plain(_plain(config).get("model")).get("kwargs"))
    return {key: getattr(node, "_val", node) for key, node in kwargs.items()}


def _plain(node: object) -> dict[str, Any]:
    content = getattr(node, "_content", None) if isinstance(node, Stub) else node
    return dict(content) if isinstance(content, Mapping) else {}
