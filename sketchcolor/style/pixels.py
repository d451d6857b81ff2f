"""From pictures to tensors and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.records import Image


def resize_tensor(image: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, H, W) to another (height, width), bilinear, without aliasing."""
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)


def to_tensor(image: Image, device: str = "cpu") -> Tensor:
    """RGB uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1]."""
    tensor = torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None]
    return (tensor.float() / 255).contiguous()


def to_image(tensor: Tensor) -> Image:
    """float (1, 3, H, W) in [0, 1] -> RGB uint8 (H, W, 3)."""
    scaled = (tensor[0].detach().float().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
