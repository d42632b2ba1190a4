"""Checkpoints of HAPPIER, HIST and HyP2 against a forward written out from their papers and code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from literal_bninception import filled, literal, official_shapes
from official_files import PIXELS, encoder_of, fill, linear, no_start, omegaconf, resnet, same, state, write
from torch import Tensor, nn
from torch.nn.functional import interpolate, layer_norm, normalize

from pertinent.errors import StorageError
from pertinent.models.imports import IMPORTS
from pertinent.models.official import convert

__all__ = ["no_start"]

MEAN, STD = (torch.tensor(x).view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
TAKEN_FOR_GRANTED = "average plus maximum pooling and a LayerNorm after the last layer are taken for granted"
SOP = {
    "Resize": {"size": [256, 256]},
    "CenterCrop": {"size": 224},
    "ToTensor": {},
    "Normalize": {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]},
}


def prefixed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As a network on several devices names them."""
    return {f"module.{key}": value for key, value in weights.items()}


# HAPPIER ---------------------------------------------------------------------------------------------------------


def happier_contents(features: nn.Module, last: nn.Module) -> dict[str, Any]:
    return {
        "net_state": {**state(features, "backbone."), **state(last, "fc.")},
        "epoch": 20,
        "RANDOM_STATE": (3, (1, 2), None),
        "NP_STATE": np.random.RandomState(0).get_state(),
    }


@pytest.mark.parametrize(
    ("options", "layer_normed", "pooled"),
    [
        (None, True, lambda x: x.mean(dim=(2, 3))),
        ({"norm_features": True, "pooling": "default"}, True, lambda x: x.mean(dim=(2, 3))),
        ({"norm_features": "true", "pooling": {"name": "avg"}}, True, lambda x: x.mean(dim=(2, 3))),
        ({"norm_features": False, "pooling": "max"}, False, lambda x: x.amax(dim=(2, 3))),
        ({"backbone_name": "resnet18"}, False, lambda x: x.mean(dim=(2, 3))),
    ],
    ids=["no configuration", "paper", "words", "max", "defaults of the code"],
)
def test_happier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options, layer_normed: bool, pooled):
    _, features = resnet("resnet18")
    last = linear(8, 512)
    contents = happier_contents(features, last)
    if options is not None:
        settings = {"model": {"name": "RetrievalNet", "kwargs": options}, "transform": {"test": SOP}}
        contents["config"] = omegaconf(monkeypatch, settings)
    done = convert(write(contents, tmp_path / "rolling.ckpt"))
    assert done.origin == "happier"
    preprocess = done.encoder.preprocess
    if options is None:
        assert [note.split(" taken for")[0] for note in done.notes] == [
            "a LayerNorm before the last layer and average pooling are",
            "a short side of 256 and a crop of 224 are",
        ]
        assert (preprocess.resize, preprocess.crop) == (256, 224)
    else:
        assert done.notes == ()
        assert (preprocess.resize, preprocess.crop, preprocess.mean) == ((256, 256), 224, (0.4, 0.5, 0.6))
    with torch.no_grad():
        x = pooled(features(PIXELS))
        x = layer_norm(x, (512,)) if layer_normed else x
        same(done.encoder(PIXELS), normalize(last(x), dim=1))


@pytest.mark.parametrize("wrap", [lambda weights: weights, lambda weights: {"net_state": weights}])
def test_happier_on_several_devices(wrap):
    _, features = resnet("resnet34")
    last = linear(8, 512)
    weights = prefixed({**state(features, "backbone."), **state(last, "fc.")})
    encoder, imported = encoder_of("happier", wrap(weights))
    assert len(imported.notes) == 2
    with torch.no_grad():
        same(encoder(PIXELS), normalize(last(layer_norm(features(PIXELS).mean(dim=(2, 3)), (512,))), dim=1))


def test_happier_without_its_last_layer():
    _, features = resnet("resnet50")
    encoder, imported = encoder_of("happier", {"net_state": state(features, "backbone.")})
    assert (imported.config.backbone, encoder.dim) == ("resnet50", 2048)
    with torch.no_grad():
        same(encoder(PIXELS), normalize(layer_norm(features(PIXELS).mean(dim=(2, 3)), (2048,)), dim=1))


def test_happier_that_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    contents: dict[str, Any] = {
        "net_state": {"backbone.0.weight": torch.zeros(1), "backbone.6.7.conv1.weight": torch.zeros(1)}
    }
    with pytest.raises(StorageError, match=r"not a ResNet known here \(1 blocks\)"):
        convert(write(contents, tmp_path / "f.ckpt"))
    contents = happier_contents(resnet("resnet18")[1], linear(8, 512))
    for pooling, said in (("none", "none"), ({"name": "LPPool2d", "kwargs": {"norm_type": 3}}, "LPPool2d")):
        contents["config"] = omegaconf(monkeypatch, {"model": {"kwargs": {"pooling": pooling}}})
        with pytest.raises(StorageError, match=f"HAPPIER pooling '{said}' is not known here; known: default, avg, max"):
            convert(write(contents, tmp_path / "f.ckpt"))


# HIST ------------------------------------------------------------------------------------------------------------


