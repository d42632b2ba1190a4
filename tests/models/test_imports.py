from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from official_files import PIXELS, body, fill, linear, no_start, resnet, same, state, write
from torch import Tensor, nn
from torch.nn.functional import normalize

from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.models.encoder import Encoder
from pertinent.models.imports import IMPORTS
from pertinent.models.official import convert
from pertinent.models.views import Views

__all__ = ["no_start"]


def gem(features: Tensor, p: float) -> Tensor:
    return features.clamp(min=1e-6).pow(p).mean(dim=(2, 3)).pow(1 / p)


# dirtorch --------------------------------------------------------------------------------------------------------


def dirtorch_contents(**options: Any) -> tuple[dict[str, Any], nn.Sequential, nn.Linear]:
    network, features = resnet("resnet18")
    last = linear(16, 512)
    weights = {**body(network), "adpool.p": torch.tensor([2.5]), **state(last, "fc.")}
    contents = {
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
        "model_options": {"arch": "resnet18_rmac", "out_dim": 16, "pooling": "gem", "gemp": 3, **options},
        "preprocess": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3], "input_size": 224},
        "iter": 12,
    }
    return contents, features, last


def pca(monkeypatch: pytest.MonkeyPatch, whiten: bool = True) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """A fitted PCA of a scikit-learn of long ago, at the place where its class was."""
    kind = type("PCA", (), {"__module__": "sklearn.decomposition.pca", "__qualname__": "PCA"})
    place = types.ModuleType("sklearn.decomposition.pca")
    place.PCA = kind  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sklearn.decomposition.pca", place)
    rng = np.random.default_rng(0)
    mean, components = rng.normal(size=16), np.linalg.qr(rng.normal(size=(16, 16)))[0][:12]
    variances = np.sort(rng.uniform(0.1, 2, 12))[::-1].copy()
    thing = kind()
    vars(thing).update(mean_=mean, components_=components, explained_variance_=variances, whiten=whiten)
    return thing, mean, components, variances


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(("power", "dim"), [(None, None), (0.5, 5), (0.0, 12)])
def test_dirtorch_with_its_whitening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool, power, dim):
    contents, features, last = dirtorch_contents()
    contents["pca"], mean, components, variances = {}, *pca(monkeypatch)[1:]
    contents["pca"]["Landmarks_clean"] = pca(monkeypatch)[0]
    path = write(contents, tmp_path / "f.pt", _use_new_zipfile_serialization=zipped)
    done = convert(path, power=power, dim=dim)
    assert (done.origin, done.whitening, done.others) == ("dirtorch", "Landmarks_clean", ())
    with torch.no_grad():
        want = normalize(last(gem(features(PIXELS), 2.5)), dim=1)
        same(done.encoder.descriptors(PIXELS), want)
        centred = (
            (want.double().numpy() - mean) @ components[:dim].T / variances[:dim] ** (0.25 if power is None else power)
        )
        same(done.encoder(PIXELS).double(), torch.from_numpy(centred / np.linalg.norm(centred, axis=1, keepdims=True)))
    assert done.encoder.preprocess.mean == (0.4, 0.5, 0.6)
    assert (done.encoder.preprocess.resize, done.encoder.preprocess.crop) == (None, None)


def test_dirtorch_other_forms_of_whitening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents, _, _ = dirtorch_contents()
    thing, mean, components, _ = pca(monkeypatch, whiten=False)
    contents["pca"] = {"plain": thing, "old": {"means": mean[None], "W": components.T.copy()}}
    path = write(contents, tmp_path / "f.pt")
    plain, old = convert(path), convert(path, whiten="old")
    assert (plain.whitening, plain.others, old.whitening) == ("plain", ("old",), "old")
    with torch.no_grad():
        same(plain.encoder(PIXELS), old.encoder(PIXELS))
    assert convert(path, whiten="old", dim=3).encoder.dim == 3
    with pytest.raises(InputError, match="whitening plain holds no variances, so whitenp has no effect"):
        convert(path, power=0.5)
    with pytest.raises(InputError, match="whitenv must be 1 to 12, got 13"):
        convert(path, dim=13)
    with pytest.raises(UnknownNameError, match="unknown whitening of this file 'plane'; did you mean 'plain'"):
        convert(path, whiten="plane")
    with pytest.raises(InputError, match="none goes inside; leave them out"):
        convert(path, whiten="none", dim=4)


