from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from pertinent.errors import InputError, StorageError, UnknownNameError
from pertinent.models.backbones import Backbone

SWIN = {"img_size": 32, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
# A plain CNN, one made narrow by its options, tokens with a class token, and channels last.
KINDS: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "cnn": ("test_resnet", {}, (96, 1, 1)),
    "options": ("resnet18", {"channels": [8, 8, 8, 16]}, (16, 1, 1)),
    "tokens": ("test_vit", {"img_size": 32}, (64, 1, 4)),
    "channels last": ("swin_tiny_patch4_window7_224", SWIN, (32, 4, 4)),
}


@pytest.mark.parametrize(("name", "options", "shape"), KINDS.values(), ids=KINDS)
def test_every_kind_of_network_gives_a_map(name, options, shape):
    backbone = Backbone(name, options)
    features = backbone(torch.zeros(2, 3, 32, 32))
    assert features.shape == (2, *shape)
    assert backbone.channels == shape[0]


def test_tokens_are_the_patches_without_the_class_token():
    backbone = Backbone("test_vit", {"img_size": 32}).eval()
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = backbone.network.forward_features(pixels)
    assert tokens.shape == (1, 5, 64)
    torch.testing.assert_close(backbone(pixels)[0, :, 0, :].T, tokens[0, 1:])


def test_channels_last_maps_are_only_turned():
    backbone = Backbone("swin_tiny_patch4_window7_224", SWIN).eval()
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(backbone(pixels).permute(0, 2, 3, 1), backbone.network.forward_features(pixels))


def test_a_name_may_carry_the_tag_of_its_weights():
    assert Backbone("test_resnet.r160_in1k").channels == 96


def test_unknown_name():
    with pytest.raises(UnknownNameError, match="unknown timm backbone 'test_resnt'; did you mean 'test_resnet'"):
        Backbone("test_resnt")


def test_options_that_the_network_does_not_take():
    with pytest.raises(InputError, match=r"timm cannot build test_resnet with options \{'depht': 3\}"):
        Backbone("test_resnet", {"depht": 3})


def test_weights_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch):
    def offline(*arguments: Any, **options: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        StorageError, match=r"weights of test_resnet cannot be fetched: no route .*model\.pretrained=FILE"
    ):
        Backbone("test_resnet", pretrained=True)


@pytest.fixture(scope="module")
def trained() -> dict[str, torch.Tensor]:
    """Weights of a whole network, classifier included, in half precision."""
    torch.manual_seed(7)
    state = timm.create_model("test_resnet", num_classes=5).state_dict()
    return {key: value.half() if value.is_floating_point() else value for key, value in state.items()}


def same(backbone: Backbone, state: dict[str, torch.Tensor]) -> None:
    own = backbone.network.state_dict()
    assert not any(key.startswith("fc") for key in own)
    for key, value in own.items():
        assert torch.equal(value, state[key].to(value.dtype)), key
    assert own["conv1.0.weight"].dtype == torch.float32


def test_load_weights_of_half_precision_with_a_classifier(tmp_path: Path, trained: dict[str, torch.Tensor]):
    backbone = Backbone("test_resnet")
    save_file(trained, tmp_path / "w.safetensors")
    backbone.load_weights(tmp_path / "w.safetensors")
    same(backbone, trained)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_load_weights_that_torch_saved(tmp_path: Path, trained: dict[str, torch.Tensor], wrap, prefix: str):
    backbone = Backbone("test_resnet")
    torch.save(wrap(OrderedDict((prefix + key, value) for key, value in trained.items())), tmp_path / "w.pth")
    backbone.load_weights(tmp_path / "w.pth")
    same(backbone, trained)


class Anything:
    """Stands for code that a pickle would run."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Anything(), "cannot be read"),
        ([1, 2], "does not hold a state dict of tensors"),
        ({"state_dict": {"a": 3}}, "does not hold a state dict of tensors"),
    ],
)
def test_files_without_weights(tmp_path: Path, value: Any, said: str):
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(StorageError, match=rf"w\.pt {said}"):
        Backbone("test_resnet").load_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_missing_and_damaged_files(tmp_path: Path, name: str):
    backbone = Backbone("test_resnet")
    with pytest.raises(StorageError, match=rf"{name} does not exist; check model\.pretrained"):
        backbone.load_weights(tmp_path / name)
    (tmp_path / name).write_bytes(b"half a fi")
    with pytest.raises(StorageError, match=rf"{name} cannot be read"):
        backbone.load_weights(tmp_path / name)


def test_weights_of_another_network(tmp_path: Path, trained: dict[str, torch.Tensor]):
    backbone = Backbone("test_resnet")
    before = {key: value.clone() for key, value in backbone.network.state_dict().items()}
    changed = {key: value for key, value in trained.items() if key != "bn1.weight"}
    changed["conv1.0.weight"] = torch.zeros(1, 2)
    changed["extra.weight"] = torch.zeros(1)
    save_file(changed, tmp_path / "w.safetensors")
    with pytest.raises(StorageError) as error:
        backbone.load_weights(tmp_path / "w.safetensors")
    assert str(error.value).endswith(
        "does not fit test_resnet: 1 missing (bn1.weight); 1 of another shape (conv1.0.weight); "
        "1 unexpected (extra.weight); check backbone and backbone_options"
    )
    for key, value in backbone.network.state_dict().items():
        assert torch.equal(value, before[key])


def test_real_weights_fit(shared: Path):
    files = sorted((shared / "data" / "weights").glob("*mobilenetv2*"))
    if not files:
        pytest.skip("no MobileNetV2 weights")
    backbone = Backbone("mobilenetv2_100", {"pad_type": "same"})
    backbone.load_weights(files[0])
    features = backbone.eval()(torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert features.shape == (1, 1280, 2, 2)
    assert features.isfinite().all()
