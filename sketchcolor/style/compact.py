"""The compact encoder: a small network made for style transfer, with a stem of our own and borrowed depths.

Made for the sake of optimising pixels: five stages at strides 1, 2, 4, 8, 16 whose first stage sees every pixel;
average pooling before each halving, since max pooling passes the gradient to single pixels (Gatys et al. 2016, section
2); reflection padding, so that the border does not darken; no batch statistics at run time (batch normalisation is used
in training and folded into the convolutions for release). The stem, a 3x3 convolution or two at each of the first three
strides (as Simonyan & Zisserman 2015), is small, for there are many pixels. Behind it lie fire modules (Iandola et al.
2016), cheap at many channels, that can be started from a trained SqueezeNet: what a small network learns worst from a
few thousand pictures is what lies deep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from sketchcolor.style.gradients import (
    BLOCK,
    averaged,
    block_means,
    block_weights,
    in_blocks,
    padded,
    root_of_squares,
)
from sketchcolor.style.recomputing import recomputed

# Layers at strides 1, 2, 4, 8, 16: the channels of a 3x3 convolution, or the squeezed and expanded channels of a fire
# module.
STAGES: tuple[tuple[int | tuple[int, int], ...], ...] = (
    (16,),
    (48,),
    (96, (16, 128), (16, 128), (32, 256)),
    ((32, 256), (48, 384), (48, 384), (64, 512)),
    ((64, 512),),
)
# Stages before which the root of the mean square is taken: nearer to the largest value, which these fire modules know
# from their teacher, and smooth like a mean (L2 pooling, Henaff & Simoncelli 2016).
L2_STAGES = (4, 5)
# A layer's covariance costs by the square of its channels. Seen along a few fixed random directions it is nearly as far
# from another's as it is (Johnson & Lindenstrauss 1984): the layer, its source, and the number of directions.
MIXED, MIXED_FROM, DIRECTIONS = "mix4_4", "relu4_4", 64
FIRST = "relu1_1"
RECOMPUTED = 3  # stages that are computed again where memory is short
# ImageNet's channel statistics, the same that the teacher was trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalised(image: Tensor, kind: torch.dtype) -> Tensor:
    """RGB in [0, 1] with ImageNet's mean taken off and divided by its deviation, as the networks were trained.

    Given back in the type `kind` and channels last, which convolutions are quickest with; pixels are in plain order,
    which is quicker for all that is done with them.
    """
    centred = image - image.new_tensor(MEAN).view(1, 3, 1, 1)
    return (centred / image.new_tensor(STD).view(1, 3, 1, 1)).to(kind, memory_format=torch.channels_last)


def layer_names() -> tuple[str, ...]:
    """Names of all layers in order: `relu<stage>_<layer>`, and MIXED behind the one it is made from."""
    names = [f"relu{stage}_{n}" for stage, layers in enumerate(STAGES, 1) for n in range(1, len(layers) + 1)]
    names.insert(names.index(MIXED_FROM) + 1, MIXED)
    return tuple(names)


def _ahead(x: Tensor) -> Tensor:
    """Padded so that the first 3 x 3 window begins at the first pixel: values lie where the teacher's lie."""
    return F.pad(x, (0, 2, 0, 2), mode="reflect" if min(x.shape[-2:]) > 2 else "replicate")


def _now(function: Callable[..., Any], *inputs: Tensor) -> Any:
    return function(*inputs)


# Channels may come in parts, one behind the other: what is made in parts need not be put together first.
Parts = tuple[Tensor, ...]


