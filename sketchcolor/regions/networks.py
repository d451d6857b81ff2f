"""Two small U-Nets (Ronneberger et al. 2015) that tell figure from ground: one for photos, one for line drawings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PHOTO_SIDE = 192
SKETCH_SIDE = 160
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class _Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation; the second may look further (dilation)."""

    def __init__(self, channels_in: int, channels_out: int, dilation: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels_out, channels_out, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        out: Tensor = self.layers(x)
        return out


def _up(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class PhotoNet(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] -> logits (B, 1, H, W) of figure.

    The way down is a SqueezeNet trunk (Iandola et al. 2016), the way up four small blocks; the whole picture's mean is
    added at the bottom, since what stands out depends on all of it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_0

        self.trunk = squeezenet1_0().features
        self.bottom = nn.Sequential(nn.Conv2d(1024, 96, 1), nn.ReLU(inplace=True))
        self.up3 = _Block(96 + 512, 64)
        self.up2 = _Block(64 + 256, 48)
        self.up1 = _Block(48 + 96, 32)
        self.fine = _Block(32 + 3, 16)
        self.out = nn.Conv2d(16, 1, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        x = (image - self.mean) / self.std
        skips = []
        down = x
        for _number, layer in enumerate(self.trunk):
            if isinstance(layer, nn.MaxPool2d):
                skips.append(down)
            down = layer(down)
        context = down.mean(dim=(2, 3), keepdim=True).expand_as(down)
        y: Tensor = self.bottom(torch.cat([down, context], 1))
        y = self.up3(torch.cat([_up(y, skips[2]), skips[2]], 1))
        y = self.up2(torch.cat([_up(y, skips[1]), skips[1]], 1))
        y = self.up1(torch.cat([_up(y, skips[0]), skips[0]], 1))
        half = F.avg_pool2d(x, 2)
        y = self.out(self.fine(torch.cat([_up(y, half), half], 1)))
        return _up(y, image)


class SketchNet(nn.Module):
    """(B, 1 + hints, H, W) ink and classical fillings in [0, 1] -> logits (B, 1, H, W) of figure."""

    def __init__(self, hints: int = 4, widths: Sequence[int] = (16, 24, 40, 64, 80)) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        channels = 1 + hints
        for width in widths:
            self.down.append(_Block(channels, width))
            channels = width
        self.middle = _Block(channels, channels, dilation=2)
        self.up = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.up.append(_Block(channels + width, width))
            channels = width
        self.out = nn.Conv2d(channels, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        skips = []
        for number, block in enumerate(self.down):
            x = block(x if number == 0 else F.max_pool2d(x, 2, ceil_mode=True))
            skips.append(x)
        x = self.middle(x)
        for block, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = block(torch.cat([_up(x, skip), skip], 1))
        out: Tensor = self.out(x)
        return out


def without_batch_norm(network: nn.Module) -> nn.Module:
    """The same function, batch normalisation folded into the convolutions before it; for a network in eval mode."""
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for part in list(network.modules()):
        if isinstance(part, nn.Sequential):
            for place in range(len(part) - 1):
                conv, norm = part[place], part[place + 1]
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    part[place], part[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()
    return network
