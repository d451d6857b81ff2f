"""The encoder's steps with gradients of their own, against the plain operations, in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sketchcolor.style.gradients import (
    SMALL,
    averaged,
    block_means,
    block_weights,
    in_blocks,
    padded,
    root_of_squares,
)

SIZES = [(8, 8), (9, 7), (2, 3), (1, 1)]


def picture(*size):
    return torch.rand(2, 2, *size, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("size", SIZES)
def test_averaging_knows_its_own_gradient(size):
    x = picture(*size)
    assert torch.equal(averaged(x), F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    assert torch.autograd.gradcheck(averaged, x)


@pytest.mark.parametrize("rectify", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_root_of_mean_squares_knows_its_own_gradient(size, rectify):
    with torch.no_grad():
        x = picture(*size) + 0.1
        x[..., ::2] *= -1 if rectify else 1
    known = x.relu() if rectify else x
    x.requires_grad_(True)
    expected = (F.avg_pool2d(known**2, 3, 2, 1, count_include_pad=False) + SMALL).sqrt()
    assert torch.allclose(root_of_squares(x.clone(), rectify=rectify), expected)
    # Where nothing is left the root is too steep for differences.
    weight = (expected > 0.05).double()
    assert torch.autograd.gradcheck(lambda v: weight * root_of_squares(v.clone(), rectify=rectify), x)


@pytest.mark.parametrize("size", SIZES)
def test_padding_knows_its_own_gradient(size):
    x = picture(*size)
    mode = "reflect" if min(size) > 1 else "replicate"
    assert torch.equal(padded(x), F.pad(x, (1, 1, 1, 1), mode=mode))
    assert torch.autograd.gradcheck(padded, x)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (8, 7), (5, 5), (4, 4)])
def test_the_first_stage_in_blocks_is_the_first_stage(size):
    torch.manual_seed(1)
    image = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weight, bias = torch.randn(5, 3, 3, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    mean, std = (torch.rand(1, 3, 1, 1, dtype=torch.float64) + 0.5 for _ in range(2))

    def plain(x):
        x = F.pad((x - mean) / std, (0, 2, 0, 2), mode="reflect")
        return F.avg_pool2d(F.conv2d(x, weight, bias).relu(), 2, ceil_mode=True, count_include_pad=False)

    def ours(x):
        blocks = F.conv2d(in_blocks(x, mean, std, x.dtype), block_weights(weight), bias.repeat(4))
        return block_means(blocks, *size)

    assert torch.allclose(ours(image), plain(image))
    assert torch.autograd.gradcheck(ours, image)
