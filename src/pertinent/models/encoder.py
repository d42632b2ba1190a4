"""`Encoder`: pictures in, embeddings out; it carries its preprocessing and is saved as safetensors + JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pertinent.config import Settings, parse
from pertinent.data.images import decode
from pertinent.data.transforms import Preprocess
from pertinent.errors import ConfigError, InputError, StorageError
from pertinent.files import new_folder, read_versioned, write_json, write_tensors
from pertinent.models.backbones import Backbone
from pertinent.models.heads import Head, Pool, PoolName

FORMAT = 1
WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"


class EncoderConfig(Settings):
    """What an encoder is made of: any timm backbone, a pooling, a head, L2 normalisation."""

    backbone: str = "resnet50"
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    pool: PoolName = "average"
    dim: int | None = Field(default=512, ge=1)
    layer_norm: Literal["none", "before", "after"] = "none"
    normalise: bool = True


class Encoder(nn.Module):
    """Backbone, pooling, head and normalisation: pixels `(B, 3, H, W)` to embeddings `(B, D)`.

    Args:
        config: the parts.
        preprocess: how a picture becomes pixels; None takes what timm states for the backbone.
        pretrained: True loads timm's own weights, a path loads a local file.

    Raises:
        UnknownNameError: no such backbone.
        InputError: options that the backbone does not take.
        StorageError: a weights file that is missing or does not fit.
    """

    def __init__(
        self, config: EncoderConfig, preprocess: Preprocess | None = None, pretrained: bool | Path = False
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config.backbone, config.backbone_options, pretrained is True)
        self.pool = Pool(config.pool)
        self.head = Head(self.backbone.channels, config.dim, config.layer_norm)
        if isinstance(pretrained, Path):
            self.backbone.load_weights(pretrained)
        self.preprocess = preprocess if preprocess is not None else timm_preprocess(self.backbone)

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.head.dim

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings `(B, D)`, of length 1 when `normalise`; in float32 or wider whatever autocast says."""
        embedding = self.head(self.pool(self.backbone(pixels)))
        embedding = embedding if embedding.dtype == torch.float64 else embedding.float()
        return nn.functional.normalize(embedding, dim=1) if self.config.normalise else embedding

    @torch.no_grad()
    def embed(self, items: Sequence[str | Path | bytes | Image.Image | Tensor], batch_size: int = 32) -> Tensor:
        """Embed pictures given as paths, encoded bytes, PIL pictures or ready `(3, H, W)` pixels.

        Args:
            items: N pictures; pictures are preprocessed, tensors are taken as they are.
            batch_size: how many go through the network at once.

        Returns:
            `(N, D)` float32 on the CPU. The training mode of the encoder and of its parts is left as it was.

        Raises:
            ImageError: a picture that cannot be read.
            InputError: a tensor of another shape, a single picture instead of a list, or a batch_size below 1.
        """
        if isinstance(items, str | Path | bytes | Image.Image):
            raise InputError("embed expects a list of pictures, got a single one; write [picture]")
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        with evaluation_mode(self):
            parts = [
                self(self._pixels(items[start : start + batch_size]).to(self.device)).cpu().float()
                for start in range(0, len(items), batch_size)
            ]
        return torch.cat(parts) if parts else torch.zeros(0, self.dim)

    def _pixels(self, items: Sequence[str | Path | bytes | Image.Image | Tensor]) -> Tensor:
        transform = self.preprocess.build()
        ready = []
        for number, item in enumerate(items):
            if isinstance(item, Tensor):
                if item.ndim != 3 or item.shape[0] != 3:
                    raise InputError(f"picture {number} is a tensor of shape {tuple(item.shape)}; expected (3, H, W)")
                ready.append(item.float())
                continue
            where = str(item) if isinstance(item, str | Path) else f"picture {number}"
            ready.append(transform(decode(Path(item) if isinstance(item, str) else item, where)))
        sizes = {tuple(pixels.shape[1:]) for pixels in ready}
        if len(sizes) > 1:
            raise InputError(f"pictures of one batch have different sizes {sorted(sizes)}; set preprocess.crop")
        return torch.stack(ready)

    def fingerprint(self) -> str:
        """sha256 over parts, preprocessing and weights: equal fingerprints give equal embeddings."""
        digest = hashlib.sha256(json.dumps(self._description(), sort_keys=True).encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | str) -> None:
        """Write `encoder.safetensors` and `encoder.json` into a folder, in one step.

        Raises:
            StorageError: the folder cannot be written; what was there before is intact.
        """
        state = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        with new_folder(Path(folder)) as temporary:
            write_tensors(temporary / WEIGHTS, state)
            write_json(temporary / DESCRIPTION, {**self._description(), "fingerprint": self.fingerprint()})

    @classmethod
    def load(cls, folder: Path | str) -> Encoder:
        """Read an encoder that `save` wrote, in evaluation mode.

        Raises:
            StorageError: missing, damaged, made by a newer format, or weights that are not those described.
        """
        folder = Path(folder)
        if not (folder / DESCRIPTION).is_file():
            raise StorageError(f"{folder} holds no encoder ({DESCRIPTION} is missing); give a folder such as RUN/best")
        description = read_versioned(folder / DESCRIPTION, "encoder", FORMAT)
        try:
            fingerprint = description["fingerprint"]
            config = parse(EncoderConfig, description["config"], str(folder / DESCRIPTION))
            encoder = cls(config, parse(Preprocess, description["preprocess"], str(folder / DESCRIPTION)))
            encoder.load_state_dict(load_file(folder / WEIGHTS))
        except (ConfigError, KeyError, RuntimeError, OSError, SafetensorError) as error:
            raise StorageError(f"encoder in {folder} is damaged: {error}") from error
        if encoder.fingerprint() != fingerprint:
            raise StorageError(f"encoder in {folder} is damaged: its weights do not have the fingerprint it states")
        return encoder.eval()

    def _description(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json"),
            "preprocess": self.preprocess.model_dump(mode="json"),
            "dim": self.dim,
        }


@contextlib.contextmanager
def evaluation_mode(encoder: Encoder) -> Iterator[None]:
    """Put an encoder into evaluation mode for a while; each part, a frozen BatchNorm too, gets its own mode back."""
    modes = [(part, part.training) for part in encoder.modules()]
    encoder.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def timm_preprocess(backbone: Backbone) -> Preprocess:
    """The preprocessing that timm states for a backbone: size, crop, mean and deviation."""
    from timm.data.config import resolve_model_data_config

    data: dict[str, Any] = resolve_model_data_config(backbone.network)  # type: ignore[no-untyped-call]
    size = int(data["input_size"][-1])
    return Preprocess(
        resize=round(size / data["crop_pct"]),
        crop=size,
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
        interpolation="bicubic" if data["interpolation"] == "bicubic" else "bilinear",
    )
