"""Checkpoints of HIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.models.encoder import EncoderConfig
from pertinent.models.imports._imported import Imported, left_out, renamed, tensors

__all__ = ["HistImporter"]

_BODY = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")


class HistImporter:
    """HIST (CVPR 2022): `*_resnet50_best.pth` files, or the state dict of their network."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `model_state_dict`, or the key of its embedding layer."""
        return "model_state_dict" in contents or "model.embedding.weight" in contents

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; the unused classifier of ImageNet is left out."""
        state = tensors(contents.get("model_state_dict", contents), "model_state_dict")
        if "model.layer3.5.conv3.weight" not in state or "model.embedding.weight" not in state:
            raise StorageError("this HIST checkpoint is no ResNet-50, the only network its authors published")
        config = EncoderConfig(
            backbone="resnet50", pool="average+max", dim=len(state["model.embedding.weight"]), layer_norm="after"
        )
        table = {f"model.{name}.": f"backbone.network.{name}." for name in _BODY}
        table["model.embedding."] = "head.linear."
        guess = "average plus maximum pooling and a LayerNorm after the last layer are taken for granted"
        notes = (guess, *left_out(state, table))
        return Imported(config, Preprocess(resize=256, crop=224), renamed(state, table), notes=notes)
