from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision

from pertinent.models.encoder import Encoder


def checkpoint(path: Path, **more: Any) -> Path:
    """A small file in the layout of dirtorch: every weight is one number, stored once."""
    with torch.device("meta"):
        network = torchvision.models.resnet18(weights=None)
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("fc.")}
    shapes = {key: value.shape for key, value in state.items()} | {
        "fc.weight": (4, 512),
        "fc.bias": (4,),
        "adpool.p": (1,),
    }
    weights = {f"module.{key}": torch.full((), 0.5).expand(shape) for key, shape in shapes.items()}
    torch.save({"state_dict": weights, "model_options": {"arch": "resnet18_rmac", "out_dim": 4}, **more}, path)
    return path


def old_whitening() -> dict[str, Any]:
    return {"means": np.zeros(4), "W": np.eye(4)[:, :3].copy()}


def test_convert_writes_an_encoder(call, tmp_path: Path):
    file = checkpoint(tmp_path / "f.pt", pca={"clean": old_whitening(), "other": old_whitening()})
    said = call("convert", file, "-o", tmp_path / "encoder", "--whitenv", 2).stdout
    assert "dirtorch: resnet18, gem pooling, 2 numbers a picture" in said
    assert "whitening clean inside; the file also holds other" in said
    assert f"encoder {tmp_path / 'encoder'}" in said
    encoder = Encoder.load(tmp_path / "encoder")
    assert (encoder.dim, encoder.config.pool) == (2, "gem")
    # Once more into the same folder, without the whitening.
    assert "no whitening" in call("convert", file, "-o", tmp_path / "encoder", "--whiten", "none").stdout
    assert Encoder.load(tmp_path / "encoder").dim == 4


def test_convert_refuses_what_would_run(call, tmp_path: Path):
    class Command:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    file = checkpoint(tmp_path / "f.pt", evil=Command())
    said = call("convert", file, "-o", tmp_path / "encoder", status=1).stderr
    assert "f.pt is refused: it asks for posix.system" in said
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "encoder").exists()


def test_convert_says_what_is_wrong_with_the_words(call, tmp_path: Path):
    file = checkpoint(tmp_path / "f.pt", pca={"clean": old_whitening()})
    assert (
        "unknown whitening of this file 'clan'; did you mean 'clean'"
        in call("convert", file, "-o", tmp_path / "e", "--whiten", "clan", status=1).stderr
    )
    assert "is no hist checkpoint" in call("convert", file, "-o", tmp_path / "e", "--origin", "hist", status=1).stderr
    assert "does not exist" in call("convert", tmp_path / "gone.pt", "-o", tmp_path / "e", status=1).stderr
    call("convert", file, status=2)


def test_list_models(call):
    said = call("list", "models").stdout
    for part in ("Resnet101-AP-GeM-LM18", "BSD-3-Clause", "roxford5k medium 67.1, hard 42.3", "pertinent convert FILE"):
        assert part in said