def _joined(parts: Parts) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _across(parts: Parts, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of channels that come in parts."""
    sizes = [part.shape[1] for part in parts]
    first, *more = zip(parts, weight.split(sizes, 1), strict=True)
    x = F.conv2d(first[0], first[1], bias)
    for part, own in more:
        x = x.add_(F.conv2d(part, own))
    return x


class Fire(nn.Module):
    """Squeezed by 1x1, then half expanded by 1x1 and half by 3x3 (Iandola et al. 2016): two parts of channels."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded // 2, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded // 2, 3)

    def forward(self, parts: Parts, rectify: bool = True) -> Parts:
        """Parts (B, C, h, w) -> two of (B, expanded / 2, h, w); with or without the last rectification."""
        x = F.relu_(_across(parts, self.squeeze.weight, self.squeeze.bias))
        made = self.expand1x1(x), self.expand3x3(padded(x))
        return (F.relu_(made[0]), F.relu_(made[1])) if rectify else made


class CompactEncoder(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] -> {layer name: (B, C, ceil(H / s), ceil(W / s))} for the named layers.

    The first value of each layer lies around pixel 1, as in the published SqueezeNet; the next is s further on.

    `batch_norm=True` builds the network that is trained; `fold` turns it into the one that is shipped.
    """

    def __init__(self, *, batch_norm: bool = False) -> None:
        super().__init__()
        self.convs, self.norms, self.fires = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        channels, widths = 3, {}
        for stage, layers in enumerate(STAGES, 1):
            for position, layer in enumerate(layers, 1):
                name = f"{stage}_{position}"
                widths[f"relu{name}"] = layer[1] if isinstance(layer, tuple) else layer
                if isinstance(layer, tuple):
                    self.fires[name] = Fire(channels, *layer)
                    channels = layer[1]
                    continue
                conv = nn.Conv2d(channels, layer, 3, bias=not batch_norm)
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                self.convs[name] = conv
                if batch_norm:
                    self.norms[name] = nn.BatchNorm2d(layer, momentum=0.02)
                channels = layer
        mixture = torch.randn(widths[MIXED_FROM], DIRECTIONS, generator=torch.Generator().manual_seed(3))
        self.mixture: Tensor
        self.register_buffer("mixture", torch.linalg.qr(mixture)[0].T[..., None, None].contiguous(), persistent=False)

    def _layer(self, name: str, parts: Parts, rectify: bool = True) -> Parts:
        if name in self.fires:
            made: Parts = self.fires[name](parts, rectify)
            return made
        (x,) = parts
        x = self.convs[name](_ahead(x) if name == "1_1" else padded(x))
        return (F.relu_(self.norms[name](x) if self.norms else x),)

    def _begin(self, image: Tensor) -> Tensor:
        """What stage 2 sees, from the picture in one go: the convolution of stage 1, rectified, halved."""
        conv = self.convs["1_1"]
        assert isinstance(conv, nn.Conv2d) and conv.bias is not None
        mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
        blocks = in_blocks(image, mean, std, conv.weight.dtype)
        x = F.conv2d(blocks, block_weights(conv.weight), conv.bias.repeat(BLOCK**2))
        return block_means(x, image.shape[-2], image.shape[-1])

    def _stage(self, stage: int, depth: int, rectify: bool, *parts: Tensor) -> tuple[Parts, ...]:
        """The first `depth` layers of a stage, the last of them rectified or not, from the parts of a layer."""
        found: list[Parts] = []
        for position in range(1, depth + 1):
            parts = self._layer(f"{stage}_{position}", parts, rectify or position < depth)
            found.append(parts)
        return tuple(found)

    def forward(self, image: Tensor, layers: Sequence[str], spare: bool = False) -> dict[str, Tensor]:
        """Features of the named layers; the network is run no deeper than the last of them.

        spare: the finest features are not kept for the gradient but computed again.
        """
        needed = layer_names()[: 1 + max(map(layer_names().index, layers))]
        wanted = {MIXED_FROM if name == MIXED else name for name in layers}
        found: dict[str, Tensor] = {}
        again = recomputed if spare else _now
        quick = FIRST not in wanted and not self.norms and min(image.shape[-2:]) >= 2 * BLOCK
        parts: Parts = (again(self._begin, image) if quick else normalised(image, next(self.parameters()).dtype),)
        rectified = True
        for stage in range(2 if quick else 1, len(STAGES) + 1):
            names = [name for name in needed if name.startswith(f"relu{stage}_")]
            if not names:
                break
            if stage == 2 and not quick:
                parts = (F.avg_pool2d(parts[0], 2, ceil_mode=True, count_include_pad=False),)
            elif stage > 2:
                halve = partial(root_of_squares, rectify=not rectified) if stage in L2_STAGES else averaged
                parts = tuple(halve(part) for part in parts)
            # Where nobody asks for a stage's last layer, the root of squares rectifies it: one pass less.
            rectified = names[-1] in wanted or stage + 1 not in L2_STAGES
            make = partial(self._stage, stage, len(names), rectified)
            made = (again if stage <= RECOMPUTED else _now)(make, *parts)
            parts = made[-1]
            found.update((name, _joined(own)) for name, own in zip(names, made, strict=True) if name in layers)
            if MIXED in layers and MIXED_FROM in names:
                found[MIXED] = _across(made[names.index(MIXED_FROM)], self.mixture)
        return found

    @torch.no_grad()
    def fold(self) -> CompactEncoder:
        """The same function without batch normalisation (running statistics folded into the weights)."""
        plain = CompactEncoder()
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
