"""Checkpoints of cnnimageretrieval-pytorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertinent.data.transforms import Preprocess
from pertinent.errors import StorageError
from pertinent.functional.whitening import Whitening
from pertinent.models.encoder import EncoderConfig
from pertinent.models.heads import PoolName
from pertinent.models.imports._imported import (
    Imported,
    State,
    channels,
    doubles,
    entries,
    left_out,
    renamed,
    resnet_stem,
    tensors,
)
from pertinent.models.views import Views

__all__ = ["CirtorchImporter"]

_POOLS: dict[str, PoolName] = {
    "mac": "max",
    "spoc": "average",
    "gem": "gem",
    "gemmp": "gem-per-channel",
    "rmac": "max",
}
# What its authors do to pictures before evaluation.
_SHRINK = "Scale(1024, interpolation='lanczos', largest=True, can_upscale=False)"
_DENSENET = {0: "conv0", 1: "norm0", 11: "norm5", **{2 * n + 2: f"denseblock{n}" for n in (1, 2, 3, 4)}}
_DENSENET |= {2 * n + 3: f"transition{n}" for n in (1, 2, 3)}


class CirtorchImporter:
    """CNN Image Retrieval in PyTorch (TPAMI 2018): `.pth` files of cirtorch, with their supervised whitenings."""

    def recognises(self, contents: Mapping[str, Any]) -> bool:
        """A `state_dict` with a `meta` that names the architecture."""
        meta = contents.get("meta")
        return "state_dict" in contents and isinstance(meta, Mapping) and "architecture" in meta

    def read(self, contents: Mapping[str, Any]) -> Imported:
        """Translate a checkpoint; whitenings are named `DATASET/ss` for one scale and `DATASET/ms` for several."""
        meta = contents["meta"]
        state = tensors(contents["state_dict"], "state_dict")
        pooling, regional = str(meta.get("pooling")), bool(meta.get("regional", False))
        if pooling not in _POOLS or (regional and pooling == "rmac"):
            raise StorageError(f"cirtorch pooling {pooling!r}{' of regions' * regional} is not known here")
        architecture = str(meta["architecture"])
        config = EncoderConfig(
            backbone=architecture,
            backbone_options={"last_pool": False} if architecture.startswith(("alexnet", "vgg")) else {},
            pool=_POOLS[pooling],
            regions="linear" if regional else ("plain" if pooling == "rmac" else "none"),
            local_linear=bool(meta.get("local_whitening", False)),
            feature_norm=True,
            dim=len(state["whiten.weight"]) if meta.get("whitening") else None,
        )
        table = {
            **_features(architecture),
            **({"pool.rpool.": "pool.pool.", "pool.whiten.": "pool.linear."} if regional else {"pool.": "pool."}),
            "lwhiten.": "prepare.local.",
            "whiten.": "head.linear.",
        }
        numbers = channels(meta, "meta")
        preprocess = Preprocess.model_validate({"resize": None, "crop": None, "words": _SHRINK, **numbers})
        return Imported(
            config,
            preprocess,
            renamed(state, table),
            _whitenings(entries(meta.get("Lw"), "Lw in meta")),
            left_out(state, table),
            _views(config, state),
        )


def _views(config: EncoderConfig, state: State) -> Views:
    """Its authors merge scales by the power that GeM learned, or by the mean where a layer of numbers follows."""
    if config.pool == "gem" and config.regions == "none" and config.dim is None:
        power = float(state["pool.p"].flatten()[0])
        if not power > 0:
            raise StorageError(f"pool.p must be above 0, got {power:g}; the file is not what its authors published")
        return Views(merge="power", p=power)
    return Views(merge="mean")


def _features(architecture: str) -> dict[str, str]:
    if architecture.startswith("resnet"):
        return resnet_stem("features.")
    if architecture.startswith("densenet"):
        return {f"features.{number}.": f"backbone.network.features.{name}." for number, name in _DENSENET.items()}
    if architecture.startswith(("alexnet", "vgg", "squeezenet")):
        return {"features.": "backbone.network.features."}
    raise StorageError(
        f"cirtorch network {architecture!r} is not known here; known: alexnet, vgg, resnet, densenet, squeezenet"
    )


def _whitenings(stored: Mapping[str, Any]) -> dict[str, Whitening]:
    # One scale first: it is what an encoder gives for a picture.
    found: dict[str, Whitening] = {}
    for scales in ("ss", "ms"):
        for data, sizes in stored.items():
            if scales in (known := entries(sizes, f"Lw {data} in meta")):
                name = f"{data}/{scales}"
                parts = entries(known[scales], f"whitening {name}")
                mean = doubles(parts["m"], f"whitening {name}").flatten()
                found[name] = Whitening(mean, doubles(parts["P"], f"whitening {name}"))
    return found