@pytest.mark.parametrize(
    ("options", "pooled"),
    [
        ({"pooling": "max"}, lambda x: x.amax(dim=(2, 3))),
        ({"pooling": "avg"}, lambda x: x.mean(dim=(2, 3))),
        ({"norm_features": True}, lambda x: normalize(gem(x, 2.5), dim=1)),
        ({"scales": [1, 0.5], "dropout_p": 0.3, "self_similarity_radius": None}, lambda x: gem(x, 2.5)),
    ],
)
def test_dirtorch_options(tmp_path: Path, options: dict[str, Any], pooled):
    contents, features, last = dirtorch_contents(**options)
    if "pooling" in options:
        del contents["state_dict"]["module.adpool.p"]
    encoder = convert(write(contents, tmp_path / "f.pt")).encoder
    with torch.no_grad():
        same(encoder(PIXELS), normalize(last(pooled(features(PIXELS))), dim=1))


def test_dirtorch_without_its_last_layer(tmp_path: Path):
    contents, features, _ = dirtorch_contents(without_fc=True)
    done = convert(write(contents, tmp_path / "f.pt"))
    with torch.no_grad():
        same(done.encoder(PIXELS), normalize(gem(features(PIXELS), 2.5), dim=1))
    assert done.notes == ("left out, since the embedding does not use them: fc.weight, fc.bias",)


def test_files_before_batches_were_counted(tmp_path: Path):
    contents, _, _ = dirtorch_contents()
    path, old = write(contents, tmp_path / "f.pt"), dict(contents)
    counted = {key: value for key, value in old["state_dict"].items() if not key.endswith("num_batches_tracked")}
    older = write({**old, "state_dict": counted}, tmp_path / "g.pt")
    assert convert(path).encoder.fingerprint() == convert(older).encoder.fingerprint()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arch": "resnext101_rmac"}, r"f\.pt: dirtorch network 'resnext101_rmac' is not known here"),
        ({"pooling": "median"}, "dirtorch pooling 'median' is not known here; known: gem, max, avg"),
        ({"self_similarity_radius": 3}, "options that are not known here: self_similarity_radius"),
        ({"arch": "resnet50_rmac"}, r"does not fill its own network: 165 missing .*of another shape"),
    ],
)
def test_dirtorch_that_is_not_known(tmp_path: Path, options: dict[str, Any], said: str):
    contents, _, _ = dirtorch_contents(**options)
    with pytest.raises(StorageError, match=said):
        convert(write(contents, tmp_path / "f.pt"))


def test_dirtorch_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents, _, _ = dirtorch_contents()
    thing = pca(monkeypatch)[0]
    for changes, said in [
        ({"state_dict": {"a": 3}}, "state_dict is not a state dict of tensors"),
        ({"state_dict": {}}, r"lacks its last layer, fc\.weight"),
        (
            {"model_options": 3},
            r"model_options must name values, got int 3; the file is not what its authors published",
        ),
        ({"model_options": ["resnet18"]}, r"model_options must name values, got list \['resnet18'\]"),
        (
            {"model_options": {**contents["model_options"], "center_bias": "big"}},
            "model_options: center_bias must be a number, got str 'big'; the file is not",
        ),
        ({"pca": [thing]}, "pca must name values, got list"),
        ({"pca": {"x": 3}}, "PCA x must name values, got int 3"),
        ({"pca": {"x": {"mean_": np.zeros(3)}}}, "PCA x lacks components_, explained_variance_"),
        ({"pca": {"x": {"means": np.full(3, np.nan), "W": np.eye(3)}}}, "PCA x is not an array of finite numbers"),
        (
            {"preprocess": {"mean": [1, 2]}},
            r"mean of preprocess must be three numbers, got list \[1, 2\]; the file is not",
        ),
        ({"preprocess": {"std": [1, 2, "x"]}}, "std of preprocess must be a number, got str 'x'"),
        ({"preprocess": "none"}, "preprocess must name values, got str 'none'"),
    ]:
        with pytest.raises(StorageError, match=said):
            convert(write({**contents, "pca": {"a": thing}, **changes}, tmp_path / "f.pt"))


