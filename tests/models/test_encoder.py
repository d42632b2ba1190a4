from __future__ import annotations

import errno
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from pertinent import files
from pertinent.data.transforms import Preprocess
from pertinent.errors import ImageError, InputError, StorageError, UnknownNameError
from pertinent.models.encoder import Encoder, EncoderConfig, evaluation_mode, timm_preprocess

SWIN = {"img_size": 32, "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
BACKBONES: dict[str, tuple[str, dict[str, Any], int]] = {
    "cnn": ("test_resnet", {}, 96),
    "tokens": ("test_vit", {"img_size": 32}, 64),
    "channels last": ("swin_tiny_patch4_window7_224", SWIN, 32),
}
SMALL = Preprocess(resize=(32, 32), crop=None)


def make(seed: int = 0, preprocess: Preprocess | None = SMALL, **changes: Any) -> Encoder:
    torch.manual_seed(seed)
    return Encoder(EncoderConfig(**{"backbone": "test_resnet", "dim": 8, **changes}), preprocess)


def pixels(count: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def picture(seed: int = 0, size: tuple[int, int] = (40, 30)) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values)


@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("pool", ["average", "max", "gem", "average+max"])
def test_any_backbone_with_any_pool_gives_unit_embeddings(kind, pool):
    name, options, channels = BACKBONES[kind]
    encoder = make(backbone=name, backbone_options=options, pool=pool).eval()
    embedding = encoder(pixels())
    assert embedding.shape == (3, 8)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    bare = make(backbone=name, backbone_options=options, pool=pool, dim=None)
    assert bare(pixels()).shape == (3, channels)
    assert bare.dim == channels


@pytest.mark.parametrize("layer_norm", ["none", "before", "after"])
def test_parts_in_order_without_normalisation(layer_norm):
    encoder = make(layer_norm=layer_norm, normalise=False).eval()
    with torch.no_grad():
        want = encoder.head(encoder.pool(encoder.backbone(pixels())))
        assert torch.equal(encoder(pixels()), want)
        unit = make(layer_norm=layer_norm).eval()(pixels())
    torch.testing.assert_close(unit, nn.functional.normalize(want, dim=1))
    assert (want.norm(dim=1) - 1).abs().min() > 1e-3


def test_every_part_has_a_gradient():
    encoder = make(pool="gem")
    encoder(pixels()).sum(0).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_embeddings_are_float32_or_wider_whatever_autocast_says():
    encoder = make().eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder.backbone(pixels()).dtype == torch.bfloat16
        embedding = encoder(pixels())
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(3))
    assert encoder.double()(pixels().double()).dtype == torch.float64


@pytest.mark.parametrize("changes", [{"dim": 0}, {"pool": "mean"}, {"layer_norm": "both"}, {"bakbone": "x"}])
def test_parts_that_there_are_not(changes: dict[str, Any]):
    with pytest.raises(ValueError, match=next(iter(changes))):
        EncoderConfig(**changes)


def test_wrong_backbones_and_weights(tmp_path: Path):
    with pytest.raises(UnknownNameError, match="did you mean 'test_resnet'"):
        make(backbone="test_resnett")
    with pytest.raises(InputError, match="timm cannot build"):
        make(backbone_options={"widht": 2})
    with pytest.raises(StorageError, match="does not exist"):
        Encoder(EncoderConfig(backbone="test_resnet"), pretrained=tmp_path / "none.pth")


def test_first_weights_from_a_file(tmp_path: Path):
    teacher = make(seed=1)
    save_file(teacher.backbone.network.state_dict(), tmp_path / "w.safetensors")
    encoder = Encoder(EncoderConfig(backbone="test_resnet", dim=8), SMALL, pretrained=tmp_path / "w.safetensors")
    x = pixels()
    assert torch.equal(encoder.backbone.eval()(x), teacher.backbone.eval()(x))


# --- preprocessing


def test_preprocessing_is_what_timm_states():
    stated = make(preprocess=None).preprocess
    assert stated == timm_preprocess(make().backbone)
    assert (stated.resize, stated.crop, stated.interpolation) == (round(160 / 0.95), 160, "bilinear")
    assert stated.mean == (0.5, 0.5, 0.5)
    wide = timm_preprocess(make(backbone="mobilenetv3_small_050").backbone)
    assert (wide.resize, wide.crop, wide.interpolation) == (256, 224, "bicubic")
    assert wide.mean == pytest.approx((0.485, 0.456, 0.406))


