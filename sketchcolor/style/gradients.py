"""Steps of the compact encoder whose gradients are our own, since autograd's move more memory than they need to.

A step of an optimisation of pixels is half convolutions, half arrays being read and written. Each function here gives
what the plain operations in its description give, values and gradients; that is tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SMALL = 1e-6
BLOCK = 2  # pixels a side that `in_blocks` puts into one place
_AHEAD = 2  # pixels that a 3 x 3 window beginning at the last pixel sees behind the picture
# By the bytes of a value, a type as wide as two: two neighbours are moved as one.
_PAIR = {2: torch.int32, 4: torch.int64, 8: torch.complex128}


class _InBlocks(torch.autograd.Function):
    """See `in_blocks`."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, mean: Tensor, std: Tensor, kind: torch.dtype) -> Tensor:
        batch, channels, height, width = image.shape
        rows, columns = ((length + _AHEAD + 1) // BLOCK for length in (height, width))
        ctx.std, ctx.size, ctx.kind = std, (height, width), image.dtype
        x = image.new_empty(batch, channels, BLOCK * rows, BLOCK * columns)
        torch.sub(image, mean, out=x[:, :, :height, :width]).div_(std)
        for after in range(BLOCK * rows - height):  # reflected
            x[:, :, height + after] = x[:, :, height - 2 - after]
        for after in range(BLOCK * columns - width):
            x[..., width + after] = x[..., width - 2 - after]
        pairs = x.to(kind).view(_PAIR[kind.itemsize]).view(batch, channels, rows, BLOCK, columns)
        lines = pairs.permute(0, 3, 1, 2, 4).reshape(batch, BLOCK * channels, rows, columns)
        last = lines.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        return last.view(kind).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        height, width = ctx.size
        last = grad.permute(0, 2, 3, 1).contiguous()
        batch, rows, columns, channels = last.shape
        pairs = last.view(_PAIR[last.element_size()]).view(batch, rows, columns, BLOCK, channels // BLOCK**2)
        lines = pairs.new_empty(batch, channels // BLOCK**2, rows, BLOCK, columns)
        lines.copy_(pairs.permute(0, 4, 1, 3, 2))
        x = lines.view(last.dtype).view(batch, -1, BLOCK * rows, BLOCK * columns).to(ctx.kind)
        for after in range(BLOCK * columns - width):
            x[..., width - 2 - after] += x[..., width + after]
        for after in range(BLOCK * rows - height):
            x[:, :, height - 2 - after] += x[:, :, height + after]
        return x[:, :, :height, :width].div_(ctx.std), None, None, None


def in_blocks(image: Tensor, mean: Tensor, std: Tensor, kind: torch.dtype) -> Tensor:
    """Blocks of 2 x 2 pixels as channels: (B, C, H, W) -> (B, 4 C, (H + 3) // 2, (W + 3) // 2), channels last.

    Less `mean`, divided by `std` (both (1, C, 1, 1)), in the type `kind`, and reflected behind the last row and column
    as far as a 3 x 3 window sees that begins at the last pixel. Channels in the order (row, colour, column). Sides of 4
    and more.
    """
    blocks: Tensor = _InBlocks.apply(image, mean, std, kind)
    return blocks


def block_weights(weight: Tensor) -> Tensor:
    """The 3 x 3 convolution (N, C, 3, 3) at each of a block's four pixels, on blocks: (4 N, 4 C, 2, 2)."""
    made, channels = weight.shape[:2]
    wide = weight.new_zeros(BLOCK, BLOCK, made, channels, 2 * BLOCK, 2 * BLOCK)
    for row in range(BLOCK):
        for column in range(BLOCK):
            wide[row, column, :, :, row : row + 3, column : column + 3] = weight
    split = wide.view(BLOCK**2 * made, channels, 2, BLOCK, 2, BLOCK)  # from, (block, pixel) down, (block, pixel) across
    return split.permute(0, 3, 1, 5, 2, 4).reshape(BLOCK**2 * made, BLOCK**2 * channels, 2, 2)


class _BlockMeans(torch.autograd.Function):
    """See `block_means`. `x` is rectified in place."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, height: int, width: int) -> Tensor:
        kept = F.relu_(x.detach())
        channels = kept.shape[1] // BLOCK**2
        means = torch.eye(channels, dtype=x.dtype, device=x.device).repeat(1, BLOCK**2)[..., None, None] / BLOCK**2
        # Behind an odd side's last pixel there is none; what is there counts nothing, and the pixel twice.
        ctx.odd = [dim for dim, length in ((2, height), (3, width)) if length % 2]
        pixels = kept.unflatten(1, (BLOCK, BLOCK, channels))
        for dim in ctx.odd:
            pixels.select(dim - 1, 1).select(dim + 1, -1).zero_()
        ctx.save_for_backward(kept, means)
        return _last_doubled(F.conv2d(kept, means), ctx.odd)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        kept, means = ctx.saved_tensors
        grad = _last_doubled(grad.clone() if ctx.odd else grad, ctx.odd)
        return torch.ops.aten.threshold_backward(F.conv_transpose2d(grad, means), kept, 0), None, None


def _last_doubled(x: Tensor, dims: Sequence[int]) -> Tensor:
    for dim in dims:
        x.select(dim, -1).mul_(2)
    return x


def block_means(x: Tensor, height: int, width: int) -> Tensor:
    """Means over the pixels of each block of what is rectified: (B, 4 N, h, w) -> (B, N, h, w).

    `x`: a convolution with `block_weights` of the blocks of a picture of `height` x `width` pixels. It is changed.
    """
    means: Tensor = _BlockMeans.apply(x, height, width)
    return means


class _Padded(torch.autograd.Function):
    """See `padded`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.pad(x, (1, 1, 1, 1), mode="reflect")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x = grad[:, :, 1:-1].clone(memory_format=torch.channels_last)
        x[:, :, 1] += grad[:, :, 0]
        x[:, :, -2] += grad[:, :, -1]
        x[..., 2] += x[..., 0]
        x[..., -3] += x[..., -1]
        return x[..., 1:-1]


def padded(x: Tensor) -> Tensor:
    """One place of reflection on all sides of (B, C, h, w); a side of one place has nothing to reflect: repeated."""
    if min(x.shape[-2:]) < 2:
        return F.pad(x, (1, 1, 1, 1), mode="replicate")
    made: Tensor = _Padded.apply(x)
    return made


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 2, 1, count_include_pad=False)


class _Averaged(torch.autograd.Function):
    """See `averaged`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.size = x.shape[2:]
        return _mean(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _passed_on(grad.clone(), *ctx.size)


class _Root(torch.autograd.Function):
    """See `root_of_squares`: its gradient is g x / y over the number of values, and 0 where x was rectified."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rectify: bool) -> Tensor:
        kept = F.relu_(x.detach()) if rectify else x
        y = _mean(kept * kept).add_(SMALL).sqrt_()
        ctx.save_for_backward(kept, y)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, y = ctx.saved_tensors
        return _passed_on(grad / y, x.shape[2], x.shape[3], x), None


def _passed_on(grad: Tensor, height: int, width: int, factor: Tensor | None = None) -> Tensor:
    """The gradient of means over 3 x 3 values, two apart: (B, C, ceil(h / 2), ceil(w / 2)) -> (B, C, h, w), new.

    `grad` is changed. With a factor (B, C, h, w) the product with it.
    """
    # Of a window's places 2i - 1, 2i, 2i + 1 the first may lie before the picture, the last behind it.
    grad.div_(9)
    for dim, length in ((2, height), (3, width)):
        first, last = 0, grad.shape[dim] - 1
        counts = {first: 3, last: 3}
        counts[first] -= 1
        counts[last] -= length % 2
        for place, count in counts.items():
            if count < 3:
                grad.select(dim, place).mul_(3 / count)
    x = grad.permute(0, 2, 3, 1)
    made = x.new_empty(x.shape[0], height, width, x.shape[3])
    factors = None if factor is None else factor.permute(0, 2, 3, 1)
    for row, even_row in enumerate((x, _neighbours(x, 1, height // 2))):
        for column, part in enumerate((even_row, _neighbours(even_row, 2, width // 2))):
            phase = made[:, row::2, column::2]
            if factors is None:
                phase.copy_(part)
            else:
                torch.mul(part, factors[:, row::2, column::2], out=phase)
    return made.permute(0, 3, 1, 2)


def _neighbours(x: Tensor, dim: int, count: int) -> Tensor:
    """Sums of each place with the next along a dimension, of the first `count` places; behind the last there is 0."""
    found, others = x.narrow(dim, 0, count).clone(), x.shape[dim] - 1
    found.narrow(dim, 0, others).add_(x.narrow(dim, 1, others))
    return found


def averaged(x: Tensor) -> Tensor:
    """Half the size: the mean of 3 x 3 values, two apart, windows as wide as the teacher's."""
    mean: Tensor = _Averaged.apply(x)
    return mean


def root_of_squares(x: Tensor, *, rectify: bool = False) -> Tensor:
    """Half the size: the root of the mean square of such windows.

    rectify: of what is first rectified. `x` is then changed.
    """
    root: Tensor = _Root.apply(x, rectify)
    return root
