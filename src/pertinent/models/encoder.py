"""`Encoder`: pictures in, embeddings out; it carries its preprocessing and is saved as safetensors + JSON."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pertinent.config import Settings, parse
from pertinent.data.images import decode
from pertinent.data.transforms import Preprocess
from pertinent.errors import ConfigError, InputError, StorageError
from pertinent.files import new_folder, read_versioned, write_json, write_tensors
from pertinent.models.backbones import Backbone
from pertinent.models.heads import Head, HeadStart, Pool, PoolName
from pertinent.models.prepare import Prepare
from pertinent.models.pyramid import Pyramid, PyramidName
from pertinent.models.regional import RegionalPool
from pertinent.models.views import Views, by_size
from pertinent.models.whitening import WhiteningLayer

FORMAT = 1
WEIGHTS, DESCRIPTION = "encoder.safetensors", "encoder.json"
_LATER = (
    *("output", "dropout", "centre_bias", "local_linear", "pyramid", "regions", "feature_norm", "head_start"),
    "head_dropout",
)


class EncoderConfig(Settings):
    """What an encoder is made of: any timm backbone, a pooling, a head, L2 normalisation.

    `pool` `own` is the backbone's own pooling, such as a class token; the others pool its feature map.

    Attributes:
        backbone: a timm model, or one of alexnet, bninception, googlenet, squeezenet1_0 and squeezenet1_1.
        backbone_options: its further arguments.
        dropout: share of the feature map that training sets to 0; that of the pooled vector is `head_dropout`.
        centre_bias: added weight of the middle of the map.
        local_linear: a linear layer at every place of the map, before pooling.
        pyramid: pool the last two maps of the network: one behind the other (`concat`), or after the coarse one was
            added to the fine one (`fused`).
        pool: how a map becomes a vector.
        regions: pool the regions of the R-MAC grid and add them up (`plain`), each after a linear layer (`linear`).
        feature_norm: bring the pooled vector to length 1 before the head.
        dim: length of the embedding; None keeps the pooled vector.
        layer_norm: a LayerNorm without weights before or after the linear layer.
        head_start: first weights of the linear layer: those of torch, or Kaiming's by `dim` without bias (HIST).
        head_dropout: share of the pooled vector that training sets to 0 before the linear layer.
        output: what the embedding goes through: `batch_norm` of each of its numbers, or `tanh`, as hashing methods do.
        normalise: bring the embedding to length 1.
    """

    backbone: str = "resnet50"
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    centre_bias: float = Field(default=0.0, ge=0)
    local_linear: bool = False
    pyramid: PyramidName = "none"
    pool: PoolName = "average"
    regions: Literal["none", "plain", "linear"] = "none"
    feature_norm: bool = False
    dim: int | None = Field(default=512, ge=1)
    layer_norm: Literal["none", "before", "after"] = "none"
    head_start: HeadStart = "torch"
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    output: Literal["plain", "batch_norm", "tanh"] = "plain"
    normalise: bool = True

    def unused(self) -> set[str]:
        """Options that came after the first saved encoders and are not used: those know nothing of them."""
        return {name for name in _LATER if getattr(self, name) == type(self).model_fields[name].default}

    @model_validator(mode="after")
    def _consistent(self) -> EncoderConfig:
        on_map = [name for name in ("dropout", "centre_bias", "local_linear") if getattr(self, name)]
        on_map += [name for name in ("pyramid", "regions") if getattr(self, name) != "none"]
        if self.pool == "own" and on_map:
            raise ValueError(f"pool 'own' leaves no feature map for {', '.join(on_map)}; take them out")
        both = sorted({"local_linear", "regions"} & set(on_map))
        if self.pyramid != "none" and both:
            raise ValueError(f"{', '.join(both)} work on one feature map, a pyramid has two; take one of them out")
        on_head = [name for name in ("head_start", "head_dropout") if name not in self.unused()]
        if on_head and self.dim is None:
            raise ValueError(
                f"{' and '.join(on_head)} is about the linear layer, which dim: null leaves out; take one of them out"
            )
        return self


class Encoder(nn.Module):
    """Backbone, pooling, head and normalisation: pixels `(B, 3, H, W)` to embeddings `(B, D)`.

    Args:
        config: the parts.
        preprocess: how a picture becomes pixels; None takes what timm states for the backbone.
        pretrained: True loads timm's own weights, a path loads a local file.
        whitening: a last stage, learned before on embeddings of this encoder.

    Attributes:
        views: how `embed` looks at a picture, once unless told otherwise; `forward` knows nothing of it.
        origin: where converted weights come from; saved, but no part of the fingerprint.

    Raises:
        UnknownNameError: no such backbone.
        InputError: options that the backbone does not take, or a whitening for embeddings of another length.
        StorageError: a weights file that is missing or does not fit.
    """

    def __init__(
        self,
        config: EncoderConfig,
        preprocess: Preprocess | None = None,
        pretrained: bool | Path = False,
        whitening: WhiteningLayer | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(
            config.backbone, config.backbone_options, pretrained is True, pooled=config.pool == "own"
        )
        channels = self.backbone.channels
        self.prepare = Prepare(config.dropout, config.centre_bias, channels if config.local_linear else None)
        self.pool = _pool(config, self.backbone)
        pooled = channels if config.pyramid == "none" else channels + self.backbone.fine_channels
        self.head = Head(pooled, config.dim, config.layer_norm, config.head_start, config.head_dropout)
        outputs: dict[str, Callable[[], nn.Module]] = {
            "plain": nn.Identity,
            "tanh": nn.Tanh,
            "batch_norm": partial(nn.BatchNorm1d, self.head.dim),
        }
        self.output: nn.Module = outputs[config.output]()
        if whitening is not None and whitening.shape["length"] != self.head.dim:
            raise InputError(
                f"the whitening takes embeddings of {whitening.shape['length']} numbers, "
                f"this encoder gives {self.head.dim}"
            )
        self.whitening = whitening
        self.views = Views()
        self.origin: dict[str, str] | None = None
        if isinstance(pretrained, Path):
            self.backbone.load_weights(pretrained)
        self.preprocess = preprocess if preprocess is not None else timm_preprocess(self.backbone)

    @property
    def dim(self) -> int:
        """Length D of an embedding."""
        return self.head.dim if self.whitening is None else self.whitening.dim

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return next(self.parameters()).device

    def forward(self, pixels: Tensor) -> Tensor:
        """Embeddings `(B, D)`, of length 1 when `normalise`; in float32 or wider whatever autocast says."""
        descriptors = self.descriptors(pixels)
        return descriptors if self.whitening is None else self.whitening(descriptors)

    def of_views(self, pixels: Sequence[Tensor]) -> Tensor:
        """Embeddings `(B, D)` of B pictures, from the pixels `(B, 3, H, W)` of each of their views."""
        if self.views.plain:
            embeddings: Tensor = self(pixels[0])
            return embeddings
        merged = self.views.describe(pixels, self.descriptors)
        merged = nn.functional.normalize(merged, dim=1) if self.config.normalise else merged
        return merged if self.whitening is None else self.whitening(merged)

    def descriptors(self, pixels: Tensor) -> Tensor:
        """Embeddings `(B, D)` before the whitening, if there is one: several of a picture are merged in this form."""
        if isinstance(self.pool, Pyramid):
            pooled = self.pool(*self.backbone.last_maps(pixels), self.prepare)
        elif self.config.pool == "own":
            pooled = self.backbone(pixels)
        else:
            pooled = self.pool(self.prepare(self.backbone(pixels)))
        if self.config.feature_norm:
            pooled = nn.functional.normalize(_wide(pooled), dim=1)
        embedding: Tensor = self.output(_wide(self.head(pooled)))
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
            embeddings = torch.zeros(len(items), self.dim)
            for start in range(0, len(items), batch_size):
                for places, views in by_size(self._looks_at(items[start : start + batch_size])):
                    rows = [start + place for place in places]
                    embeddings[rows] = self.of_views([view.to(self.device) for view in views]).cpu().float()
        return embeddings

    def _looks_at(self, items: Sequence[str | Path | bytes | Image.Image | Tensor]) -> list[list[Tensor]]:
        looks = self.views.looks(self.preprocess)
        ready = []
        for number, item in enumerate(items):
            if isinstance(item, Tensor):
                ready.append([self._checked(item, number)])
                continue
            where = str(item) if isinstance(item, str | Path) else f"picture {number}"
            ready.append(looks(decode(Path(item) if isinstance(item, str) else item, where)))
        return ready

    def _checked(self, pixels: Tensor, number: int) -> Tensor:
        if pixels.ndim != 3 or pixels.shape[0] != 3:
            raise InputError(f"picture {number} is a tensor of shape {tuple(pixels.shape)}; expected (3, H, W)")
        if len(self.views.transforms) > 1:
            raise InputError(f"picture {number} is a tensor, which is one view; this encoder looks at a picture itself")
        return pixels.float()

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
            origin = {} if self.origin is None else {"origin": self.origin}
            description = {**self._description(), "fingerprint": self.fingerprint(), **origin}
            write_json(temporary / DESCRIPTION, description)

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
            preprocess = parse(Preprocess, description["preprocess"], str(folder / DESCRIPTION))
            shape = description.get("whitening")
            encoder = cls(config, preprocess, whitening=None if shape is None else WhiteningLayer(**shape))
            encoder.load_state_dict(load_file(folder / WEIGHTS))
            encoder.views = parse(Views, description.get("views", {}), str(folder / DESCRIPTION))
            encoder.origin = description.get("origin")
        except (ConfigError, InputError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
            raise StorageError(f"encoder in {folder} is damaged: {error}") from error
        if encoder.fingerprint() != fingerprint:
            raise StorageError(f"encoder in {folder} is damaged: its weights do not have the fingerprint it states")
        return encoder.eval()

    def _description(self) -> dict[str, Any]:
        whitening = {} if self.whitening is None else {"whitening": self.whitening.shape}
        views = {} if self.views == Views() else {"views": self.views.model_dump(mode="json")}
        return {
            "format": FORMAT,
            "config": self.config.model_dump(mode="json", exclude=self.config.unused()),
            "preprocess": self.preprocess.model_dump(mode="json"),
            "dim": self.dim,
            **whitening,
            **views,
        }


def _pool(config: EncoderConfig, backbone: Backbone) -> nn.Module:
    if config.pyramid == "none":
        pool = Pool(config.pool, backbone.channels)
        linear = backbone.channels if config.regions == "linear" else None
        return pool if config.regions == "none" else RegionalPool(pool, linear)
    fine, coarse = backbone.fine_channels, backbone.channels
    fused = (fine, coarse) if config.pyramid == "fused" else None
    return Pyramid(Pool(config.pool, fine), Pool(config.pool, coarse), fused)


def _wide(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


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
