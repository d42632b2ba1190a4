"""Encoders of the retrieval papers: pyramids, regions, whitening, and the networks that timm does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models import get_model

from pertinent.data.transforms import Preprocess
from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.functional.centre_bias import centre_bias
from pertinent.functional.pooling import gem_pool
from pertinent.functional.whitening import Whitening
from pertinent.models.backbones import Backbone
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.models.heads import Pool
from pertinent.models.whitening import WhiteningLayer

SMALL = Preprocess(resize=(32, 32), crop=None)
PIXELS = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def make(whitening: WhiteningLayer | None = None, **changes: Any) -> Encoder:
    torch.manual_seed(0)
    narrow = {"backbone": "resnet18", "backbone_options": {"channels": [8, 8, 12, 16]}, "dim": 6}
    return Encoder(EncoderConfig(**{**narrow, **changes}), SMALL, whitening=whitening).eval()


def numbers(seed: int = 0, dim: int = 4, length: int = 6) -> Whitening:
    rng = np.random.default_rng(seed)
    return Whitening(rng.normal(size=length), rng.normal(size=(dim, length)))


@pytest.mark.parametrize(
    "changes",
    [
        {"pool": "gem", "pyramid": "fused"},
        {"pool": "max", "pyramid": "concat", "centre_bias": 0.3, "dropout": 0.2},
        {"pool": "max", "regions": "plain", "dim": None},
        {"pool": "gem", "regions": "linear", "local_linear": True},
        {"pool": "gem-per-channel", "feature_norm": True},
    ],
    ids=str,
)
def test_every_option_trains_and_comes_back(tmp_path: Path, changes: dict[str, Any]):
    encoder = make(**changes).train()
    embedding = encoder(PIXELS)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    (embedding * torch.randn_like(embedding)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())
    encoder.save(tmp_path / "e")
    read = Encoder.load(tmp_path / "e")
    assert read.config == encoder.config
    assert read.dim == encoder.dim == embedding.shape[1]
    assert torch.equal(read(PIXELS), encoder.eval()(PIXELS))


def test_pyramid_takes_the_last_two_maps():
    encoder = make(pyramid="concat", pool="max", dim=None)
    network: Any = encoder.backbone.network
    x = network.layer2(network.layer1(network.maxpool(network.act1(network.bn1(network.conv1(PIXELS))))))
    fine = network.layer3(x)
    want = torch.cat([fine.amax(dim=(2, 3)), network.layer4(fine).amax(dim=(2, 3))], dim=1)
    torch.testing.assert_close(encoder(PIXELS), normalize(want, dim=1))


def test_parts_in_order():
    encoder = make(pool="gem", centre_bias=0.4, feature_norm=True)
    features = encoder.backbone(PIXELS)
    pooled = normalize(gem_pool(centre_bias(features, 0.4), 3.0), dim=1)
    torch.testing.assert_close(encoder(PIXELS), normalize(encoder.head(pooled), dim=1))


def test_gem_per_channel_is_gem_of_every_channel():
    maps = torch.rand(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pool = Pool("gem-per-channel", 3).double()
    with torch.no_grad():
        pool.p.copy_(torch.tensor([1.0, 2.5, 4.0]))
    want = torch.cat([gem_pool(maps[:, c : c + 1], p) for c, p in enumerate([1.0, 2.5, 4.0])], dim=1)
    torch.testing.assert_close(pool(maps), want, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(gem_pool, (maps.requires_grad_(), pool.p))


def test_gem_under_autocast_does_not_overflow():
    encoder = make(pool="gem")
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        got = encoder(PIXELS)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, encoder(PIXELS).detach(), rtol=0, atol=0.05)
    large = torch.full((1, 2, 3, 3), 50.0, dtype=torch.float16)
    torch.testing.assert_close(Pool("gem")(large).detach(), torch.full((1, 2), 50.0))


# What does not go together --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pool": "own", "regions": "plain", "dropout": 0.1}, "pool 'own' leaves no feature map for dropout, regions"),
        ({"pyramid": "fused", "local_linear": True}, "local_linear work on one feature map, a pyramid has two"),
        ({"pyramid": "concat", "regions": "plain"}, "regions work on one feature map"),
        ({"dropout": 1.0}, "less than 1"),
        ({"pool": "rmac"}, "gem-per-channel"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict[str, Any], said: str):
    with pytest.raises(ValidationError, match=said):
        EncoderConfig(**changes)


def test_a_network_without_inner_maps_has_no_pyramid():
    with pytest.raises(InputError, match=r"squeezenet1_1 does not show the map before its last one"):
        make(backbone="squeezenet1_1", backbone_options={}, pyramid="concat")


# Whitening -------------------------------------------------------------------------------------------------------


def test_whitening_is_the_last_stage(tmp_path: Path):
    given = numbers()
    encoder = make(WhiteningLayer.of(given))
    plain = encoder.descriptors(PIXELS)
    torch.testing.assert_close(plain, make()(PIXELS))
    centred = (plain.detach().double().numpy() - given.mean) @ given.projection.T
    want = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    torch.testing.assert_close(encoder(PIXELS).double(), torch.from_numpy(want), rtol=1e-5, atol=1e-5)
    assert encoder.dim == 4
    assert encoder.embed([]).shape == (0, 4)
    encoder.save(tmp_path / "e")
    assert torch.equal(Encoder.load(tmp_path / "e")(PIXELS), encoder(PIXELS))
    assert encoder.fingerprint() != make().fingerprint()
    assert encoder.fingerprint() != make(WhiteningLayer.of(numbers(seed=1))).fingerprint()


def test_whitening_is_not_learned_and_lets_gradients_through():
    layer = WhiteningLayer.of(numbers())
    assert not list(layer.parameters())
    assert torch.autograd.gradcheck(layer.double(), torch.randn(2, 6, dtype=torch.float64).requires_grad_())


def test_whitening_of_parts_that_do_not_fit():
    with pytest.raises(InputError, match="projection is 4 x 6, its mean has 5 numbers"):
        WhiteningLayer.of(Whitening(np.zeros(5), np.zeros((4, 6))))


def test_a_whitening_for_other_embeddings_is_refused():
    with pytest.raises(InputError, match="whitening takes embeddings of 7 numbers, this encoder gives 6"):
        make(WhiteningLayer.of(numbers(length=7)))


@pytest.mark.parametrize("shape", [3, {"length": 6}, {"length": 6, "dim": 5}, {"length": 9, "dim": 4}])
def test_a_damaged_whitening_is_found(tmp_path: Path, shape: Any):
    make(WhiteningLayer.of(numbers())).save(tmp_path / "e")
    path = tmp_path / "e" / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "whitening": shape}))
    with pytest.raises(StorageError, match="is damaged"):
        Encoder.load(tmp_path / "e")


def test_encoders_saved_before_these_options_keep_their_fingerprint(tmp_path: Path):
    make(pool="gem").save(tmp_path / "e")
    stored = json.loads((tmp_path / "e" / "encoder.json").read_text())
    assert set(stored) == {"format", "config", "preprocess", "dim", "fingerprint"}
    assert set(stored["config"]) == {"backbone", "backbone_options", "pool", "dim", "layer_norm", "normalise"}
    assert set(Encoder.load(tmp_path / "e").state_dict()) >= {"pool.p", "head.linear.weight"}


# Networks that timm does not hold -------------------------------------------------------------------------------


def test_alexnet_as_retrieval_uses_it():
    backbone = Backbone("alexnet", {"last_pool": False})
    assert backbone.channels == 256
    assert backbone(torch.zeros(1, 3, 96, 80)).shape == (1, 256, 5, 4)
    dense = Backbone("alexnet", {"dense": True})
    assert dense(torch.zeros(1, 3, 224, 224)).shape == (1, 4096, 1, 1)


@pytest.mark.parametrize(("side", "places"), [(128, "3 x 3"), (222, "5 x 5")])
def test_pictures_too_small_for_the_hidden_layers_of_alexnet(side: int, places: str):
    with torch.device("meta"):
        dense = Backbone("alexnet", {"dense": True})
    with pytest.raises(InputError, match=f"those of {side} x {side} give {places}; make preprocess.resize"):
        dense(torch.zeros(1, 3, side, side, device="meta"))
    assert dense(torch.zeros(1, 3, 223, 223, device="meta")).shape == (1, 4096, 1, 1)


def test_local_weights_of_the_whole_alexnet(tmp_path: Path):
    whole = get_model("alexnet", weights=None).eval()
    torch.save(whole.state_dict(), tmp_path / "alexnet.pth")
    backbone = Backbone("alexnet", {"dense": True}).eval()
    backbone.load_weights(tmp_path / "alexnet.pth")
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    want = whole.classifier[:6](whole.features(pixels).flatten(1))
    torch.testing.assert_close(backbone(pixels).flatten(1), want, rtol=1e-4, atol=1e-5)


def test_vgg_without_its_last_pool_is_nothing_but_convolutions():
    with torch.device("meta"):
        whole, used = Backbone("vgg11"), Backbone("vgg11", {"last_pool": False})
    assert {key.split(".")[0] for key in used.network.state_dict()} == {"features"}
    pixels = torch.zeros(1, 3, 64, 64, device="meta")
    assert (whole(pixels).shape[-2:], used(pixels).shape[-2:]) == ((2, 2), (4, 4))


def test_a_classic_network_with_its_own_pooling():
    encoder = make(backbone="squeezenet1_1", backbone_options={}, pool="own")
    pixels: Tensor = PIXELS
    want = encoder.head(encoder.backbone.network.forward_features(pixels).mean(dim=(2, 3)))
    torch.testing.assert_close(encoder(pixels), normalize(want, dim=1))
    assert isinstance(encoder.head.linear, nn.Linear)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("squeezenet1_0", {"dense": True}, r"last_pool and dense are options of alexnet; squeezenet1_0 ends"),
        ("resnet18", {"last_pool": False}, "last_pool is an option of alexnet and vgg"),
        ("alexnet", {"depth": 3}, r"timm cannot build alexnet|cannot build alexnet"),
    ],
)
def test_options_that_a_network_does_not_take(name: str, options: dict[str, Any], said: str):
    with pytest.raises(InputError, match=said):
        Backbone(name, options)


def test_near_names_of_classic_networks():
    with pytest.raises(UnknownNameError, match="did you mean 'alexnet'"):
        Backbone("alexnett")
