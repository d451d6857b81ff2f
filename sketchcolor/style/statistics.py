"""Regional statistics of feature maps: what a style is, as numbers.

Every region is a soft mask over the picture. For a layer with features f (C channels) and mask m the
style is either

- `gram`: G = sum(m f f^T) / sum(m)            (Gatys et al. 2016; with masks: Gatys et al. 2017), or
- `moments`: mu = sum(m f) / sum(m) and C = sum(m (f - mu)(f - mu)^T) / sum(m).

All regions of a layer are gathered in one pass, so that the cost depends on the number of pixels and
hardly on the number of regions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class RegionIndex:
    """Which pixels of a layer belong to which region, and how much.

    index: (M,) int64 positions in the flattened layer, region after region; None means "all pixels, in order".
    weight: (M, 1) float32, summing to 1 inside each region that has any pixel.
    lengths: pixels of each region, in order; they add up to M. A region may be empty (length 0).
    """

    index: Tensor | None
    weight: Tensor
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Statistics:
    """Style of all regions at one layer: mean (R, C) and second moment (R, C, C), float32.

    For `gram` the mean is zero-sized (R, 0) and `second` is the Gram matrix; for `moments` it is the covariance.
    A region without pixels has zeros and `present[r]` is False.
    """

    mean: Tensor
    second: Tensor
    present: tuple[bool, ...]

    @classmethod
    def from_sums(cls, mean: Tensor, second: Tensor, present: tuple[bool, ...], kind: str) -> Statistics:
        """From the sums of w f and w f f^T over each region, with weights that sum to 1 in it."""
        if kind == "gram":
            return cls(mean[:, :0], second, present)
        return cls(mean, torch.baddbmm(second, mean[:, :, None], mean[:, None, :], alpha=-1), present)


def index_regions(masks: Tensor, size: tuple[int, int], *, pull: float = 0.5) -> RegionIndex:
    """Bring region masks (R, H, W) float in [0, 1] to a layer of `size` = (h, w).

    Masks are area-averaged. A coarse pixel counts for a region only for the part of its coverage above
    `pull`, so that pixels shared with a neighbour do not leak into the statistics; a region too thin to have any
    such pixel keeps its unpulled coverage.
    """
    count = masks.shape[0]
    if count == 1 and bool((masks >= 1).all()):
        pixels = size[0] * size[1]
        return RegionIndex(None, masks.new_full((pixels, 1), 1.0 / pixels), (pixels,))
    small = masks[None]
    if tuple(masks.shape[-2:]) != tuple(size):
        small = F.adaptive_avg_pool2d(small, size)
    flat = small[0].reshape(count, -1)
    pulled = ((flat - pull) / (1 - pull)).clamp(min=0)
    enough = pulled.sum(dim=1, keepdim=True) >= 1.0
    flat = torch.where(enough, pulled, flat)
    indices, weights, lengths = [], [], []
    for row in flat:
        where = torch.nonzero(row > 1e-3).flatten()
        weight = row[where]
        indices.append(where)
        weights.append(weight / weight.sum() if len(where) else weight)
        lengths.append(len(where))
    return RegionIndex(torch.cat(indices), torch.cat(weights)[:, None].float(), tuple(lengths))


# Features are gone through in blocks of so many values: what is made of them on the way stays small, and in the cache.
BLOCK = 2**21


# Sums of bfloat16 are rounded to it: those of so many pixels at a time, added up in float32, hardly are.
BUNCH = 512
SMALL_BUNCH = 64


def _sum(rows: Tensor) -> Tensor:
    """Sum over pixels of (M, C): float32 (C,)."""
    if rows.dtype == torch.float32:
        return rows.sum(0)
    whole = len(rows) // SMALL_BUNCH * SMALL_BUNCH
    found: Tensor = rows[:whole].view(-1, SMALL_BUNCH, rows.shape[1]).sum(1).sum(0, dtype=torch.float32)
    return found.add_(rows[whole:].sum(0, dtype=torch.float32))


def _products(rows: Tensor, weighted: Tensor) -> Tensor:
    """Sum over pixels of rows (M, C) by weighted (M, C): float32 (C, C)."""
    if rows.dtype == torch.float32:
        return rows.T @ weighted
    channels, whole = rows.shape[1], len(rows) // BUNCH * BUNCH
    left, right = (x[:whole].view(-1, BUNCH, channels) for x in (rows, weighted))
    found: Tensor = torch.bmm(left.transpose(1, 2), right).sum(0, dtype=torch.float32)
    if whole < len(rows):
        found.addmm_(rows[whole:].float().T, weighted[whole:].float())
    return found


class _RegionalMoments(torch.autograd.Function):
    """Sum of w x and of w x x^T over each region's rows, with a gradient that writes each row once.

    Autograd's own way through gather, split and product makes and fills several arrays of the size of the features
    for each region; this makes one, the gradient. Features may be of any float type; sums are float32, products are
    made in the features' type, and so is the gradient. The gradient of the second moments must be symmetric, as that
    of any loss is which sees them as a matrix.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, index: Tensor | None, weight: Tensor, lengths: tuple[int, ...]) -> Any:
        ctx.save_for_backward(flat, weight, *([] if index is None else [index]))
        ctx.lengths = lengths
        channels = flat.shape[1]
        if index is None:  # one region, all pixels alike
            same = weight[0]
            return (same * _sum(flat))[None], (same * _products(flat, flat))[None]
        mean, second = weight.new_zeros(len(lengths), channels), weight.new_zeros(len(lengths), channels, channels)
        for region, where, w in _blocks(channels, weight, lengths):
            most = w.max()  # most pixels weigh as much: they count exactly 1 in any type
            rows = flat.index_select(0, index[where])
            weighted = rows * (w / most).to(rows.dtype)
            mean[region] += most * _sum(weighted)
            second[region] += most * _products(rows, weighted)
        return mean, second

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_second: Tensor) -> Any:
        flat, weight, *rest = ctx.saved_tensors
        kind = flat.dtype
        if not rest:
            same = weight[0]
            grad = torch.addmm((same * grad_mean[0]).to(kind), flat, (2 * same * grad_second[0]).to(kind))
            return grad, None, None, None
        (index,) = rest
        grad = torch.zeros_like(flat)
        for region, where, w in _blocks(flat.shape[1], weight, ctx.lengths):
            rows = flat.index_select(0, index[where])
            own = torch.addmm(grad_mean[region].to(kind), rows, (2 * grad_second[region]).to(kind))
            grad.index_add_(0, index[where], own.mul_(w.to(kind)))
        return grad, None, None, None


def _blocks(channels: int, weight: Tensor, lengths: Sequence[int]) -> Iterator[tuple[int, slice, Tensor]]:
    """(region, positions in the index, their weights) of each block."""
    size = max(1, BLOCK // channels)
    first = 0
    for region, length in enumerate(lengths):
        for start in range(first, first + length, size):
            where = slice(start, min(start + size, first + length))
            yield region, where, weight[where]
        first += length


def regional_sums(features: Tensor, region: RegionIndex) -> tuple[Tensor, Tensor]:
    """Sums of w f (R, C) and w f f^T (R, C, C) over each region; features (1, C, h, w), any float dtype."""
    _, channels, height, width = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(height * width, channels)
    mean, second = _RegionalMoments.apply(flat, region.index, region.weight, region.lengths)
    return mean, second


def statistics(features: Tensor, region: RegionIndex, kind: str = "moments") -> Statistics:
    """Style of features (1, C, h, w), any float dtype, under `region`; `kind` is "gram" or "moments"."""
    return Statistics.from_sums(*regional_sums(features, region), tuple(n > 0 for n in region.lengths), kind)
