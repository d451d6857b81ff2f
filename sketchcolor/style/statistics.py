"""Regional statistics of feature maps: what a style is, as numbers.

Every region is a soft mask over the picture. For a layer with features f (C channels) and mask m the
style is either

- `gram`: G = sum(m f f^T) / sum(m)            (Gatys et al. 2016; with masks: Gatys et al. 2017), or
- `moments`: mu = sum(m f) / sum(m) and C = sum(m (f - mu)(f - mu)^T) / sum(m).

All regions of a layer are gathered in one pass, so that the cost depends on the number of pixels and
hardly on the number of regions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Sums of bfloat16 are rounded to it: those of so many pixels at a time, added up in float32, hardly are.
BUNCH, SMALL_BUNCH = 256, 64  # of products; the small ones for regions that would hardly fill one
FEW = 16  # of the values themselves: the product of their means is taken off that of theirs
# Features are gone through in blocks of so many values: what is made of them on the way stays small, and in the cache.
BLOCK = 2**21


@dataclass(frozen=True)
class RegionIndex:
    """Which of a layer's pixels belong to which region, and how much.

    index: (M,) int64 positions in the flattened layer, region after region; None means "all pixels, in order".
    weight: (M, 1) float32, summing to 1 inside each region that has any pixel.
    lengths: pixels of each region, in order; they add up to M. A region may be empty (length 0).
    pixels: how many the layer has.
    """

    index: Tensor | None
    weight: Tensor
    lengths: tuple[int, ...]
    pixels: int

    @cached_property
    def bunches(self) -> Bunches:
        """The same in bunches of one region each."""
        assert self.index is not None
        size = BUNCH if len(self.index) >= BUNCH // 2 * len(self.lengths) else SMALL_BUNCH
        indices, shares, most = [], [], []
        for index, weight in zip(self.index.split(self.lengths), self.weight.split(self.lengths), strict=True):
            most.append(weight.max() if len(index) else self.weight.new_zeros(()))
            missing = -len(index) % size
            indices.append(F.pad(index, (0, missing)))
            shares.append(F.pad(weight / most[-1], (0, 0, 0, missing)))
        counts = tuple(len(index) // size for index in indices)
        index, share = torch.cat([*indices, index.new_zeros(1)]), torch.cat([*shares, self.weight.new_zeros(1, 1)])
        found = None
        if len(self.index.unique()) == len(self.index):
            counting = share[:, 0].nonzero()[:, 0]
            found = torch.full((self.pixels,), len(index) - 1, device=index.device)
            found[index[counting]] = counting
        return Bunches(index, share, torch.stack(most), counts, size, found)


@dataclass(frozen=True)
class Bunches:
    """A RegionIndex in bunches of `size` rows, each of one region, filled up with rows that count nothing.

    index: (N,) int64, pixels; share: (N, 1), how much each counts of the region's `most` (R,). counts: the regions'
    bunches, in order; behind them lies one row more that counts nothing. places: the row of each pixel, that last one
    for a pixel of no region; None where regions share pixels.
    """

    index: Tensor
    share: Tensor
    most: Tensor
    counts: tuple[int, ...]
    size: int
    places: Tensor | None

    def blocks(self, channels: int) -> Iterator[tuple[slice, list[tuple[int, slice]]]]:
        """Rows that are gone through at a time, and in them the bunches (counted from there) of each region."""
        most = max(1, BLOCK // (channels * self.size))
        regions = [region for region, count in enumerate(self.counts) for _ in range(count)]
        for first in range(0, len(regions), most):
            own = regions[first : first + most]
            parts = [(region, slice(own.index(region), own.index(region) + own.count(region))) for region in {*own}]
            yield slice(self.size * first, self.size * (first + len(own))), parts


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
        return RegionIndex(None, masks.new_full((pixels, 1), 1.0 / pixels), (pixels,), pixels)
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
    return RegionIndex(torch.cat(indices), torch.cat(weights)[:, None].float(), tuple(lengths), flat.shape[1])


def _sums(rows: Tensor, weighted: Tensor, bunch: int) -> tuple[Tensor, Tensor]:
    """Sums of `weighted` (M, C) over FEW rows each, and of rows (M, C) by weighted over `bunch` rows each.

    M: a multiple of `bunch`, which is one of FEW or M itself.
    """
    channels = rows.shape[1]
    left, right = (x.view(-1, bunch, channels) for x in (rows, weighted))
    few = FEW if bunch % FEW == 0 else 1
    return weighted.view(-1, few, channels).sum(1), torch.bmm(left.transpose(1, 2), right)


class _RegionalMoments(torch.autograd.Function):
    """Sum of w x and of w x x^T over each region's rows, with a gradient that writes each row once.

    Autograd's own way through gather, split and product makes and fills several arrays of the size of the features
    for each region; this makes one, the gradient. Features may be of any float type; sums are float32, but for the
    rounding of bunches to the features' type, and so is the gradient. The gradient of the second moments must be
    symmetric, as that of any loss is which sees them as a matrix.
    """

    @staticmethod
    def forward(ctx: Any, flat: Tensor, region: RegionIndex) -> Any:
        ctx.save_for_backward(flat)
        ctx.region = region
        channels, kind = flat.shape[1], torch.float32
        if region.index is None:  # one region, all pixels alike
            whole = len(flat) // BUNCH * BUNCH
            mean, second = flat.new_zeros(channels, dtype=kind), flat.new_zeros(channels, channels, dtype=kind)
            for rows in (flat[:whole], flat[whole:]):
                if len(rows):
                    few, products = _sums(rows, rows, min(BUNCH, len(rows)))
                    mean += few.sum(0, dtype=kind)
                    second += products.sum(0, dtype=kind)
            return (region.weight[0] * mean)[None], (region.weight[0] * second)[None]
        bunches, regions = region.bunches, len(region.lengths)
        ratio = bunches.size // FEW
        mean = region.weight.new_zeros(regions, channels)
        second = region.weight.new_zeros(regions, channels, channels)
        for where, parts in bunches.blocks(channels):
            rows = flat.index_select(0, bunches.index[where])
            weighted = rows * bunches.share[where].to(rows.dtype)
            few, products = _sums(rows, weighted, bunches.size)
            for number, own in parts:
                mean[number] += few[ratio * own.start : ratio * own.stop].sum(0, dtype=kind)
                second[number] += products[own].sum(0, dtype=kind)
        return mean.mul_(bunches.most[:, None]), second.mul_(bunches.most[:, None, None])

    @staticmethod
    def backward(ctx: Any, grad_mean: Tensor, grad_second: Tensor) -> Any:
        (flat,) = ctx.saved_tensors
        region, kind = ctx.region, flat.dtype
        if region.index is None:
            same = region.weight[0]
            return torch.addmm((same * grad_mean[0]).to(kind), flat, (2 * same * grad_second[0]).to(kind)), None
        bunches = region.bunches
        mean = (grad_mean * bunches.most[:, None]).to(kind)
        second = (grad_second * (2 * bunches.most[:, None, None])).to(kind)
        made = flat.new_empty(len(bunches.index), flat.shape[1])
        made[-1] = 0
        for where, parts in bunches.blocks(flat.shape[1]):
            rows, here = flat.index_select(0, bunches.index[where]), made[where]
            for number, own in parts:
                place = slice(bunches.size * own.start, bunches.size * own.stop)
                torch.addmm(mean[number], rows[place], second[number], out=here[place])
        made *= bunches.share.to(kind)
        if bunches.places is not None:
            return made.index_select(0, bunches.places), None
        return torch.zeros_like(flat).index_add_(0, bunches.index, made), None


def regional_sums(features: Tensor, region: RegionIndex) -> tuple[Tensor, Tensor]:
    """Sums of w f (R, C) and w f f^T (R, C, C) over each region; features (1, C, h, w), any float dtype."""
    _, channels, height, width = features.shape
    flat = features.permute(0, 2, 3, 1).reshape(height * width, channels)
    mean, second = _RegionalMoments.apply(flat, region)
    return mean, second


def statistics(features: Tensor, region: RegionIndex, kind: str = "moments") -> Statistics:
    """Style of features (1, C, h, w), any float dtype, under `region`; `kind` is "gram" or "moments"."""
    return Statistics.from_sums(*regional_sums(features, region), tuple(n > 0 for n in region.lengths), kind)
