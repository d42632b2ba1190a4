"""The networks of HIST and HyP2 as encoders: what each gives, and how its pictures are prepared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from official_files import PIXELS, fill, no_start, same
from pydantic import ValidationError
from torch.nn.functional import layer_norm

from pertinent.errors import InputError, StorageError
from pertinent.models.backbones import Backbone
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.models.heads import Head

__all__ = ["no_start"]

HIST = {"pool": "average+max", "dim": 8, "layer_norm": "after", "head_start": "kaiming", "normalise": False}
IMAGENET, HALF = (0.485, 0.456, 0.406), (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "channels", "size", "mean"),
    [
        ("resnet50", 2048, 224, IMAGENET),
        ("bninception", 1024, 224, IMAGENET),
        ("googlenet", 1024, 224, HALF),
        ("inception_v3", 2048, 299, HALF),
        ("alexnet", 256, 224, IMAGENET),
    ],
)
def test_a_network_with_the_head_of_hist(tmp_path: Path, name: str, channels: int, size: int, mean: tuple[float, ...]):
    encoder = Encoder(EncoderConfig(backbone=name, **HIST)).eval()
    fill(encoder)
    pixels = PIXELS.repeat(1, 1, 2, 3)
    with torch.no_grad():
        features = encoder.backbone(pixels)
        assert features.shape[:2] == (2, channels)
        pooled = features.mean(dim=(2, 3)) + features.amax(dim=(2, 3))
        same(encoder(pixels), layer_norm(encoder.head.linear(pooled), (8,)))
    assert (encoder.preprocess.crop, encoder.preprocess.mean) == (size, mean)
    encoder.save(tmp_path / "e")
    read = Encoder.load(tmp_path / "e")
    assert read.config == encoder.config
    with torch.no_grad():
        assert torch.equal(read(pixels), encoder(pixels))


def test_inception_at_the_size_of_hyp2():
    backbone = Backbone("inception_v3").eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 448, 448)).shape == (1, 2048, 12, 12)
    assert not any("Aux" in key for key in backbone.state_dict())


def test_googlenet_is_that_of_torchvision(tmp_path: Path):
    """A file of the whole network, with all three classifiers, whose own input is around a half."""
    whole = fill(torchvision.models.googlenet(weights=None, init_weights=False, transform_input=True))
    torch.save(whole.state_dict(), tmp_path / "g.pth")
    backbone = Backbone("googlenet")
    backbone.load_weights(tmp_path / "g.pth")
    whole.fc = torch.nn.Identity()
    colours = torch.rand(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (IMAGENET, (0.229, 0.224, 0.225)))
    with torch.no_grad():
        same(backbone.eval().network((colours - 0.5) / 0.5), whole((colours - mean) / std))
    assert not any(key.startswith(("network.aux", "network.fc")) for key in backbone.state_dict())
    torch.save({**whole.state_dict(), "strange": torch.zeros(1)}, tmp_path / "g.pth")
    with pytest.raises(StorageError, match=r"does not fit googlenet: 1 unexpected \(strange\)"):
        backbone.load_weights(tmp_path / "g.pth")
    with pytest.raises(InputError, match="googlenet with options"):
        Backbone("googlenet", {"last_pool": False})


def test_googlenet_with_the_weights_of_torchvision(monkeypatch: pytest.MonkeyPatch):
    whole = fill(torchvision.models.googlenet(weights=None, init_weights=False))
    kind = torchvision.models.GoogLeNet_Weights
    monkeypatch.setattr(kind, "get_state_dict", lambda *_, **__: whole.state_dict())
    own = Backbone("googlenet", pretrained=True).network.state_dict()
    assert own
    assert all(torch.equal(value, whole.state_dict()[key]) for key, value in own.items())


def test_start_of_the_last_layer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    torch.manual_seed(0)
    kaiming = Head(2048, 128, "after", "kaiming").linear
    assert kaiming.weight.std().item() == pytest.approx((2 / 128) ** 0.5, rel=0.02)
    assert not kaiming.bias.any()
    plain = Head(2048, 128, "after").linear
    assert plain.weight.abs().max().item() <= 2048**-0.5
    with pytest.raises(ValidationError, match="head_start is about the linear layer, which dim: null leaves out"):
        EncoderConfig(dim=None, head_start="kaiming")


def test_the_start_is_no_part_of_an_encoder_that_does_not_use_it(tmp_path: Path):
    Encoder(EncoderConfig(backbone="test_resnet", dim=4)).save(tmp_path / "e")
    assert "head_start" not in (tmp_path / "e" / "encoder.json").read_text()