def test_a_converted_encoder_is_an_ordinary_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents, _, _ = dirtorch_contents(center_bias=0.2)
    contents["pca"] = {"Landmarks_clean": pca(monkeypatch)[0]}
    encoder = convert(write(contents, tmp_path / "f.pt")).encoder
    encoder.save(tmp_path / "e")
    read = Encoder.load(tmp_path / "e")
    assert read.fingerprint() == encoder.fingerprint()
    assert read.origin == encoder.origin
    assert read.origin is not None
    assert (read.origin["system"], read.origin["file"]) == ("dirtorch", "f.pt")
    assert read.dim == 12
    torch.testing.assert_close(read.embed([*PIXELS]), encoder.embed([*PIXELS]))


# cirtorch --------------------------------------------------------------------------------------------------------


def l2n(x: Tensor) -> Tensor:
    return x / (x.norm(dim=1, keepdim=True) + 1e-6)


def test_cirtorch_with_its_layers_and_whitenings(tmp_path: Path):
    _, features = resnet("resnet18")
    local, last = linear(512, 512, 6), linear(512, 512, 7)
    rng = np.random.default_rng(0)
    parts = {scales: {"m": rng.normal(size=(512, 1)) / 30, "P": rng.normal(size=(6, 512))} for scales in ("ss", "ms")}
    contents = {
        "meta": {
            "architecture": "resnet18",
            "pooling": "gem",
            "local_whitening": True,
            "whitening": True,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "outputdim": 512,
            "Lw": {"retrieval-SfM-120k": parts},
        },
        "state_dict": {
            **state(features, "features."),
            **state(local, "lwhiten."),
            "pool.p": torch.tensor([2.9]),
            **state(last, "whiten."),
        },
        "epoch": 3,
    }
    done = convert(write(contents, tmp_path / "f.pth"))
    assert (done.origin, done.whitening, done.others) == (
        "cirtorch",
        "retrieval-SfM-120k/ss",
        ("retrieval-SfM-120k/ms",),
    )
    with torch.no_grad():
        whitened = local(features(PIXELS).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        want = l2n(last(l2n(gem(whitened, 2.9))))
        same(done.encoder.descriptors(PIXELS), want)
        projected = (want.double().numpy() - parts["ss"]["m"].T) @ parts["ss"]["P"].T
        same(done.encoder(PIXELS).double(), l2n(torch.from_numpy(projected)))


def cirtorch_scales(encoder: Encoder, pixels: Tensor, power: float) -> Tensor:
    """What its authors make of three scales: the mean of powers, its root, length 1."""
    made = 0
    for scale in (1, 2**-0.5, 0.5):
        view = pixels if scale == 1 else nn.functional.interpolate(pixels, scale_factor=scale, mode="bilinear")
        made = made + encoder.descriptors(view) ** power
    merged = (made / 3) ** (1 / power)
    return merged / merged.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("pooling", "whitened", "views"),
    [
        ("gem", False, Views(merge="power", p=2.5)),
        ("gem", True, Views(merge="mean")),
        ("mac", False, Views(merge="mean")),
    ],
)
def test_cirtorch_merges_scales_as_its_authors_do(tmp_path: Path, pooling: str, whitened: bool, views: Views):
    _, features = resnet("resnet18")
    contents = {
        "meta": {"architecture": "resnet18", "pooling": pooling, "whitening": whitened},
        "state_dict": {
            **state(features, "features."),
            **({"pool.p": torch.tensor([2.5])} if pooling == "gem" else {}),
            **(state(linear(6, 512, 7), "whiten.") if whitened else {}),
        },
    }
    convert(write(contents, tmp_path / "f.pth")).encoder.save(tmp_path / "enc")
    encoder = Encoder.load(tmp_path / "enc")
    assert encoder.views == views
    with torch.no_grad():
        same(encoder.of_views([PIXELS]), encoder(PIXELS))
        encoder.views = views.model_copy(update={"scales": (1, 2**-0.5, 0.5)})
        same(encoder.of_views([PIXELS]), cirtorch_scales(encoder, PIXELS, views.p if views.merge == "power" else 1))


