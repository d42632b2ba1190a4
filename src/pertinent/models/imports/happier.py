"""Checkpoints of HAPPIER and of those who built on its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.models.encoder import EncoderConfig
from pertinent.models.heads import PoolName
from pertinent.models.imports._imported import Imported, State, left_out, renamed, resnet_stem, tensors, with_prefix
from pertinent.models.unpickle import Stub

__all__ = ["HappierImporter"]

_POOLS: dict[str, PoolName] = {"default": "average", "avg": "average", "max": "max"}
_LAYER_NORM = "a LayerNorm before the last layer and average pooling are taken for granted"
_FRAMING = "a short side of 256 and a crop of 224 are taken for granted; on SOP the authors resize to 256 x 256"


class HappierImporter:
    """HAPPIER (ECCV 2022) and SupRank: `rolling.ckpt` and `epoch_N.ckpt` files, or the state dict of their network."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `net_state`, or keys of a numbered backbone."""
        return "net_state" in contents or with_prefix(contents, "backbone.0.weight")

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; options that its configuration does not tell are those of the paper."""
        state = tensors(contents.get("net_state", contents), "net_state")
        settings = _told(contents.get("config"))
        options = settings.get("model", {}).get("kwargs", {})
        # Where the configuration is there, what it leaves out has the value that the code gives it.
        layer_norm = str(options.get("norm_features", not options)).lower() == "true"
        config = EncoderConfig(
            backbone=_backbone(state),
            pool=_pool(options.get("pooling", "default")),
            dim=len(state["fc.weight"]) if "fc.weight" in state else None,
            layer_norm="before" if layer_norm else "none",
        )
        framing = settings.get("transform", {}).get("test", {})
        table = {**resnet_stem("backbone."), "fc.": "head.linear."}
        guesses = [said for said, known in ((_LAYER_NORM, options), (_FRAMING, framing)) if not known]
        notes = (*guesses, *left_out(state, table))
        return Imported(config, _preprocess(framing), renamed(state, table), notes=notes)


def _backbone(state: State) -> str:
    # Blocks of the third stage tell the depth, their third convolution the kind.
    blocks = {key.split(".")[2] for key in state if key.startswith("backbone.6.")}
    known = {(6, False): "resnet34", (6, True): "resnet50", (2, False): "resnet18", (23, True): "resnet101"}
    kind = (len(blocks), "backbone.6.0.conv3.weight" in state)
    if kind not in known:
        raise StorageError(f"the backbone of this HAPPIER checkpoint is not a ResNet known here ({len(blocks)} blocks)")
    return known[kind]


def _pool(pooling: object) -> PoolName:
    name = str(pooling.get("name") if isinstance(pooling, dict) else pooling)
    if name not in _POOLS:
        raise StorageError(f"HAPPIER pooling {name!r} is not known here; known: {', '.join(_POOLS)}")
    return _POOLS[name]


def _preprocess(framing: Mapping[str, Any]) -> Preprocess:
    """Of the transforms of a configuration, in which torchvision's names stand with their arguments."""
    if not framing:
        return Preprocess(resize=256, crop=224)
    numbers = framing.get("Normalize", {})
    sizes = {"resize": framing.get("Resize", {}).get("size"), "crop": framing.get("CenterCrop", {}).get("size")}
    return Preprocess.model_validate({**sizes, **{name: numbers[name] for name in ("mean", "std") if name in numbers}})


def _told(node: object) -> Any:
    """A configuration of omegaconf, or a part of it, in plain values."""
    content = getattr(node, "_content", getattr(node, "_val", None)) if isinstance(node, Stub) else node
    if isinstance(content, Mapping):
        return {str(key): _told(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_told(value) for value in content]
    return {} if content is None else content
