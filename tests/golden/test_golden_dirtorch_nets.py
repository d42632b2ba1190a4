"""Pooling, regions and whole networks against the numbers of the official code of dirtorch and cirtorch."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pertinent.errors import StorageError
from pertinent.functional.pooling import average_pool, gem_pool, max_pool
from pertinent.functional.regions import region_sum, regional_pool, rmac_regions, unit
from pertinent.models.encoder import Encoder
from pertinent.models.heads import Pool
from pertinent.models.imports import IMPORTS
from pertinent.models.regional import RegionalPool

HERE = Path(__file__).parent
TABLES = json.loads((HERE / "dirtorch_nets.json").read_text())
NETS = {case["case"]: case for case in TABLES["cases"]}
KEYS = json.loads(gzip.decompress((HERE / "dirtorch_keys.json.gz").read_bytes()))


def arrays(file: str, case: str) -> dict[str, Tensor]:
    with np.load(HERE / file) as stored:
        names = [name for name in stored if name.startswith(f"{case}/")]
        return {name.split("/", 1)[1]: torch.from_numpy(stored[name]) for name in names}


# Pooling ---------------------------------------------------------------------------------------------------------


def bins(pool: Callable[[Tensor], Tensor], size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """A pooling over the bins of an adaptive grid."""

    def cuts(length: int, count: int) -> list[slice]:
        return [slice(length * n // count, -(-length * (n + 1) // count)) for n in range(count)]

    def apply(x: Tensor) -> Tensor:
        rows = [[pool(x[:, :, y, z]) for z in cuts(x.shape[3], size[1])] for y in cuts(x.shape[2], size[0])]
        return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)

    return apply


POOLS: dict[str, Callable[..., Tensor]] = {
    "gem_fixed_p3": gem_pool,
    "gem_fixed_p2.5_out2x3": bins(lambda x: gem_pool(x, 2.5), (2, 3)),
    "gemp_p3": gem_pool,
    "gemp_p3_negative_inputs": gem_pool,
    "adaptive_max": max_pool,
    "adaptive_avg": average_pool,
    "cir_mac": max_pool,
    "cir_spoc": average_pool,
    "cir_gem": gem_pool,
    "cir_gemmp": gem_pool,
    **{
        f"cir_rmac_{size}": lambda x: region_sum(regional_pool(x, max_pool))
        for size in ("7x7", "9x12", "5x8", "3x3", "2x2", "1x4")
    },
}


@pytest.mark.parametrize("case", POOLS)
def test_pooling_and_its_gradients(case):
    data = arrays("dirtorch_pooling.npz", case)
    x = data["x"].requires_grad_()
    p = [data["param_p"].requires_grad_()] if "param_p" in data else []
    out = POOLS[case](x, *p)
    torch.testing.assert_close(out, data["out"].reshape(out.shape), rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad((out * data["cot"].reshape(out.shape)).sum(), [x, *p])
    # Which place of a region of nothing but zeros is its maximum is open.
    sure = x.detach() != 0 if "rmac" in case else torch.ones_like(x, dtype=torch.bool)
    wanted = [data["grad_x"][sure], *([data["grad_p"]] if p else [])]
    for got, want in zip([gradients[0][sure], *gradients[1:]], wanted, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", ["cir_rpool_gem_7x7", "cir_rpool_gem_9x12", "cir_rpool_gem_whiten_9x12"])
def test_regional_pooling_and_its_gradients(case):
    data = arrays("dirtorch_pooling.npz", case)
    x = data["x"].requires_grad_()
    channels = x.shape[1] if "param_whiten_weight" in data else None
    pool = RegionalPool(Pool("gem"), channels).double()
    state = {"pool.p": "rpool_p", "linear.weight": "whiten_weight", "linear.bias": "whiten_bias"}
    pool.load_state_dict({key: data[f"param_{state[key]}"] for key in pool.state_dict()})
    out = pool(x)
    torch.testing.assert_close(out, data["out"].reshape(out.shape), rtol=1e-10, atol=1e-10)
    (out * data["cot"].reshape(out.shape)).sum().backward()
    torch.testing.assert_close(x.grad, data["grad_x"], rtol=1e-8, atol=1e-8)
    for key, parameter in pool.named_parameters():
        torch.testing.assert_close(parameter.grad, data[f"grad_{state[key]}"], rtol=1e-8, atol=1e-8)


def test_normalisation_adds_to_the_length():
    data = arrays("dirtorch_pooling.npz", "cir_l2n")
    got = unit(data["x"].movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(got, data["out"].reshape(got.shape), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", TABLES["regions"])
def test_regions(size):
    height, width = (int(side) for side in size.split("x"))
    assert [list(box) for box in rmac_regions(height, width)] == TABLES["regions"][size]


# Networks --------------------------------------------------------------------------------------------------------


def number(key: str, shape: list[int]) -> Tensor:
    """The weight of a state-dict key, by the rule that the official networks were filled with."""
    r = np.random.default_rng([20190822, zlib.crc32(key.encode("ascii"))])
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return torch.tensor(0)
    if leaf == "running_var":
        values = r.uniform(0.5, 1.5, shape)
    elif leaf in {"running_mean", "bias"}:
        values = 0.1 * r.standard_normal(shape)
    elif leaf == "p":
        values = np.full(shape, 2.7)
    elif len(shape) == 1:
        values = r.uniform(0.3, 0.6, shape)
    else:
        values = r.standard_normal(shape) * math.sqrt((2 if len(shape) == 4 else 1) / math.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, np.float32))


def official_state(name: str, out_dim: int | None) -> dict[str, Tensor]:
    keys = [(key, [out_dim, *shape[1:]] if key.startswith("fc.") and out_dim else shape) for key, shape in KEYS[name]]
    return {key: number(key, shape) for key, shape in keys}


def dirtorch(case: dict[str, Any]) -> dict[str, Any]:
    # The list of keys is that of the default pooling; the others have no power.
    state = official_state(case["arch"], case["options"]["out_dim"])
    if case["options"].get("pooling", "gem") != "gem":
        del state["adpool.p"]
    return {"state_dict": state, "model_options": {"arch": case["arch"], **case["options"]}}


def cirtorch(case: dict[str, Any]) -> dict[str, Any]:
    return {"state_dict": official_state(case["case"], None), "meta": case["params"]}


def encoder(origin: str, contents: dict[str, Any]) -> Encoder:
    imported = IMPORTS.build(origin).read(contents)
    built = Encoder(imported.config, imported.preprocess)
    built.load_state_dict(imported.state)
    return built.double().eval()


INPUTS = np.load(HERE / "dirtorch_nets.npz")
DIRTORCH = [name for name, case in NETS.items() if "arch" in case and not name.endswith("_grad")]
CIRTORCH = [name for name in NETS if name.startswith("cir_") and f"{name}/out" in INPUTS]


@pytest.fixture(autouse=True)
def no_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are filled with stored numbers at once, so their random start would only take time."""
    for name in ("kaiming_normal_", "kaiming_uniform_", "normal_", "uniform_", "trunc_normal_"):
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)


