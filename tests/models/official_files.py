"""Networks with numbers, and files of them as their authors write them."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from pertinent.models.encoder import Encoder
from pertinent.models.imports import IMPORTS
from pertinent.models.imports._imported import Imported

PIXELS = torch.randn(2, 3, 64, 48, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are filled below, so their own random start would only take time."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "trunc_normal_", "normal_", "uniform_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


def fill(network: nn.Module, seed: int = 0) -> nn.Module:
    """Give a network numbers with which its output is neither flat nor huge."""
    generator = torch.Generator().manual_seed(seed)
    for key, value in network.state_dict().items():
        if key.endswith("num_batches_tracked"):
            value.zero_()
        elif key.endswith("running_var") or (key.endswith("weight") and value.ndim == 1):
            value.uniform_(0.5, 1.0, generator=generator)
        else:
            scale = (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else 0.1
            value.normal_(0, scale, generator=generator)
    return network.eval()


def linear(rows: int, columns: int, seed: int = 5) -> nn.Linear:
    layer = fill(nn.Linear(columns, rows), seed)
    assert isinstance(layer, nn.Linear)
    return layer


def resnet(name: str) -> tuple[nn.Module, nn.Sequential]:
    network = fill(torchvision.models.get_model(name, weights=None))
    return network, nn.Sequential(*list(network.children())[:-2])


def state(module: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {f"{prefix}{key}": value for key, value in module.state_dict().items()}


def write(contents: Any, path: Path, **options: Any) -> Path:
    torch.save(contents, path, **options)
    return path


def body(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {key: value for key, value in state(network, prefix).items() if not key.startswith(f"{prefix}fc.")}


def encoder_of(origin: str, contents: dict[str, Any]) -> tuple[Encoder, Imported]:
    """What a file of these contents becomes; without the file, for large networks."""
    importer = IMPORTS.build(origin)
    assert importer.recognises(contents)
    imported = importer.read(contents)
    encoder = Encoder(imported.config, imported.preprocess)
    encoder.load_state_dict(imported.state, assign=True)
    return encoder.eval(), imported


def same(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def omegaconf(monkeypatch: pytest.MonkeyPatch, value: Any) -> Any:
    """A configuration as omegaconf pickles it, which need not be there to read it."""
    kinds = {}
    for path in ("omegaconf.dictconfig.DictConfig", "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode"):
        module, _, name = path.rpartition(".")
        for part in ("omegaconf", module):
            monkeypatch.setitem(sys.modules, part, sys.modules.get(part) or types.ModuleType(part))
        kinds[name] = type(name, (), {"__module__": module, "__qualname__": name})
        setattr(sys.modules[module], name, kinds[name])

    def node(value: Any) -> Any:
        thing: Any
        if isinstance(value, dict):
            thing = kinds["DictConfig"]()
            thing._content = {key: node(inner) for key, inner in value.items()}
        elif isinstance(value, list):
            thing = kinds["ListConfig"]()
            thing._content = [node(inner) for inner in value]
        else:
            thing = kinds["AnyNode"]()
            thing._val = value
        return thing

    return node(value)
