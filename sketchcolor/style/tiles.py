"""Large pictures in little memory: features tile by tile, regional statistics summed exactly over all tiles.

Each tile is seen with a halo as wide as the network looks, which is then cut off, so that the tiled features are the
untiled ones and no border shows. The gradient takes a second walk over the tiles: once the sums are known, the
style loss is linear in what each tile adds to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sketchcolor.style.backbones import Backbone
from sketchcolor.style.statistics import RegionIndex, Statistics, regional_sums

Placed = Mapping[str, tuple[Tensor, slice, slice]]
"""By layer: features of a tile, and the rows and columns of the layer where they lie."""
Sums = Mapping[str, tuple[Tensor, Tensor]]
"""By layer: sums of w f (R, C) and w f f^T (R, C, C)."""


@dataclass(frozen=True)
class Tile:
    """rows, columns: the tile's pixels; seen_rows, seen_columns: the same with its halo, cut at the picture's edge."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    seen_rows: tuple[int, int]
    seen_columns: tuple[int, int]


def tiles(height: int, width: int, side: int, halo: int) -> Iterator[Tile]:
    """Tiles of at most `side` px that cover a picture, row by row; side and halo multiples of the network's stride."""

    def cuts(length: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        for start in range(0, length, side):
            stop = min(length, start + side)
            yield (start, stop), (max(0, start - halo), min(length, stop + halo))

    for rows, seen_rows in cuts(height):
        for columns, seen_columns in cuts(width):
            yield Tile(rows, columns, seen_rows, seen_columns)


class TiledStatistics:
    """Statistics of a picture's regions at several layers, in tiles of `side` px."""

    def __init__(
        self, backbone: Backbone, size: tuple[int, int], side: int, regions: Mapping[str, RegionIndex],
        shapes: Mapping[str, tuple[int, int]], others: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """regions and shapes by layer, for the whole picture; `others`: layers that are wanted beside them."""
        self.backbone, self.shapes = backbone, shapes
        self.tiles = list(tiles(*size, side, backbone.halo))
        self.layers = tuple(dict.fromkeys([*regions, *others]))
        self.present = {layer: tuple(n > 0 for n in region.lengths) for layer, region in regions.items()}
        self.weights = {layer: _dense(region, shapes[layer]) for layer, region in regions.items()}

    def features(self, image: Tensor, tile: Tile) -> Placed:
        """Each layer's features of one tile, its halo cut off, and where they lie in the whole layer.

        image: (1, 3, h, w), the tile as it is seen.
        """
        found = {}
        for layer, f in self.backbone(image, self.layers).items():
            height, width = self.shapes[layer]
            # The grid of a layer: one value for every `step` pixels.
            step = 2 ** round(math.log2((tile.seen_rows[1] - tile.seen_rows[0]) / f.shape[-2]))
            cut, place = [], []
            for own, seen, length in ((tile.rows, tile.seen_rows, height), (tile.columns, tile.seen_columns, width)):
                first, last = own[0] // step, min(length, -(-own[1] // step))
                cut.append(slice(first - seen[0] // step, last - seen[0] // step))
                place.append(slice(first, last))
            found[layer] = (f[..., cut[0], cut[1]], place[0], place[1])
        return found

    def sums(self, features: Placed) -> Sums:
        """What a tile adds to each layer's sums of w f (R, C) and w f f^T (R, C, C)."""
        found = {}
        for layer, weights in self.weights.items():
            f, rows, columns = features[layer]
            own = weights[:, rows, columns].flatten(1)
            indices = [torch.nonzero(row).flatten() for row in own]
            region = RegionIndex(
                torch.cat(indices),
                torch.cat([row[i] for row, i in zip(own, indices, strict=True)])[:, None],
                tuple(len(i) for i in indices),
                own.shape[1],
            )
            found[layer] = regional_sums(f, region)
        return found

    def total(self, image: Tensor, beside: Callable[[Placed], None] = lambda _: None) -> Sums:
        """First walk: the sums over all tiles, without gradient. `beside` sees each tile's features too."""
        whole: dict[str, tuple[Tensor, Tensor]] = {}
        with torch.no_grad():
            for tile in self.tiles:
                features = self.features(_seen(image, tile), tile)
                beside(features)
                for layer, (mean, second) in self.sums(features).items():
                    if layer in whole:
                        whole[layer] = (whole[layer][0] + mean, whole[layer][1] + second)
                    else:
                        whole[layer] = (mean, second)
        return whole

    def statistics(self, sums: Sums, kind: str) -> dict[str, Statistics]:
        """Statistics by layer from the sums over all tiles."""
        return {layer: Statistics.from_sums(*pair, self.present[layer], kind) for layer, pair in sums.items()}


def _seen(image: Tensor, tile: Tile) -> Tensor:
    (top, bottom), (left, right) = tile.seen_rows, tile.seen_columns
    return image[..., top:bottom, left:right]


def add_gradient(image: Tensor, tile: Tile, gradient: Tensor) -> None:
    """Add a tile's gradient to that of the whole picture."""
    assert image.grad is not None
    _seen(image.grad, tile).add_(gradient)


def seen(image: Tensor, tile: Tile) -> Tensor:
    """A tile with its halo as a picture of its own that gathers a gradient."""
    return _seen(image.detach(), tile).contiguous().requires_grad_(True)


def layer_shapes(
    backbone: Backbone, layers: Sequence[str], size: tuple[int, int], like: Tensor
) -> dict[str, tuple[int, int]]:
    """(height, width) of each layer for a picture of `size`, found on two narrow strips of it."""
    short = max(backbone.minimum_side, 32)
    height, width = (max(side, backbone.minimum_side) for side in size)
    with torch.no_grad():
        tall = backbone(like.new_zeros(1, 3, height, min(width, short)), layers)
        wide = backbone(like.new_zeros(1, 3, min(height, short), width), layers)
    return {layer: (tall[layer].shape[-2], wide[layer].shape[-1]) for layer in layers}


def _dense(region: RegionIndex, shape: tuple[int, int]) -> Tensor:
    """The weights of a layer's pixels, (R, h, w)."""
    count = shape[0] * shape[1]
    rows = region.weight.new_zeros(len(region.lengths), count)
    start = 0
    for number, length in enumerate(region.lengths):
        own = slice(start, start + length)
        index = torch.arange(count, device=rows.device) if region.index is None else region.index[own]
        rows[number, index] = region.weight[own, 0]
        start += length
    return rows.view(len(region.lengths), *shape)
