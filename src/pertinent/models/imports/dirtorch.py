"""Checkpoints of Deep Image Retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.functional.whitening import PrincipalComponents, Whitening
from pertinent.models.encoder import EncoderConfig
from pertinent.models.heads import PoolName
from pertinent.models.imports._imported import (
    Imported,
    channels,
    doubles,
    entries,
    left_out,
    number,
    renamed,
    tensors,
    unknown_options,
)
from pertinent.models.pyramid import PyramidName
from pertinent.models.unpickle import Stub

__all__ = ["DirtorchImporter"]

_POOLS: dict[str, PoolName] = {"max": "max", "avg": "average"}
_OPTIONS = ("arch", "out_dim", "norm_features", "pooling", "gemp", "center_bias", "dropout_p", "without_fc", "mode")
# Kept in old files, or about training only: they change nothing in the network that was saved.
_IDLE = ("scales", "pretrained", "delete_fc", "model_name", "fc_out", "self_similarity_version")
_BODY = {f"{name}.": f"backbone.network.{name}." for name in ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")}
_PYRAMID = {
    "conv1x5.": "pool.lateral.",
    "conv3c4.": "pool.smooth.",
    "adpoolx5.": "pool.coarse.",
    "adpoolc4.": "pool.fine.",
}


class DirtorchImporter:
    """Deep Image Retrieval (IJCV 2017, ICCV 2019): `.pt` files of dirtorch, with their PCA whitening."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `state_dict` with the `model_options` it was built with."""
        return "state_dict" in contents and "model_options" in contents

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; its PCA stays beside the network."""
        options = entries(contents["model_options"], "model_options")
        used = [name for name, value in options.items() if value is not None and value is not False]
        unknown_options(used, (*_OPTIONS, *_IDLE), "the network of dirtorch")
        backbone, pyramid = _architecture(options)
        state = tensors(contents["state_dict"], "state_dict")
        table = {**_BODY, **(_PYRAMID if pyramid != "none" else {"adpool.": "pool."}), "fc.": "head.linear."}
        if options.get("without_fc"):
            # The layer is in the file all the same.
            del table["fc."]
        elif "fc.weight" not in state:
            raise StorageError("the network of dirtorch lacks its last layer, fc.weight; the file is not complete")
        config = EncoderConfig(
            backbone=backbone,
            pool=_pool(str(options.get("pooling", "gem"))),
            dim=None if options.get("without_fc") else len(state["fc.weight"]),
            centre_bias=number(options.get("center_bias") or 0, "model_options: center_bias"),
            dropout=number(options.get("dropout_p") or 0, "model_options: dropout_p"),
            feature_norm=bool(options.get("norm_features")),
            pyramid=pyramid,
        )
        weights, notes = renamed(state, table), left_out(state, table)
        return Imported(config, _preprocess(contents), weights, _whitenings(contents), notes)


def _architecture(options: Mapping[str, Any]) -> tuple[str, PyramidName]:
    body, _, kind = str(options.get("arch")).partition("_")
    kinds: dict[str, PyramidName] = {"rmac": "none", "fpn_rmac": "fused", "fpn0_rmac": "concat"}
    if body not in {"resnet18", "resnet50", "resnet101", "resnet152"} or kind not in kinds:
        raise StorageError(
            f"dirtorch network {options.get('arch')!r} is not known here; known: resnet18, resnet50, resnet101 or "
            f"resnet152, followed by _{', _'.join(kinds)}"
        )
    mode = options.get("mode")
    return body, kinds[kind] if mode is None or kind == "rmac" else ("fused" if mode else "concat")


def _pool(name: str) -> PoolName:
    if name.startswith("gem"):
        return "gem"
    if name not in _POOLS:
        raise StorageError(f"dirtorch pooling {name!r} is not known here; known: gem, {', '.join(_POOLS)}")
    return _POOLS[name]


def _preprocess(contents: Mapping[str, Any]) -> Preprocess:
    numbers = channels(entries(contents.get("preprocess"), "preprocess"), "preprocess")
    return Preprocess.model_validate({"resize": None, "crop": None, **numbers})


def _whitenings(contents: Mapping[str, Any]) -> dict[str, PrincipalComponents | Whitening]:
    return {name: _whitening(pca, f"PCA {name}") for name, pca in entries(contents.get("pca"), "pca").items()}


def _whitening(pca: Any, what: str) -> PrincipalComponents | Whitening:
    values = entries(vars(pca) if isinstance(pca, Stub) else pca, what)
    old = {"means", "W"} <= set(values)
    lacking = sorted({"mean_", "components_", "explained_variance_"} - set(values))
    if lacking and not old:
        raise StorageError(f"{what} lacks {', '.join(lacking)}; it is not a fitted PCA")
    if old:
        return Whitening(doubles(values["means"], what).flatten(), doubles(values["W"], what).T)
    mean, directions = doubles(values["mean_"], what), doubles(values["components_"], what)
    if not values.get("whiten"):
        return Whitening(mean, directions)
    return PrincipalComponents(mean, directions, doubles(values["explained_variance_"], what))
