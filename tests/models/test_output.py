from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pertinent.data.transforms import Preprocess
from pertinent.models.encoder import Encoder, EncoderConfig


def made(output: str) -> Encoder:
    torch.manual_seed(0)
    parts = EncoderConfig(backbone="test_resnet", dim=6, output=output, normalise=False)  # type: ignore[arg-type]
    return Encoder(parts, Preprocess(resize=None, crop=None))


@pytest.mark.parametrize("output", ["plain", "batch_norm", "tanh"])
def test_what_a_hash_head_gives(output: str, tmp_path: Path):
    plain, encoder = made("plain"), made(output)
    encoder.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(5, 3, 32, 32)
    want = plain.train()(x)
    found = encoder.train()(x)
    if output == "batch_norm":
        want = (want - want.mean(0)) / (want.var(0, unbiased=False) + 1e-5).sqrt()
    if output == "tanh":
        want = want.tanh()
    torch.testing.assert_close(found, want, rtol=1e-4, atol=1e-5)
    encoder.save(tmp_path / "e")
    with torch.no_grad():
        torch.testing.assert_close(Encoder.load(tmp_path / "e")(x), encoder.eval()(x))


def test_an_encoder_without_one_is_as_it_was():
    assert not [name for name in made("plain").state_dict() if name.startswith("output")]
    assert isinstance(made("plain").output, nn.Identity)
    assert "output" not in made("plain")._description()["config"]
