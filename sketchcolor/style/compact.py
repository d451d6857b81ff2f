"""The compact encoder: a small VGG-like network made for style transfer.

Differences from VGG-19 (Simonyan & Zisserman 2015), each for the sake of optimising pixels:
five stages at strides 1, 2, 4, 8, 16 whose first stage sees every pixel; average pooling before each
halving, since max pooling passes the gradient to single pixels (Gatys et al. 2016, section 2);
reflection padding, so that the border does not darken; no batch statistics at run time (batch
normalisation is used in training and folded into the convolutions for release).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (16, 32, 64, 128, 192)
DEPTHS = (2, 2, 2, 3, 2)
MINIMUM_SIDE = 16
# ImageNet's channel statistics, the same that the teacher was trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def layer_names(depths: Sequence[int] = DEPTHS) -> tuple[str, ...]:
    """Names of all layers in order: `relu<stage>_<convolution>`."""
    return tuple(f"relu{s}_{c}" for s, depth in enumerate(depths, 1) for c in range(1, depth + 1))


class CompactEncoder(nn.Module):
    """(B, 3, H, W) RGB in [0, 1] -> {layer name: (B, C, ceil(H / s), ceil(W / s))} for the named layers.

    `batch_norm=True` builds the network that is trained; `fold` turns it into the one that is shipped.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS,
        depths: Sequence[int] = DEPTHS,
        *,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.widths, self.depths = tuple(widths), tuple(depths)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.convs = nn.ModuleDict()
        self.norms = nn.ModuleDict()
        channels = 3
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
            for position in range(1, depth + 1):
                conv = nn.Conv2d(channels, width, 3, bias=not batch_norm)
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
                name = f"{stage}_{position}"
                self.convs[name] = conv
                if batch_norm:
                    self.norms[name] = nn.BatchNorm2d(width, momentum=0.02)
                channels = width

    mean: Tensor
    std: Tensor

    def forward(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        """Features of the named layers; the network is run no deeper than the last of them."""
        wanted = set(layers)
        found: dict[str, Tensor] = {}
        x = (image - self.mean) / self.std
        for stage, depth in enumerate(self.depths, 1):
            if stage > 1:
                x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
            for position in range(1, depth + 1):
                name = f"{stage}_{position}"
                # A side of one pixel has nothing to reflect; its only pixel is repeated.
                mode = "reflect" if min(x.shape[-2:]) > 1 else "replicate"
                x = self.convs[name](F.pad(x, (1, 1, 1, 1), mode=mode))
                if self.norms:
                    x = self.norms[name](x)
                x = F.relu(x)
                if f"relu{name}" in wanted:
                    found[f"relu{name}"] = x
                    if len(found) == len(wanted):
                        return found
        return found

    @torch.no_grad()
    def fold(self) -> CompactEncoder:
        """The same function without batch normalisation (running statistics folded into the weights)."""
        plain = CompactEncoder(self.widths, self.depths)
        for name, conv in self.convs.items():
            target = plain.convs[name]
            assert isinstance(conv, nn.Conv2d) and isinstance(target, nn.Conv2d)
            assert target.bias is not None
            if name not in self.norms:
                target.load_state_dict(conv.state_dict())
                continue
            norm = self.norms[name]
            assert isinstance(norm, nn.BatchNorm2d)
            assert norm.running_var is not None and norm.running_mean is not None
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            target.weight.copy_(conv.weight * scale.view(-1, 1, 1, 1))
            target.bias.copy_(norm.bias - norm.running_mean * scale)
        return plain.eval()
