"""Networks of the retrieval papers that timm does not hold, or not as they used them, in the shape of timm's."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from pertinent.errors import InputError
from pertinent.models.bninception import BNInception

NAMES = ("alexnet", "bninception", "googlenet", "squeezenet1_0", "squeezenet1_1")

_HIDDEN_SIDE = 6


def classic_network(name: str, pretrained: bool = False, **options: Any) -> ClassicNetwork | BNInception | GoogLeNet:
    """One of NAMES, without its classifier.

    Args:
        name: see NAMES.
        pretrained: load its ImageNet weights.
        options: further arguments of the network.

    Raises:
        TypeError: an option that it does not take.
        OSError: weights that cannot be fetched.
    """
    if name == "bninception":
        return BNInception(pretrained, **options)
    if name == "googlenet":
        return GoogLeNet(pretrained, **options)
    return ClassicNetwork(name, pretrained, **options)


class ClassicNetwork(nn.Module):
    """The convolutions of AlexNet or SqueezeNet, from torchvision: `(B, 3, H, W)` to a map `(B, C, h, w)`.

    Args:
        name: alexnet, squeezenet1_0 or squeezenet1_1.
        pretrained: load torchvision's ImageNet weights.
        last_pool: keep the pooling after AlexNet's last convolution; retrieval usually leaves it out.
        dense: add AlexNet's two hidden layers of 4096 as convolutions: one place for a picture of 224 x 224. A larger
            one has several, which the pooling merges; a smaller one has none.
    """

    def __init__(self, name: str, pretrained: bool = False, last_pool: bool = True, dense: bool = False) -> None:
        from torchvision.models import get_model

        super().__init__()
        whole = get_model(name, weights="DEFAULT" if pretrained else None)
        self.features: nn.Sequential = whole.features
        self.hidden: nn.Module = nn.Identity()
        self.num_features = 512
        if name == "alexnet":
            self.num_features = 256
            if not last_pool:
                self.features[-1] = nn.Identity()
            if dense:
                self.num_features = 4096
                self.hidden = _hidden(whole.classifier[1], whole.classifier[4])
        elif dense or not last_pool:
            raise TypeError(f"last_pool and dense are options of alexnet; {name} ends with a convolution")

    def forward_features(self, pixels: Tensor) -> Tensor:
        """The feature map; raises InputError for pictures too small for AlexNet's hidden layers."""
        features: Tensor = self.features(pixels)
        if not isinstance(self.hidden, nn.Identity) and min(features.shape[-2:]) < _HIDDEN_SIDE:
            (high, wide), (rows, columns) = pixels.shape[-2:], features.shape[-2:]
            raise InputError(
                f"alexnet with dense=true takes a map of at least {_HIDDEN_SIDE} x {_HIDDEN_SIDE}, as pictures of "
                f"224 x 224 give; those of {wide} x {high} give {columns} x {rows}; make preprocess.resize and "
                "preprocess.crop larger, or set model.backbone_options.dense=false"
            )
        result: Tensor = self.hidden(features)
        return result

    def own_keys(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of torchvision's whole network with the hidden layers of AlexNet where they are here."""
        if isinstance(self.hidden, nn.Identity):
            return state
        moved = {}
        for key, own in self.hidden.state_dict(prefix="hidden.").items():
            value = state.get(key.replace("hidden", "classifier"))
            if value is not None and value.numel() == own.numel():
                moved[key] = value.reshape(own.shape)
        return {**state, **moved}

    def forward(self, pixels: Tensor) -> Tensor:
        """The mean of the feature map, `(B, C)`."""
        return self.forward_features(pixels).mean(dim=(2, 3))


class GoogLeNet(nn.Sequential):
    """Inception v1 with BatchNorm, from torchvision: `(B, 3, H, W)` to a map `(B, 1024, h, w)`.

    Its ImageNet weights expect pixels around .5, as its preprocessing here gives them; HIST fed it the mean and
    deviation of ImageNet instead. The two classifiers half-way, which only training for classes uses, are left out.

    Args:
        pretrained: load torchvision's ImageNet weights.
    """

    num_features = 1024

    def __init__(self, pretrained: bool = False) -> None:
        from torchvision.models import get_model

        # Without this it draws its start twice, the second time slowly.
        quick = {} if pretrained else {"init_weights": False, "aux_logits": False}
        whole = get_model("googlenet", weights="DEFAULT" if pretrained else None, **quick)
        last = ("aux1", "aux2", "avgpool", "dropout", "fc")
        super().__init__(OrderedDict((name, part) for name, part in whole.named_children() if name not in last))
        around = (0.5, 0.5, 0.5)
        self.pretrained_cfg = {"crop_pct": 224 / 256, "interpolation": "bilinear", "mean": around, "std": around}

    def forward_features(self, pixels: Tensor) -> Tensor:
        """The feature map."""
        features: Tensor = super().forward(pixels)  # type: ignore[no-untyped-call]
        return features

    def own_keys(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state dict of torchvision's whole network without its two classifiers half-way."""
        return {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2."))}

    def forward(self, pixels: Tensor) -> Tensor:
        """The mean of the feature map, `(B, 1024)`."""
        return self.forward_features(pixels).mean(dim=(2, 3))


def without_last_pool(network: Any) -> nn.Module:
    """Leave nothing of a VGG network of timm but its convolutions, without the pooling after the last one."""
    if not isinstance(getattr(network, "features", [None])[-1], nn.MaxPool2d):
        raise TypeError("last_pool is an option of alexnet and vgg, which pool before their classifier")
    network.features[-1] = nn.Identity()
    network.pre_logits = nn.Identity()
    result: nn.Module = network
    return result


def _hidden(first: nn.Linear, second: nn.Linear) -> nn.Sequential:
    layers = nn.Sequential(
        nn.Dropout(),
        nn.Conv2d(256, 4096, kernel_size=_HIDDEN_SIDE),
        nn.ReLU(inplace=True),
        nn.Dropout(),
        nn.Conv2d(4096, 4096, kernel_size=1),
        nn.ReLU(inplace=True),
    )
    layers[1].load_state_dict({"weight": first.weight.view(4096, 256, 6, 6), "bias": first.bias})
    layers[4].load_state_dict({"weight": second.weight.view(4096, 4096, 1, 1), "bias": second.bias})
    return layers