def hist_head(features: Tensor, last: nn.Linear) -> Tensor:
    """Average plus maximum, the embedding layer, LayerNorm, and the normalisation of the evaluation."""
    x = layer_norm(last(features.mean(dim=(2, 3)) + features.amax(dim=(2, 3))), (last.out_features,))
    return x / (x.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("whole", [True, False])
def test_hist_resnet50(devices: int, whole: bool):
    network, features = resnet("resnet50")
    last = linear(8, 2048)
    weights = {**state(network, "model."), **state(last, "model.embedding.")}
    weights = prefixed(weights) if devices > 1 else weights
    encoder, imported = encoder_of("hist", {"model_state_dict": weights} if whole else weights)
    assert imported.notes == (
        TAKEN_FOR_GRANTED,
        "left out, since the embedding does not use them: model.fc.weight, model.fc.bias",
    )
    preprocess = encoder.preprocess
    assert (preprocess.resize, preprocess.crop, preprocess.mean) == (256, 224, (0.485, 0.456, 0.406))
    with torch.no_grad():
        same(encoder(PIXELS), hist_head(features(PIXELS), last))


def test_hist_bninception(tmp_path: Path):
    """From the file to the embedding; the authors' network sees blue, green and red in 0..255."""
    body, last = filled(official_shapes()), linear(8, 1024)
    weights = {f"model.{key}": value for key, value in body.items()}
    contents = {"model_state_dict": prefixed({**weights, **state(last, "model.embedding.")})}
    done = convert(write(contents, tmp_path / "cub_bn_inception_best.pth"))
    assert (done.origin, done.encoder.config.backbone) == ("hist", "bninception")
    left = "left out, since the embedding does not use them: model.last_linear.weight, model.last_linear.bias"
    assert done.notes == (TAKEN_FOR_GRANTED, left)
    pixels = interpolate(PIXELS, size=(64, 96))
    colours = 255 * (pixels * STD + MEAN)
    caffe = colours[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 128.0]).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(done.encoder(pixels), hist_head(literal(body, caffe), last), rtol=1e-3, atol=1e-4)


def test_hist_googlenet():
    """No change of its input: the authors feed it as they feed the others."""
    network = fill(torchvision.models.googlenet(weights=None, init_weights=False, transform_input=False))
    last = linear(8, 1024)
    contents = {"model_state_dict": {**state(network, "model."), **state(last, "model.embedding.")}}
    encoder, imported = encoder_of("hist", contents)
    assert imported.config.backbone == "googlenet"
    assert encoder.preprocess.mean == (0.485, 0.456, 0.406)
    assert "model.aux1.conv.conv.weight" in imported.notes[1]
    with torch.no_grad():
        x = PIXELS
        for name, part in network.named_children():
            if name not in {"aux1", "aux2", "avgpool", "dropout", "fc"}:
                x = part(x)
        same(encoder(PIXELS), hist_head(x, last))


def test_hist_with_the_weights_of_its_loss():
    """Beside the network, or in one state dict with it: named and left out, nothing else changes."""
    network, _ = resnet("resnet50")
    weights = {**state(network, "model."), **state(linear(8, 2048), "model.embedding.")}
    loss = {
        "dist.means": torch.zeros(4, 8),
        "dist.log_vars": torch.zeros(4, 8),
        "hgnn.theta1.weight": torch.zeros(3, 8),
    }
    importer = IMPORTS.build("hist")
    plain = importer.read({"model_state_dict": weights})
    inside = importer.read({"model_state_dict": {**loss, **weights}})
    beside = importer.read({"model_state_dict": weights, "hgnn_state_dict": loss, "dist_state_dict": {}})
    for other in (inside, beside):
        assert set(other.state) == set(plain.state)
    assert inside.notes[1].endswith("dist.means, dist.log_vars, hgnn.theta1.weight and 2 more")
    assert beside.notes[1].endswith("model.fc.weight, model.fc.bias, hgnn_state_dict and 1 more")


@pytest.mark.parametrize("key", ["model.embedding.weight", "model.layer3.5.conv3.weight"])
def test_hist_of_another_network(tmp_path: Path, key: str):
    with pytest.raises(StorageError, match="none of the networks of its authors: ResNet-50, BN-Inception, GoogLeNet"):
        convert(write({"model_state_dict": {key: torch.zeros(1)}}, tmp_path / "f.pth"))


# HyP2 ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 2])
def test_hyp2_alexnet(devices: int):
    network = fill(torchvision.models.alexnet(weights=None))
    first, second, last = network.classifier[1], network.classifier[4], linear(12, 4096)
    hidden = {**state(first, "hash_layer.1."), **state(second, "hash_layer.4."), **state(last, "hash_layer.6.")}
    weights = {**state(network.features, "features."), **hidden}
    encoder, imported = encoder_of("hyp2", prefixed(weights) if devices > 1 else weights)
    assert imported.notes == ()
    assert encoder.preprocess.resize == (224, 224)
    pixels = interpolate(PIXELS, size=(224, 224))
    with torch.no_grad():
        flat = network.features(pixels).flatten(1)
        same(encoder(pixels), last(torch.relu(second(torch.relu(first(flat))))))


@pytest.mark.parametrize("devices", [1, 2])
def test_hyp2_inception(devices: int):
    """The network that its code calls googlenet; it turns pixels around ImageNet's mean into pixels around a half."""
    network = torchvision.models.inception_v3(weights=None, init_weights=False, transform_input=True)
    network.fc = linear(12, 2048)
    fill(network)
    weights = network.state_dict()
    encoder, imported = encoder_of("hyp2", prefixed(weights) if devices > 1 else weights)
    assert len(imported.notes) == 1
    assert "AuxLogits" in imported.notes[0]
    preprocess = encoder.preprocess
    assert (preprocess.resize, preprocess.crop) == ((448, 448), None)
    colours = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(6))
    ours = (colours - torch.tensor(preprocess.mean).view(3, 1, 1)) / torch.tensor(preprocess.std).view(3, 1, 1)
    with torch.no_grad():
        same(encoder(ours), network((colours - MEAN) / STD))
