from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pertinent.config import parse
from pertinent.data.transforms import Preprocess
from pertinent.errors import ConfigError, InputError, StorageError
from pertinent.functional.whitening import Whitening
from pertinent.models.encoder import Encoder, EncoderConfig
from pertinent.models.views import Views, by_size, resized
from pertinent.models.whitening import WhiteningLayer

RNG = np.random.default_rng(5)
PICTURES = [Image.fromarray(RNG.integers(0, 255, (size, 50, 3), dtype=np.uint8)) for size in (40, 60)]
WORDS = ("Scale(48)", "Scale(32), CenterCrop(32)")


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    whitening = WhiteningLayer.of(Whitening(RNG.normal(size=6) / 9, RNG.normal(size=(4, 6))))
    parts = EncoderConfig(backbone="test_resnet", pool="gem", dim=6)
    return Encoder(parts, Preprocess(resize=None, crop=None), whitening=whitening).eval()


@torch.no_grad()
def literal(encoder: Encoder, picture: Image.Image, merge: str, p: float) -> torch.Tensor:
    """What the definition says, one picture and one view at a time."""
    found = []
    for words in WORDS:
        pixels = encoder.preprocess.with_words(words).build()(picture)[None]
        for scale in (1.0, 0.5):
            size = [int(side * scale) for side in pixels.shape[2:]]
            view = pixels if scale == 1 else nn.functional.interpolate(pixels, size=size, mode="bilinear")
            found.append(encoder.descriptors(view)[0])
    x = torch.stack(found).double()
    if merge == "mean":
        merged = x.mean(0)
    else:
        floor = 1e-6 if merge == "gem" else 0
        powers = (x.sign() * x.abs().clamp(min=floor) ** p).mean(0)
        merged = powers.sign() * powers.abs().clamp(min=floor) ** (1 / p)
    merged = merged / merged.norm()
    whitening = encoder.whitening
    assert whitening is not None
    out = whitening.projection.double() @ (merged - whitening.mean.double())
    return (out / out.norm()).float()


@pytest.mark.parametrize(("merge", "p"), [("mean", 3.0), ("gem", 3.0), ("gem", 2.5), ("power", 2.5)])
def test_views_are_merged_before_the_whitening(encoder: Encoder, merge: str, p: float):
    encoder.views = Views(transforms=WORDS, scales=(1.0, 0.5), merge=merge, p=p)
    found = encoder.embed(PICTURES)
    want = torch.stack([literal(encoder, picture, merge, p) for picture in PICTURES])
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)


def test_one_transform_is_another_preparation_and_no_more(encoder: Encoder):
    encoder.views = Views(transforms=WORDS[:1])
    other = Encoder(encoder.config, encoder.preprocess.with_words(WORDS[0]), whitening=encoder.whitening).eval()
    other.load_state_dict(encoder.state_dict())
    assert torch.equal(encoder.embed(PICTURES), other.embed(PICTURES))


def test_views_travel_with_the_encoder_and_change_its_fingerprint(encoder: Encoder, tmp_path: Path):
    plain = encoder.fingerprint()
    encoder.views = Views(transforms=WORDS, scales=(1, 0.7))
    encoder.save(tmp_path / "e")
    again = Encoder.load(tmp_path / "e")
    assert again.views == encoder.views
    assert again.fingerprint() == encoder.fingerprint() != plain
    assert torch.equal(again.embed(PICTURES), encoder.embed(PICTURES))
    encoder.views = Views()
    assert encoder.fingerprint() == plain


def test_ready_pixels_are_one_view(encoder: Encoder):
    pixels = torch.rand(3, 40, 40)
    encoder.views = Views(scales=(1.0, 0.5))
    with torch.no_grad():
        assert torch.equal(encoder.embed([pixels])[0], encoder.of_views([pixels[None]])[0])
    encoder.views = Views(transforms=WORDS)
    with pytest.raises(InputError, match="picture 0 is a tensor, which is one view"):
        encoder.embed([pixels])


def test_pictures_alike_are_brought_together():
    sizes = [(8, 6), (6, 8), (8, 6), (8, 6)]
    pictures = [[torch.full((3, *size), float(n)), torch.full((3, 4, 4), float(-n))] for n, size in enumerate(sizes)]
    groups = by_size(pictures)
    assert [places for places, _ in groups] == [[0, 2, 3], [1]]
    places, (first, second) = groups[0]
    assert (first.shape, second.shape) == ((3, 3, 8, 6), (3, 3, 4, 4))
    assert first[:, 0, 0, 0].tolist() == places == (-second[:, 0, 0, 0]).tolist()
    assert resized(first, 0.5).shape == (3, 3, 4, 3)
    assert resized(first, 1) is first


def test_a_side_that_would_vanish_keeps_one_pixel():
    thin = torch.arange(9.0).reshape(1, 3, 3, 1)
    assert torch.equal(resized(thin, 0.7071), nn.functional.interpolate(thin, (2, 1), mode="bilinear"))
    assert resized(thin, 0.1).shape == (1, 3, 1, 1)
    pixels = torch.rand(1, 3, 7, 5)
    want = nn.functional.interpolate(pixels, scale_factor=0.7071, mode="bilinear")
    assert torch.equal(resized(pixels, 0.7071), want)


@pytest.mark.parametrize("wrong", [{"scales": ()}, {"scales": (0.0,)}, {"merge": "max"}, {"p": 0}, {"size": 3}])
def test_what_views_cannot_be(wrong: dict[str, object]):
    with pytest.raises(ConfigError):
        parse(Views, wrong, "views")


def test_damaged_views_of_a_saved_encoder(encoder: Encoder, tmp_path: Path):
    encoder.views = Views(scales=(0.5,))
    encoder.save(tmp_path / "e")
    text = (tmp_path / "e" / "encoder.json").read_text()
    (tmp_path / "e" / "encoder.json").write_text(text.replace('"merge": "gem"', '"merge": "jam"'))
    with pytest.raises(StorageError, match="is damaged"):
        Encoder.load(tmp_path / "e")
