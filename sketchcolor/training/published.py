"""EfficientNet-Lite0 as published (a .pth with batch statistics), read into the retrieval network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sketchcolor.retrieval.network import MEAN, SIDES, STD, Block, Conv, TwoTowers

EPSILON = 1e-3  # of the published network's batch normalisation
Norms = dict[tuple[Conv, str], tuple[Tensor, Tensor]]
"""The deviation and mean that each channel of a convolution was trained to have, by convolution and side."""


def names(blocks: int) -> list[tuple[str, str]]:
    """Published names of all convolutions and of the normalisations behind them, in order."""
    found = [("_conv_stem", "_bn0")]
    for number in range(blocks):
        block = f"_blocks.{number}."
        if number > 0:  # the first does not widen
            found.append((block + "_expand_conv", block + "_bn0"))
        found += [(block + "_depthwise_conv", block + "_bn1"), (block + "_project_conv", block + "_bn2")]
    return [*found, ("_conv_head", "_bn1")]


@torch.no_grad()
def fill(towers: TwoTowers, published: Mapping[str, Tensor]) -> Norms:
    """Both sides become the published network."""
    norms: Norms = {}
    for side in SIDES:
        blocks = sum(isinstance(part, Block) for part in towers.parts(side))
        for conv, (own, norm) in zip(towers.convs(side), names(blocks), strict=True):
            deviation, mean = published[norm + ".weight"], published[norm + ".bias"]
            conv.weight.copy_(published[own + ".weight"])
            _set(conv, side, (deviation, mean), published[norm + ".running_mean"], published[norm + ".running_var"])
            norms[conv, side] = deviation, mean
    return norms


def _set(conv: Conv, side: str, norm: tuple[Tensor, Tensor], mean: Tensor, variance: Tensor) -> None:
    scale = norm[0] / (variance + EPSILON).sqrt()
    conv.scale[side].copy_(scale.view(-1, 1, 1, 1))
    conv.offset[side].copy_(norm[1] - mean * scale)


@torch.no_grad()
def calibrate(towers: TwoTowers, norms: Norms, side: str, pages: Tensor) -> None:
    """Scales and offsets with which each channel has, on these pages, the deviation and mean it was trained to have.

    What the network's batch statistics would be if it saw nothing but such pages (Li et al. 2017).
    """

    def settled(conv: Conv, x: Tensor) -> Tensor:
        y = conv.raw(x, conv.weight)
        variance, mean = torch.var_mean(y, dim=(0, 2, 3), correction=0)
        _set(conv, side, norms[conv, side], mean, variance)
        found: Tensor = conv(x, side)
        return found

    x = (pages - MEAN) / STD
    for part in towers.parts(side):
        convs: Any = part.convs if isinstance(part, Block) else [part]
        y = x
        for conv in convs:
            y = settled(conv, y)
        x = x + y if isinstance(part, Block) and part.skips else y


def classes(published: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weight (1000, PENULTIMATE) and bias (1000,) of the published network's class scores."""
    return published["_fc.weight"], published["_fc.bias"]