# --- embed


def test_embed_takes_paths_bytes_pictures_and_pixels(tmp_path: Path):
    encoder = make().eval()
    image = picture()
    image.save(tmp_path / "a.png")
    data = io.BytesIO()
    image.save(data, "PNG")
    tensor = encoder.preprocess.build()(image)
    items = [tmp_path / "a.png", str(tmp_path / "a.png"), data.getvalue(), image, tensor]
    vectors = encoder.embed(items)
    assert vectors.shape == (5, 8)
    assert (vectors.dtype, vectors.device.type, vectors.requires_grad) == (torch.float32, "cpu", False)
    for vector in vectors[1:]:
        torch.testing.assert_close(vector, vectors[0])
    torch.testing.assert_close(vectors[0], encoder(tensor[None])[0])


def test_embed_keeps_order_in_any_batches():
    encoder = make().eval()
    pictures = [picture(seed) for seed in range(5)]
    whole = encoder.embed(pictures)
    for batch_size in (1, 2, 5, 99):
        torch.testing.assert_close(encoder.embed(pictures, batch_size=batch_size), whole)
    torch.testing.assert_close(encoder.embed(pictures[::-1]), whole.flip(0))
    assert len(torch.unique(whole, dim=0)) == 5


def test_embed_of_nothing_and_of_a_stack():
    encoder = make().eval()
    assert encoder.embed([]).shape == (0, 8)
    torch.testing.assert_close(encoder.embed(pixels()), encoder(pixels()))


def test_embed_is_in_evaluation_mode_and_gives_every_part_its_mode_back():
    encoder = make().train()
    frozen = next(part for part in encoder.modules() if isinstance(part, nn.BatchNorm2d))
    frozen.eval()
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    modes = [part.training for part in encoder.modules()]
    first = encoder.embed([picture()])
    assert [part.training for part in encoder.modules()] == modes
    assert encoder.training
    assert not frozen.training
    for key, value in encoder.state_dict().items():
        assert torch.equal(value, before[key]), key
    torch.testing.assert_close(encoder.eval().embed([picture()]), first)
    assert not encoder.training


def test_modes_come_back_after_an_error():
    encoder = make().train()
    with pytest.raises(KeyError), evaluation_mode(encoder):  # noqa: PT012
        assert not any(part.training for part in encoder.modules())
        raise KeyError
    assert all(part.training for part in encoder.modules())


@pytest.mark.parametrize("single", ["a.jpg", Path("a.jpg"), b"bytes", picture()])
def test_embed_of_a_single_picture_is_refused(single):
    with pytest.raises(InputError, match=r"expects a list of pictures, got a single one; write \[picture\]"):
        make().embed(single)


def test_pictures_of_different_sizes_are_embedded_as_if_alone():
    encoder = make(preprocess=Preprocess(resize=None, crop=None)).eval()
    items = [picture(seed, size) for seed, size in enumerate([(40, 30), (30, 40), (40, 30), (64, 32), (30, 40)])]
    together = encoder.embed(items, batch_size=4)
    torch.testing.assert_close(together, torch.cat([encoder.embed([item]) for item in items]))


def test_embed_of_what_are_no_pictures(tmp_path: Path):
    encoder = make().eval()
    with pytest.raises(InputError, match=r"picture 1 is a tensor of shape \(32, 32\); expected \(3, H, W\)"):
        encoder.embed([pixels()[0], pixels()[0, 0]])
    with pytest.raises(InputError, match=r"picture 0 is a tensor of shape \(32, 32\)"):
        encoder.embed(pixels()[0])
    with pytest.raises(InputError, match="batch_size must be at least 1, got 0"):
        encoder.embed([picture()], batch_size=0)
    with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
        encoder.embed([tmp_path / "none.jpg"])
    with pytest.raises(ImageError, match="picture 1: not a picture"):
        encoder.embed([picture(), b"no picture"])


# --- save, load, fingerprint


