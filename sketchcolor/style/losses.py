"""Losses of style transfer. Each is scale-free, so that one set of weights serves every backbone and layer.

The relative form divides each squared distance by the target's own squared norm; the papers' own normalisations
differ from it by a constant for each layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.style.statistics import Statistics

SMALL = 1e-8


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """Squared distance of feature maps (1, C, h, w) relative to the target's squared norm."""
    return F.mse_loss(features.float(), target.float()) / (target.float().square().mean() + SMALL)


def style_loss(ours: Statistics, target: Statistics, weights: Sequence[float]) -> Tensor:
    """Weighted sum over regions of the relative squared distance of second moments, and of means where there are any.

    Regions that have no pixels on either side are left out.
    """
    total = ours.second.new_zeros(())
    for region, weight in enumerate(weights):
        if weight == 0 or not (ours.present[region] and target.present[region]):
            continue
        goal = target.second[region]
        total = total + weight * (ours.second[region] - goal).square().sum() / (goal.square().sum() + SMALL)
        if target.mean.shape[1]:
            mean = target.mean[region]
            total = total + weight * (ours.mean[region] - mean).square().sum() / (mean.square().sum() + SMALL)
    return total


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of (1, 3, H, W)."""
    down = (image[..., 1:, :] - image[..., :-1, :]).square().mean() if image.shape[-2] > 1 else image.sum() * 0
    across = (image[..., 1:] - image[..., :-1]).square().mean() if image.shape[-1] > 1 else image.sum() * 0
    return down + across


def pull_to_mean(image: Tensor) -> Tensor:
    """Mean squared distance of pixels to the picture's mean colour (Batchu et al. 2017, section 4.3)."""
    return (image - image.mean(dim=(2, 3), keepdim=True)).square().mean()


def box_penalty(image: Tensor) -> Tensor:
    """Mean squared distance of pixel values to [0, 1]."""
    return (torch.relu(-image) + torch.relu(image - 1)).square().mean()