@pytest.mark.parametrize("name", ["vgg11", "squeezenet1_1"])
def test_cirtorch_bodies(tmp_path: Path, name: str):
    features = fill(torchvision.models.get_model(name, weights=None).features)
    assert isinstance(features, nn.Sequential)
    used = features[:-1] if name == "vgg11" else features
    contents = {"meta": {"architecture": name, "pooling": "mac"}, "state_dict": state(used, "features.")}
    with torch.no_grad():
        same(convert(write(contents, tmp_path / "f.pth")).encoder(PIXELS), l2n(used(PIXELS).amax(dim=(2, 3))))


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"architecture": "alexnext", "pooling": "mac"}, "'alexnext' is not known here|unknown timm backbone"),
        ({"architecture": "inception", "pooling": "mac"}, "cirtorch network 'inception' is not known here"),
        ({"architecture": "resnet18", "pooling": "crow"}, "cirtorch pooling 'crow' is not known here"),
        ({"architecture": "resnet18", "pooling": "rmac", "regional": True}, "pooling 'rmac' of regions is not known"),
    ],
)
def test_cirtorch_that_is_not_known(tmp_path: Path, meta: dict[str, Any], said: str):
    with pytest.raises((StorageError, UnknownNameError), match=said):
        convert(write({"meta": meta, "state_dict": {}}, tmp_path / "f.pth"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"mean": 0.5},
            r"mean of meta must be three numbers, got float 0\.5; the file is not what its authors published",
        ),
        ({"Lw": 3}, "Lw in meta must name values, got int 3"),
        ({"Lw": {"oxford": 3}}, "Lw oxford in meta must name values, got int 3"),
        ({"Lw": {"oxford": {"ss": np.zeros(3)}}}, r"whitening oxford/ss must name values, got PlainArray"),
    ],
)
def test_cirtorch_damage(tmp_path: Path, changes: dict[str, Any], said: str):
    meta = {"architecture": "resnet18", "pooling": "mac", **changes}
    with pytest.raises(StorageError, match=said):
        convert(write({"meta": meta, "state_dict": {}}, tmp_path / "f.pth"))


def test_cirtorch_without_the_layer_it_tells_of(tmp_path: Path):
    meta = {"architecture": "resnet18", "pooling": "mac", "whitening": True}
    with pytest.raises(StorageError, match=r"is not what its authors published: KeyError 'whiten\.weight'"):
        convert(write({"meta": meta, "state_dict": {}}, tmp_path / "f.pth"))


# Origins ---------------------------------------------------------------------------------------------------------


def test_origins_are_listed_without_torch():
    assert IMPORTS.names() == ["cirtorch", "dirtorch", "happier", "hist", "hyp2"]
    assert all("(" in entry.summary for entry in IMPORTS.entries.values())


def test_a_named_origin_must_fit(tmp_path: Path):
    path = write(dirtorch_contents()[0], tmp_path / "f.pt")
    assert convert(path, origin="dirtorch").origin == "dirtorch"
    with pytest.raises(StorageError, match=r"f\.pt is no hist checkpoint: it holds state_dict, model_options"):
        convert(path, origin="hist")
    with pytest.raises(UnknownNameError, match="unknown origin 'dirtorc'; did you mean 'dirtorch'"):
        convert(path, origin="dirtorc")


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ([1], "holds a list, expected a checkpoint of cirtorch, dirtorch"),
        ({}, "is no checkpoint of cirtorch, .*: it holds nothing"),
        ({"weights": torch.zeros(1)}, "it holds weights"),
    ],
)
def test_nobodys_checkpoint(tmp_path: Path, contents: Any, said: str):
    with pytest.raises(StorageError, match=said):
        convert(write(contents, tmp_path / "f.pt"))


@pytest.mark.parametrize(
    ("file", "key"), [("tiny_dirtorch_resnet18.pt", "gem/desc_f64"), ("tiny_cirtorch_resnet18.pth", "cir/desc_f64")]
)
def test_files_of_the_official_layout(shared: Path, file: str, key: str):
    folder = shared / "golden" / "dirtorch"
    with np.load(folder / "checkpoints.npz") as stored:
        data = {name: torch.from_numpy(stored[name]) for name in stored}
    done = convert(folder / file)
    pixels = data["input"].double()
    with torch.no_grad():
        encoder = done.encoder.double()
        want = data[key] if key.startswith("gem") else data[key].T
        torch.testing.assert_close(encoder.descriptors(pixels), want, rtol=1e-6, atol=1e-6)
        whitened = data["gem/whitened_p0.25"] if key.startswith("gem") else data["cir/Lw_ss_out"].T
        torch.testing.assert_close(encoder(pixels), whitened, rtol=1e-5, atol=1e-5)
        if key.startswith("gem"):
            half = convert(folder / file, power=0.5).encoder
            torch.testing.assert_close(half(data["input"]).double(), data["gem/whitened_p0.5"], rtol=1e-5, atol=1e-5)
