"""Preprocess and Augment: the numbers, the recipes of the papers, determinism and refused settings."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from pertinent.data.transforms import Augment, Preprocess
from pertinent.errors import InputError


def _picture(width: int = 60, height: int = 40) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def test_own_size_only_normalises() -> None:
    settings = Preprocess(resize=None, crop=None)
    out = settings.build()(_picture())
    pixels = torch.from_numpy(np.asarray(_picture()).copy()).permute(2, 0, 1) / 255
    expected = (pixels - torch.tensor(settings.mean).view(3, 1, 1)) / torch.tensor(settings.std).view(3, 1, 1)
    assert type(out) is torch.Tensor
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected)
    assert settings.size is None


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_is_antialiased_as_pillow_does_it(interpolation: str) -> None:
    settings = Preprocess(resize=(10, 12), crop=None, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation)
    method = getattr(Image.Resampling, interpolation.upper())
    expected = np.asarray(_picture().resize((12, 10), method)).transpose(2, 0, 1).astype(np.float32)
    assert np.abs(settings.build()(_picture()).numpy() * 255 - expected).max() <= 1.01


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (Preprocess(resize=20, crop=None), (3, 20, 30)),
        (Preprocess(resize=20, crop=16), (3, 16, 16)),
        (Preprocess(resize=(20, 20), crop=16), (3, 16, 16)),
        (Preprocess(resize=(20, 24), crop=None), (3, 20, 24)),
        (Preprocess(resize=None, crop=50), (3, 50, 50)),
    ],
)
def test_sizes(settings: Preprocess, shape: tuple[int, int, int]) -> None:
    out = settings.build()(_picture())
    assert tuple(out.shape) == shape
    assert settings.size in (None, shape[1:])


def test_default_is_the_imagenet_one() -> None:
    assert tuple(Preprocess().build()(_picture(300, 260)).shape) == (3, 224, 224)


def test_fingerprint_follows_the_values_only() -> None:
    assert Preprocess().fingerprint() == Preprocess(resize=256, crop=224).fingerprint()
    again = Preprocess.model_validate_json(Preprocess(resize=(8, 9)).model_dump_json())
    assert again.fingerprint() == Preprocess(resize=(8, 9)).fingerprint()
    prints = {s.fingerprint() for s in (Preprocess(), Preprocess(crop=200), Preprocess(interpolation="bicubic"))}
    assert len(prints) == 3
    assert Preprocess(mean=(0, 0, 0)).fingerprint() == Preprocess(mean=(0.0, 0.0, 0.0)).fingerprint()


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": 0},
        {"resize": -1},
        {"resize": (1, 2, 3)},
        {"std": (0.2, 0.0, 0.2)},
        {"mean": (0.5, 0.5)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"interpolation": "nearest"},
        {"croop": 224},
    ],
)
def test_wrong_preprocess_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Preprocess(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hflip": 1.5}, "hflip"),
        ({"scale": (0.5, 0.2)}, "smallest, largest"),
        ({"scale": (0.5, 2.0)}, "scale"),
        ({"colour_jitter": (0.1, 0.1, 0.1, 0.9)}, "colour_jitter"),
        ({"framing": "evaluation", "scale": (0.2, 1.0)}, "scale have no effect"),
        ({"flip": 0.5}, "flip"),
    ],
)
def test_wrong_augment_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Augment(**wrong)  # type: ignore[arg-type]


def test_a_random_crop_needs_a_size() -> None:
    with pytest.raises(InputError, match="give `size`"):
        Augment().build(Preprocess(resize=256, crop=None))
    assert Augment(size=(8, 12)).build(Preprocess(resize=256, crop=None))(_picture()).shape == (3, 8, 12)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Preprocess().crop = 3  # type: ignore[misc]


RECIPES = {
    "happier sop": (Augment(resize=256, scale=(0.16, 1.0), ratio=(0.75, 1.33)), Preprocess(resize=(256, 256))),
    "happier inat": (Augment(), Preprocess()),
    "hist": (Augment(scale=(0.08, 1.0)), Preprocess(resize=256, crop=224)),
    "hyp2": (Augment(framing="evaluation"), Preprocess(resize=(224, 224), crop=None)),
    "everything": (
        Augment(rotation=10, shift=0.1, colour_jitter=(0.2, 0.2, 0.2, 0.1), greyscale=0.5, erasing=0.5),
        Preprocess(),
    ),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_systems(name: str) -> None:
    augment, preprocess = RECIPES[name]
    transform = pickle.loads(pickle.dumps(augment.build(preprocess)))
    torch.manual_seed(3)
    first = [transform(_picture()) for _ in range(10)]
    torch.manual_seed(3)
    assert all(torch.equal(a, transform(_picture())) for a in first)
    assert all(tensor.shape == (3, 224, 224) and tensor.dtype == torch.float32 for tensor in first)
    assert all(type(tensor) is torch.Tensor and tensor.isfinite().all() for tensor in first)
    assert any(not torch.equal(first[0], tensor) for tensor in first[1:])


def test_everything_off_is_the_evaluation_transform() -> None:
    preprocess = Preprocess(resize=24, crop=20)
    augment = Augment(framing="evaluation", hflip=0)
    assert torch.equal(augment.build(preprocess)(_picture()), preprocess.build()(_picture()))


def test_a_sure_flip_mirrors() -> None:
    preprocess = Preprocess(resize=24, crop=20)
    flipped = Augment(framing="evaluation", hflip=1).build(preprocess)(_picture())
    assert torch.equal(flipped, preprocess.build()(_picture()).flip(2))


def test_greyscale_erasing_and_uncovered_corners() -> None:
    plain = Preprocess(resize=(20, 20), crop=None, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

    def out(**options: object) -> torch.Tensor:
        torch.manual_seed(1)
        return Augment(framing="evaluation", hflip=0, **options).build(plain)(_picture())  # type: ignore[arg-type]

    grey = out(greyscale=1)
    assert torch.equal(grey[0], grey[1])
    assert (out(erasing=1) == 0).all(0).sum() > (plain.build()(_picture()) == 0).all(0).sum()
    corner = out(rotation=45)[:, 0, 0]
    assert corner.abs().max() < 0.01
    assert not torch.equal(out(shift=0.3), plain.build()(_picture()))
    assert not torch.equal(out(colour_jitter=(0.5, 0, 0, 0)), plain.build()(_picture()))


def test_scale_of_the_random_crop_is_followed() -> None:
    whole = Augment(scale=(1.0, 1.0), ratio=(1.5, 1.5), hflip=0).build(Preprocess(resize=(16, 16), crop=None))
    assert torch.equal(whole(_picture()), Preprocess(resize=(16, 16), crop=None).build()(_picture()))


def test_framing_of_the_evaluation_can_be_written_and_read_again() -> None:
    augment = Augment(framing="evaluation", hflip=0.1)
    assert Augment.model_validate_json(augment.model_dump_json()) == augment
    assert Augment.model_validate(augment.model_dump()) == augment


def test_importing_the_settings_does_not_import_torch() -> None:
    code = "import sys, pertinent.data.transforms as t; t.Preprocess().fingerprint(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
