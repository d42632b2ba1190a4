from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from literal_bninception import filled, literal, official_shapes
from PIL import Image
from torch import Tensor, nn

from pertinent.data.transforms import Preprocess
from pertinent.errors import InputError, StorageError
from pertinent.models import bninception
from pertinent.models.backbones import Backbone
from pertinent.models.bninception import BNInception


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    return filled(official_shapes())


@pytest.fixture(scope="module")
def network(official: dict[str, Tensor]) -> BNInception:
    network = BNInception()
    network.load_state_dict(network.own_keys(official))
    return network.eval()


def test_its_weights_are_those_of_the_published_port(network: BNInception):
    own = {key: tuple(value.shape) for key, value in network.state_dict().items() if not key.endswith("_tracked")}
    shapes = official_shapes()
    del shapes["last_linear.weight"], shapes["last_linear.bias"]
    assert own == shapes
    assert sum(value.numel() for value in network.parameters()) == 11_295_240 - 1_025_000
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.9)}


@pytest.mark.parametrize("size", [224, 96])
def test_the_map_is_that_of_the_official_network(official: dict[str, Tensor], network: BNInception, size: int):
    """In float64, from a picture of bytes: both ways of preparing it, exactly alike."""
    levels = torch.randint(0, 256, (1, 3, size, size), generator=torch.Generator().manual_seed(1)).double()
    mean, std = (torch.tensor(x).double().view(3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    caffe = levels[:, [2, 1, 0]] - torch.tensor([104.0, 117.0, 128.0]).double().view(3, 1, 1)
    double = BNInception().double()
    double.load_state_dict(network.state_dict())
    pixels = (levels / 255 - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(double.caffe_pixels(pixels), caffe, rtol=0, atol=1e-4)
        want = literal({key: value.double() for key, value in official.items()}, caffe)
        got = double.eval().forward_features(pixels)
        assert got.shape == (1, 1024, size // 32, size // 32)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(double(pixels), want.mean(dim=(2, 3)), rtol=1e-5, atol=1e-5)


def test_the_same_picture_prepared_by_either(network: BNInception):
    """The usual preparation and the fixed map of the network, against the steps of Caffe on the picture itself."""
    colours = torch.randint(0, 256, (32, 32, 3), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    picture = Image.fromarray(colours.numpy())
    blue_first = torch.stack([colours[:, :, 2], colours[:, :, 1], colours[:, :, 0]]).float()
    want = blue_first - torch.tensor([104.0, 117.0, 128.0]).view(3, 1, 1)
    got = network.caffe_pixels(Preprocess(resize=None, crop=32).build()(picture)[None])[0]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-3)


@pytest.mark.parametrize("size", [(33, 97), (225, 160), (1, 1)])
def test_pictures_of_any_size(network: BNInception, size: tuple[int, int]):
    """Caffe's own fails where a map of odd side is halved."""
    with torch.no_grad():
        features = network.forward_features(torch.zeros(1, 3, *size))
    assert features.shape[:2] == (1, 1024)
    assert torch.isfinite(features).all()


def test_an_odd_map_is_halved_as_if_its_last_window_were_cut():
    features = torch.rand(1, 2, 5, 7, generator=torch.Generator().manual_seed(3))
    got = bninception._halved(features)
    assert got.shape == (1, 2, 3, 4)
    for row in range(3):
        for column in range(4):
            window = features[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            assert torch.equal(got[:, :, row, column], window.amax(dim=(2, 3)))


def test_a_local_file_of_the_published_form(tmp_path: Path, official: dict[str, Tensor]):
    """With its classifier, BatchNorm numbers of shape (1, C), and no count of batches, as torch 0.3 wrote them."""
    written = {key: value[None] if "_bn." in key else value for key, value in official.items()}
    torch.save(written, tmp_path / "bn.pth", _use_new_zipfile_serialization=False)
    backbone = Backbone("bninception")
    backbone.load_weights(tmp_path / "bn.pth")
    for key, value in backbone.network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, official[key]), key
    del written["inception_4e_3x3.weight"]
    torch.save(written, tmp_path / "bn.pth")
    with pytest.raises(StorageError, match=r"does not fit bninception: 1 missing \(inception_4e_3x3\.weight\)"):
        backbone.load_weights(tmp_path / "bn.pth")


def test_published_weights_are_fetched_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, official: dict[str, Tensor]
):
    torch.save({key: value[None] if "_bn." in key else value for key, value in official.items()}, tmp_path / "f.pth")
    name = hashlib.sha256((tmp_path / "f.pth").read_bytes()).hexdigest()[:9]
    (tmp_path / "f.pth").rename(tmp_path / f"f-{name}.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(bninception, "WEIGHTS", (tmp_path / f"f-{name}.pth").as_uri())
    fetched = Backbone("bninception", pretrained=True).network.state_dict()
    assert torch.equal(fetched["inception_5b_1x1_bn.bias"], official["inception_5b_1x1_bn.bias"])
    (tmp_path / f"f-{name}.pth").rename(tmp_path / "f-000000000.pth")
    monkeypatch.setattr(bninception, "WEIGHTS", (tmp_path / "f-000000000.pth").as_uri())
    with pytest.raises(StorageError, match=r"does not hold what it did.*model\.pretrained=FILE"):
        Backbone("bninception", pretrained=True)
    monkeypatch.setattr(bninception, "WEIGHTS", (tmp_path / "gone-000000000.pth").as_uri())
    with pytest.raises(StorageError, match=r"weights of bninception cannot be fetched.*model\.pretrained=FILE"):
        Backbone("bninception", pretrained=True)


def test_options_that_it_does_not_take():
    with pytest.raises(InputError, match="bninception with options"):
        Backbone("bninception", {"depth": 3})


def test_every_weight_learns():
    network = BNInception().train()
    pixels: Any = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(4), requires_grad=True)
    network(pixels).square().sum().backward()
    assert torch.isfinite(pixels.grad).all()
    assert pixels.grad.abs().sum() > 0
    assert all(weight.grad is not None for weight in network.parameters())
