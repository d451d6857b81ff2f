"""Losses of style transfer. Each is scale-free, so that one set of weights serves every backbone and layer.

The relative form divides each squared distance by the target's own squared norm; the papers' own normalisations
differ from it by a constant for each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.style.statistics import Statistics

SMALL = 1e-8
# Covariances are not judged more finely than this share of the squared mean.
FLAT = 0.05


def content_loss(features: Tensor, target: Tensor, trust: Tensor | None = None, whole: Tensor | None = None) -> Tensor:
    """Squared distance of feature maps (1, C, h, w) relative to the target's squared norm.

    trust: (1, 1, h, w) in [0, 1], how much each place counts; None: all alike. whole: for a tile, the whole target.
    """
    scale = (target if whole is None else whole).float().square().mean() + SMALL
    if trust is not None:
        root = trust.sqrt().to(features.dtype)
        features, target = features * root, target * root
    return _squared_distance(features, target) / (target.numel() * scale)


def gatys_content_loss(features: Tensor, target: Tensor) -> Tensor:
    """1/2 sum (F - P)^2 (Gatys et al. 2016, equation 1)."""
    return 0.5 * _squared_distance(features, target)


class _SquaredDistance(torch.autograd.Function):
    """See `_squared_distance`. Its gradient is one array, made in one go."""

    @staticmethod
    def forward(ctx: Any, ours: Tensor, target: Tensor, dims: tuple[int, ...] | None) -> Tensor:
        gap = ours - target
        ctx.save_for_backward(gap)
        ctx.shape = [1 if dims is None or dim in dims else length for dim, length in enumerate(gap.shape)]
        norm: Tensor = torch.linalg.vector_norm(gap, dim=dims, dtype=torch.float32)
        return norm.square_()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        (gap,) = ctx.saved_tensors
        return gap * (2 * grad).view(ctx.shape).to(gap.dtype), None, None


def _squared_distance(ours: Tensor, target: Tensor, dims: tuple[int, ...] | None = None) -> Tensor:
    """Sum of the squares of `ours - target` over all dimensions, or over some, float32; a gradient for ours alone."""
    distance: Tensor = _SquaredDistance.apply(ours, target, dims)
    return distance


def gatys_style_loss(ours: Statistics, target: Statistics, weights: Sequence[float]) -> Tensor:
    """1 / (4 N^2 M^2) sum (G - A)^2 of a layer (equation 4), for each region, weighted.

    The Gram matrices of `Statistics` are means over the M pixels, so that M^2 is in them already; style pictures of
    another size than the painting are thereby compared by the pixel.
    """
    gaps = _squared_distance(ours.second, target.second, (1, 2)) / (4 * ours.second.shape[-1] ** 2)
    return (_counting(ours, target, weights) * gaps).sum()


def _counting(ours: Statistics, target: Statistics, weights: Sequence[float]) -> Tensor:
    """The regions' weights (R,), 0 where either side has no pixels."""
    sides = zip(weights, ours.present, target.present, strict=True)
    return ours.second.new_tensor([weight if a and b else 0.0 for weight, a, b in sides])


def style_loss(ours: Statistics, target: Statistics, weights: Sequence[float]) -> Tensor:
    """Weighted sum over regions of the relative squared distance of second moments, and of means where there are any.

    Regions that have no pixels on either side are left out.
    """
    counting = _counting(ours, target, weights)
    # All regions at once: picking them one by one would make the gradient of each as large as that of all.
    scale: Tensor = torch.linalg.vector_norm(target.second, dim=(1, 2)).square() + SMALL
    gaps = _squared_distance(ours.second, target.second, (1, 2))
    if not target.mean.shape[1]:
        return (counting * gaps / scale).sum()
    norm = target.mean.square().sum(1)
    # A flat region has next to no covariance; relative to that, the slightest grain would be everything.
    scale = scale + (FLAT * norm) ** 2
    means = _squared_distance(ours.mean, target.mean, (1,)) / (norm + SMALL)
    return (counting * (means + gaps / scale)).sum()


# Coloured grain disturbs more than grey grain; real pictures have far less of it (weight of the colour differences).
CHROMA_WEIGHT = 12.0


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (1, 3, H, W), differences of colour counted more.

    With the channels' mean g at each pixel: grey part g (3 times), colour part c - g (CHROMA_WEIGHT times).
    """
    value: Tensor = _Quadratic.apply(image, _variation)
    return value


class _Quadratic(torch.autograd.Function):
    """A loss whose gradient is made with it, as `found(image)` -> (value, gradient, new)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, found: Callable[[Tensor], tuple[Tensor, Tensor]]) -> Tensor:
        value, gradient = found(image)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, grad_value: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return torch.mul(gradient, grad_value), None


def _variation(image: Tensor) -> tuple[Tensor, Tensor]:
    # 3 g^2 + CHROMA_WEIGHT times the mean of (c - g)^2, which is the mean of c^2 less g^2: x^T A x of each pixel.
    channels = image.shape[1]
    mixed = torch.addmm(
        CHROMA_WEIGHT * image.reshape(channels, -1),
        image.new_full((channels, channels), 1 / channels),
        image.reshape(channels, -1),
        alpha=3 - CHROMA_WEIGHT,
    ).view_as(image)
    gradient = torch.zeros_like(image)
    for dim in (2, 3):
        count = image.shape[dim] - 1
        if count < 1:
            continue
        change = mixed.narrow(dim, 1, count) - mixed.narrow(dim, 0, count)
        change *= 2 / change.numel()
        gradient.narrow(dim, 1, count).add_(change)
        gradient.narrow(dim, 0, count).sub_(change)
    return torch.linalg.vecdot(image.flatten(), gradient.flatten()) / 2, gradient


def _outside(image: Tensor) -> tuple[Tensor, Tensor]:
    excess = image - image.clamp(0, 1)
    value = excess.square().mean()
    return value, excess.mul_(2 / excess.numel())


def anchor(image: Tensor, held: Tensor) -> Tensor:
    """Mean squared distance to `held` in what must not drift: coarse colour (1/8 size) and finer hue (1/2 size).

    Texture, the fine part of the brightness, stays free. Both (1, 3, H, W).
    """
    difference = image - held
    coarse = F.avg_pool2d(difference, 8, ceil_mode=True, count_include_pad=False)
    hue = difference - difference.mean(dim=1, keepdim=True)
    fine = F.avg_pool2d(hue, 2, ceil_mode=True, count_include_pad=False)
    return coarse.square().mean() + fine.square().mean()


def pull_to_mean(image: Tensor) -> Tensor:
    """Mean squared distance of pixels to the picture's mean colour (Batchu et al. 2017, section 4.3)."""
    return (image - image.mean(dim=(2, 3), keepdim=True)).square().mean()


def box_penalty(image: Tensor) -> Tensor:
    """Mean squared distance of pixel values to [0, 1]."""
    value: Tensor = _Quadratic.apply(image, _outside)
    return value
