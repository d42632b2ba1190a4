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
        StorageError, match=r"weights of test_resnet cannot be fetched: no route .*=FILE, .* model\.pretrained=false"
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


def test_load_weights_of_before_batches_were_counted(tmp_path: Path, trained: dict[str, torch.Tensor]):
    torch.save(
        {key: value for key, value in trained.items() if not key.endswith("batches_tracked")}, tmp_path / "w.pth"
    )
    backbone = Backbone("test_resnet")
    backbone.load_weights(tmp_path / "w.pth")
    same(backbone, trained)


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


VIT: dict[str, Any] = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 2}
# A class token, one of two, averages with a norm before or after, attention, norms and layers after the pooling, and
# networks without a feature map.
OWN: dict[str, tuple[str, dict[str, Any], int]] = {
    "token": ("vit_tiny_patch16_224", VIT, 48),
    "distilled": ("deit_tiny_distilled_patch16_224", VIT, 48),
    "average": ("vit_base_patch16_gap_224", VIT, 48),
    "fc_norm": ("vit_base_patch16_reg4_gap_256", VIT, 48),
    "fc_norm of patches": ("beit_base_patch16_224", VIT, 48),
    "attention": ("vit_so400m_patch14_siglip_224", VIT, 48),
    "head norm": ("test_convnext", {}, 64),
    "layers after": ("mobilenetv3_small_050", {}, 1024),
    "no map": ("crossvit_tiny_240", {"img_size": 240}, 288),
}


@pytest.mark.parametrize(("name", "options", "channels"), OWN.values(), ids=OWN)
def test_own_pooling_is_that_of_timm(name, options, channels):
    torch.manual_seed(0)
    backbone = Backbone(name, options, pooled=True).eval()
    for parameter in backbone.parameters():  # norms begin as no change at all
        torch.nn.init.normal_(parameter, std=0.3)
    original = timm.create_model(name, num_classes=7, **options).eval()
    original.load_state_dict(backbone.network.state_dict(), strict=False)
    pixels = torch.randn(2, 3, options.get("img_size", 64), options.get("img_size", 64))
    with torch.no_grad():
        found = backbone(pixels)
        want = original.forward_head(original.forward_features(pixels), pre_logits=True)
    assert found.shape == (2, channels)
    assert backbone.channels == channels
    torch.testing.assert_close(found, want)


@pytest.mark.parametrize("kind", ["token", "average", "attention"])
def test_maps_are_the_tokens_that_timm_normalises(kind):
    name, options, _ = OWN[kind]
    backbone = Backbone(name, options).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = backbone.network.forward_features(pixels)
    torch.testing.assert_close(backbone(pixels).squeeze(2).mT, tokens[:, -16:])
    assert backbone(pixels).shape == (2, 48, 1, 16)
    if kind == "average":
        torch.testing.assert_close(backbone(pixels).mean((2, 3)), backbone.network(pixels))


@pytest.mark.parametrize("kind", ["fc_norm", "fc_norm of patches"])
def test_a_norm_after_the_own_pooling_is_not_lost_in_silence(kind):
    name, options, _ = OWN[kind]
    with pytest.raises(InputError, match=f"{name} normalises its features after its own pooling; set model.pool=own"):
        Backbone(name, options)


def test_a_network_without_a_map_is_pooled_its_own_way_only():
    name, options, _ = OWN["no map"]
    with pytest.raises(InputError, match=r"crossvit_tiny_240 has no single feature map; set model\.pool=own"):
        Backbone(name, options)(torch.zeros(1, 3, 240, 240))


def test_a_class_token_that_timm_does_not_count_is_no_patch():
    backbone = Backbone("volo_d1_224", {"img_size": 64}).eval()
    pixels = torch.zeros(1, 3, 64, 64)
    tokens = backbone.network.forward_features(pixels)
    torch.testing.assert_close(backbone(pixels)[0, :, 0].T, tokens[0, 1:])
    assert tokens.shape[1] == 17
