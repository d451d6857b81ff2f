"""The compact encoder: a small network made for style transfer, with a stem of our own and borrowed depths.

Made for the sake of optimising pixels: five stages at strides 1, 2, 4, 8, 16 whose first stage sees every pixel;
average pooling before each halving, since max pooling passes the gradient to single pixels (Gatys et al. 2016, section
2); reflection padding, so that the border does not darken; no batch statistics at run time (batch normalisation is used
in training and folded into the convolutions for release). Stages 1 to 3 are plain 3x3 convolutions (as Simonyan &
Zisserman 2015); stages 4 and 5 are fire modules (Iandola et al. 2016), cheap at many channels, that can be started from
a trained SqueezeNet: what a small network learns worst from a few thousand pictures is what lies deep. Between the two
lies a bridge with a small hidden layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sketchcolor.style.recomputing import STAGES, recomputed

WIDTHS = (16, 32, 64)
DEPTHS = (2, 2, 2)
BRIDGE = 256
HIDDEN = 48  # channels of the bridge's hidden layer
# Squeezed and expanded (half 1x1, half 3x3) channels of each fire module of stages 4 and 5.
FIRES = (((32, 256), (48, 384), (48, 384), (64, 512)), ((64, 512),))
MINIMUM_SIDE = 16
# ImageNet's channel statistics, the same that the teacher was trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalised(image: Tensor) -> Tensor:
    """RGB in [0, 1] with ImageNet's mean taken off and divided by its deviation, as the networks were trained."""
    return (image - image.new_tensor(MEAN).view(1, 3, 1, 1)) / image.new_tensor(STD).view(1, 3, 1, 1)


def layer_names() -> tuple[str, ...]:
    """Names of all layers in order: `relu<stage>_<layer>`."""
    plain = [f"relu{s}_{n}" for s, depth in enumerate(DEPTHS, 1) for n in range(1, depth + 1)]
    return (*plain, "relu4_1", *(f"relu4_{n}" for n in range(2, 2 + len(FIRES[0]))), "relu5_1")


def _padded(x: Tensor) -> Tensor:
    # A side of one pixel has nothing to reflect; its only pixel is repeated.
    return F.pad(x, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")


class Fire(nn.Module):
    """(B, C, h, w) -> (B, expanded, h, w): squeezed by 1x1, then half 1x1 and half 3x3 (Iandola et al. 2016)."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded // 2, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded // 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = F.relu(self.squeeze(x))
        return F.relu(torch.cat([self.expand1x1(x), self.expand3x3(_padded(x))], 1))


class Bridge(nn.Module):
    """(B, C, h, w) -> (B, BRIDGE, h, w): a 1x1 convolution, and a 3x3 one of what a hidden 1x1 layer makes of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.direct = nn.Conv2d(channels, BRIDGE, 1)
        self.hidden = nn.Conv2d(channels, HIDDEN, 1)
        self.wide = nn.Conv2d(HIDDEN, BRIDGE, 3, bias=False)
        nn.init.zeros_(self.wide.weight)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return F.relu(self.direct(x) + self.wide(_padded(F.relu(self.hidden(x)))))


class CompactEncoder(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] -> {layer name: (B, C, ceil(H / s), ceil(W / s))} for the named layers.

    `batch_norm=True` builds the network that is trained; `fold` turns it into the one that is shipped.
    """

    def __init__(self, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        channels = 3
        for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), 1):
            for position in range(1, depth + 1):
                conv = nn.Conv2d(channels, width, 3, bias=not batch_norm)
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                name = f"{stage}_{position}"
                self.convs[name] = conv
                if batch_norm:
                    self.norms[name] = nn.BatchNorm2d(width, momentum=0.02)
                channels = width
        self.bridge = Bridge(channels)
        channels = BRIDGE
        self.fires = nn.ModuleDict()
        for stage, fires in enumerate(FIRES, 4):
            for position, (squeezed, expanded) in enumerate(fires, 2 if stage == 4 else 1):
                self.fires[f"{stage}_{position}"] = Fire(channels, squeezed, expanded)
                channels = expanded

    def _stage(self, stage: int, x: Tensor) -> tuple[Tensor, ...]:
        """The layers of one stage of the stem."""
        if stage > 1:
            x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        found = []
        for position in range(1, DEPTHS[stage - 1] + 1):
            name = f"{stage}_{position}"
            x = self.convs[name](_padded(x))
            x = F.relu(self.norms[name](x) if self.norms else x)
            found.append(x)
        return tuple(found)

    def _all(self, x: Tensor, spare: bool) -> Iterator[tuple[str, Tensor]]:
        for stage in range(1, len(DEPTHS) + 1):
            make = partial(self._stage, stage)
            found = recomputed(make, x) if spare and stage <= STAGES else make(x)
            for position, x in enumerate(found, 1):
                yield f"relu{stage}_{position}", x
        x = self.bridge(F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False))
        yield "relu4_1", x
        for name, fire in self.fires.items():
            if name == "5_1":  # windows as wide as the teacher's, which this fire module knows
                x = F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)
            x = fire(x)
            yield f"relu{name}", x

    def forward(self, image: Tensor, layers: Sequence[str], spare: bool = False) -> dict[str, Tensor]:
        """Features of the named layers; the network is run no deeper than the last of them.

        spare: the finest features are not kept for the gradient but computed again.
        """
        wanted = set(layers)
        found: dict[str, Tensor] = {}
        for name, x in self._all(normalised(image).to(self.bridge.direct.weight.dtype), spare):
            if name in wanted:
                found[name] = x
                if len(found) == len(wanted):
                    break
        return found

    @torch.no_grad()
    def fold(self) -> CompactEncoder:
        """The same function without batch normalisation (running statistics folded into the weights)."""
        plain = CompactEncoder()
        plain.bridge.load_state_dict(self.bridge.state_dict())
        plain.fires.load_state_dict(self.fires.state_dict())
        for name, conv in self.convs.items():
            target = plain.convs[name]
            assert isinstance(conv, nn.Conv2d)
            if name not in self.norms:
                target.load_state_dict(conv.state_dict())
                continue
            norm = self.norms[name]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_mean is not None and norm.running_var is not None
            weight, bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )
            target.load_state_dict({"weight": weight, "bias": bias})
        return plain.eval()