@pytest.mark.parametrize("kind", BACKBONES)
def test_what_is_saved_is_loaded_bit_by_bit(tmp_path: Path, kind: str):
    name, options, _ = BACKBONES[kind]
    encoder = make(backbone=name, backbone_options=options, pool="gem", layer_norm="after")
    encoder(pixels(8))  # moves the running statistics of BatchNorm
    encoder.save(tmp_path / "e")
    assert encoder.training
    loaded = Encoder.load(str(tmp_path / "e"))
    assert not loaded.training
    assert (loaded.config, loaded.preprocess) == (encoder.config, encoder.preprocess)
    assert loaded.fingerprint() == encoder.fingerprint()
    assert torch.equal(loaded(pixels()), encoder.eval()(pixels()))
    torch.testing.assert_close(loaded.embed([picture()]), encoder.embed([picture()]), rtol=0, atol=0)
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["encoder.json", "encoder.safetensors"]


def test_the_layout_of_memory_does_not_matter(tmp_path: Path):
    encoder = make()
    first = encoder.fingerprint()
    encoder.to(memory_format=torch.channels_last)
    assert encoder.fingerprint() == first
    encoder.save(tmp_path / "e")
    assert Encoder.load(tmp_path / "e").fingerprint() == first


def test_fingerprint_changes_with_all_that_embeddings_depend_on():
    encoder = make()
    first = encoder.fingerprint()
    assert make().fingerprint() == first
    assert encoder.train().fingerprint() == encoder.eval().fingerprint() == first
    others = [
        make(seed=1),
        make(pool="max"),
        make(normalise=False),
        make(preprocess=Preprocess(resize=(32, 32), crop=None, interpolation="bicubic")),
    ]
    with torch.no_grad():
        encoder.head.linear.bias[3] += 1e-6
    prints = {first, encoder.fingerprint(), *(other.fingerprint() for other in others)}
    assert len(prints) == 6
    moved = make()
    moved(pixels(4))  # running statistics alone
    assert moved.fingerprint() not in prints


def test_saving_replaces_an_encoder_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(seed=0).save(tmp_path / "e")
    make(seed=1).save(tmp_path / "e")
    first = make(seed=1).fingerprint()
    assert Encoder.load(tmp_path / "e").fingerprint() == first

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        make(seed=2).save(tmp_path / "e")
    assert Encoder.load(tmp_path / "e").fingerprint() == first
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_an_encoder_is_not_written_over_other_files(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StorageError, match=r"not ours to replace \(thesis\.tex\)"):
        make().save(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_no_encoder_is_there(tmp_path: Path):
    with pytest.raises(StorageError, match=r"holds no encoder .*give a folder such as RUN/best"):
        Encoder.load(tmp_path)


def cut(folder: Path) -> None:
    path = folder / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip(folder: Path) -> None:
    path = folder / "encoder.safetensors"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)


def describe(**changes: Any):
    def damage(folder: Path) -> None:
        description = json.loads((folder / "encoder.json").read_text()) | changes
        kept = {key: value for key, value in description.items() if value is not None}
        (folder / "encoder.json").write_text(json.dumps(kept))

    return damage


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "is damaged"),
        (flip, "is damaged: its weights do not have the fingerprint it states"),
        (lambda folder: (folder / "encoder.safetensors").unlink(), "is damaged"),
        (lambda folder: (folder / "encoder.json").write_text("{"), "damaged or not JSON"),
        (lambda folder: (folder / "encoder.json").write_text("[]"), "has encoder format None"),
        (describe(format=99), "has encoder format 99, this version reads 1"),
        (describe(fingerprint=None), "is damaged: 'fingerprint'"),
        (describe(config=None), "is damaged: 'config'"),
        (describe(config={"backbone": "test_resnet", "dim": 8, "poool": "gem"}), "did you mean 'pool'"),
        (describe(config={"backbone": "test_resnet", "dim": 9}), "is damaged"),
        (describe(preprocess={"crop": 0}), "is damaged"),
    ],
)
def test_damage_is_found(tmp_path: Path, damage, said: str):
    make().save(tmp_path / "e")
    damage(tmp_path / "e")
    with pytest.raises(StorageError, match=said):
        Encoder.load(tmp_path / "e")


def test_own_pooling_is_saved_and_loaded(tmp_path: Path):
    torch.manual_seed(0)
    config = EncoderConfig(backbone="test_vit2", backbone_options={"img_size": 32}, pool="own", dim=None)
    encoder = Encoder(config, SMALL).eval()
    pixels = torch.randn(2, 3, 32, 32)
    want = nn.functional.normalize(encoder.backbone.network(pixels), dim=1)
    torch.testing.assert_close(encoder(pixels), want)
    encoder.save(tmp_path / "e")
    torch.testing.assert_close(Encoder.load(tmp_path / "e")(pixels), want)
