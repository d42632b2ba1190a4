"""Several descriptors of one image (scales, flips, crops) into one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pertinent.errors import InputError, UnknownNameError

KINDS = ("gem", "mean", "power")
Kind = Literal["gem", "mean", "power"]
# Below it the released code of Deep Image Retrieval takes no power, and no root.
FLOOR = 1e-6


def pool_descriptors(descriptors: Tensor, kind: Kind = "gem", p: float = 3.0) -> Tensor:
    """Pool `(T, N, D)` descriptors of N images under T transforms into `(N, D)`; the result is not normalised.

    The signed generalised mean raises sign(x) max(|x|, 1e-6)^p, averages, and takes the signed root; descriptors may be
    negative, which the mean of powers alone does not allow. As in the released code, the mean too is at least 1e-6 from
    0 before the root: with p = 3 no number of the result lies within 0.01 of 0, except 0 itself. "power" is the same
    without that floor: of numbers that are not negative, (mean of x^p)^(1/p). A single transform is returned as it is.
    In float32 or wider, whatever autocast says. Sources: "gem", Revaud et al., ICCV 2019, released code; "power",
    Radenovic et al., TPAMI 2018, section 4.1, and released code.

    Args:
        descriptors: `(T, N, D)`.
        kind: "gem", "mean" or "power".
        p: the power of "gem" and "power"; 1 is the mean, of "gem" nearly so.

    Raises:
        UnknownNameError: another kind.
        InputError: no transform, another shape, or p not above 0.
    """
    if kind not in KINDS:
        raise UnknownNameError("pooling of descriptors", kind, KINDS)
    if descriptors.ndim != 3 or not len(descriptors):
        raise InputError(f"descriptors must be (transforms, N, D), got shape {tuple(descriptors.shape)}")
    if not p > 0:
        raise InputError(f"p must be above 0, got {p}")
    if len(descriptors) == 1:
        return descriptors[0]
    with torch.autocast(descriptors.device.type, enabled=False):
        x = descriptors if descriptors.dtype == torch.float64 else descriptors.float()
        floor = FLOOR if kind == "gem" else 0.0
        return x.mean(dim=0) if kind == "mean" else _signed_power(_signed_power(x, p, floor).mean(dim=0), 1 / p, floor)


def _signed_power(x: Tensor, p: float, floor: float) -> Tensor:
    return x.abs().clamp(min=floor).pow(p) * x.sign()