@pytest.mark.parametrize("name", DIRTORCH)
def test_networks_of_dirtorch(name):
    built = encoder("dirtorch", dirtorch(NETS[name]))
    with torch.no_grad():
        for given, wanted in (("input", "out"), ("input_odd", "out_odd")):
            got = built(torch.from_numpy(INPUTS[given]).double())
            want = torch.from_numpy(INPUTS[f"{name}/{wanted}"]).reshape(got.shape)
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)


def test_gradients_of_the_default_network():
    case = NETS["resnet18_rmac_gem_grad"]
    data = arrays("dirtorch_nets.npz", case["case"])
    built = encoder("dirtorch", dirtorch(case))
    (built(torch.from_numpy(INPUTS["input"]).double()) * data["cot"]).sum().backward()
    own = {
        "adpool.p": built.pool.p,
        "fc.bias": built.head.linear.bias,
        "layer4.1.bn2.weight": dict(built.named_parameters())["backbone.network.layer4.1.bn2.weight"],
    }
    for key, parameter in own.items():
        torch.testing.assert_close(parameter.grad, data[key], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CIRTORCH)
def test_networks_of_cirtorch(name):
    built = encoder("cirtorch", cirtorch(NETS[name]))
    with torch.no_grad():
        got = built(torch.from_numpy(INPUTS["input"]).double())
    # Its outputs are columns, and its lengths are a millionth less than 1.
    torch.testing.assert_close(got, torch.from_numpy(INPUTS[f"{name}/out"]).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(KEYS))
def test_every_official_key_has_its_place(name):
    state = {key: torch.ones(()).expand(shape) for key, shape in KEYS[name]}
    if name.startswith("cir_"):
        parts = name.split("_")[1:]
        meta = {
            "architecture": parts[0],
            "pooling": parts[1],
            "whitening": "whiten" in parts,
            "local_whitening": "lwhiten" in parts,
            "regional": "reg" in parts,
        }
        imported = IMPORTS.build("cirtorch").read({"state_dict": state, "meta": meta})
    else:
        imported = IMPORTS.build("dirtorch").read({"state_dict": state, "model_options": {"arch": name}})
    with torch.device("meta"):
        own = Encoder(imported.config, imported.preprocess).state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: v.shape for key, v in imported.state.items()}


def test_a_power_that_is_none():
    state = {key: torch.zeros(()).expand(shape) for key, shape in KEYS["cir_resnet18_gem"]}
    meta = {"architecture": "resnet18", "pooling": "gem"}
    with pytest.raises(
        StorageError, match=r"pool\.p must be above 0, got 0; the file is not what its authors published"
    ):
        IMPORTS.build("cirtorch").read({"state_dict": state, "meta": meta})


def test_several_scales_of_cirtorch():
    case = NETS["cir_resnet18_gem"]
    built = encoder("cirtorch", cirtorch(case)).float()
    pixels = torch.from_numpy(INPUTS["input"][:1])
    scaled = [
        pixels if s == 1 else nn.functional.interpolate(pixels, scale_factor=s, mode="bilinear") for s in case["ms"]
    ]
    with torch.no_grad():
        # The same generalised mean as over places, here over scales.
        pooled = gem_pool(torch.stack([built(x) for x in scaled], dim=-1)[..., None], case["msp"])
    got = nn.functional.normalize(pooled, dim=1)[0]
    torch.testing.assert_close(got, torch.from_numpy(INPUTS["cir_resnet18_gem/ms_out"]), rtol=1e-4, atol=2e-5)
