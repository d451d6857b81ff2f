"""The retrieval network: a sketch side and a photo side into one space.

One EfficientNet-Lite0 (Tan & Le 2019; "Lite": no squeeze-and-excitation, ReLU6 throughout). Its early blocks, which see
lines in one case and light in the other, each side has for itself; its deep blocks, which see what things are made of,
both share but for the scale and offset of every channel (as domains share weights and keep their own statistics in
Chang et al. 2019). Behind it are two answers: what the thing is, along the axes in which ImageNet's class scores of
photos differ most, and what it looks like in lines, a learned vector. Both are centred by their own side's mean, since
sketches and photos sit in different corners of the space, brought to unit length, weighed and joined.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SKETCH, PHOTO = SIDES = ("sketch", "photo")
LOOK = 64
KIND = 128
DIMENSION = LOOK + KIND
# Pages in pixels. What each is chosen from: models/retrieval.md.
PAGE = {SKETCH: 160, PHOTO: 192}
KIND_WEIGHT = 1.0  # what the thing is counts this much, what it looks like 1
MEAN, STD = 0.498, 0.502  # of the pixels that the published network was trained with
STEM, PENULTIMATE = 32, 1280
# Stages (blocks, kernel, stride of the first block, expansion, channels): each side's own, and shared.
OWN = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80))
SHARED = ((3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
# Blocks, counted from the end, whose features tell what a place is like: one at stride 16 and one at 32.
PLACES = (-9, -4)


class Conv(nn.Module):
    """(B, inputs, h, w) -> (B, outputs, ceil(h / stride), ceil(w / stride)); scaled and offset by side."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        sides: tuple[str, ...],
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        clipped: bool = True,
    ) -> None:
        """clipped: ReLU6 behind it."""
        super().__init__()
        self.stride, self.clipped, self.groups = stride, clipped, inputs if depthwise else 1
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // self.groups, kernel, kernel))
        self.scale = nn.ParameterDict({side: nn.Parameter(torch.ones(outputs, 1, 1, 1)) for side in sides})
        self.offset = nn.ParameterDict({side: nn.Parameter(torch.zeros(outputs)) for side in sides})

    def raw(self, x: Tensor, weight: Tensor, offset: Tensor | None = None) -> Tensor:
        """The convolution alone, padded with zeros as TensorFlow's "same": of an odd number, the more at the end."""
        pads = []
        for length in (x.shape[-1], x.shape[-2]):
            total = max((-(-length // self.stride) - 1) * self.stride + weight.shape[-1] - length, 0)
            pads += [total // 2, total - total // 2]
        if pads[0] == pads[1] and pads[2] == pads[3]:
            return F.conv2d(x, weight, offset, self.stride, (pads[2], pads[0]), 1, self.groups)
        return F.conv2d(F.pad(x, pads), weight, offset, self.stride, 0, 1, self.groups)

    def forward(self, x: Tensor, side: str) -> Tensor:
        """See the class."""
        y = self.raw(x, self.weight * self.scale[side], self.offset[side])
        return F.relu6(y, inplace=True) if self.clipped else y


class Block(nn.Module):
    """Inverted residual (Sandler et al. 2018): widened, filtered channel by channel, narrowed again."""

    def __init__(
        self, inputs: int, outputs: int, sides: tuple[str, ...], *, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        inner = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        convs = [Conv(inputs, inner, sides)] if expansion > 1 else []
        convs.append(Conv(inner, inner, sides, kernel=kernel, stride=stride, depthwise=True))
        convs.append(Conv(inner, outputs, sides, clipped=False))
        self.convs = nn.ModuleList(convs)

    def forward(self, x: Tensor, side: str) -> Tensor:
        """See the class."""
        y = x
        for conv in self.convs:
            y = conv(y, side)
        return y.add_(x) if self.skips else y


def _blocks(
    inputs: int, stages: tuple[tuple[int, int, int, int, int], ...], sides: tuple[str, ...]
) -> Iterator[nn.Module]:
    for count, kernel, stride, expansion, outputs in stages:
        for number in range(count):
            first = stride if number == 0 else 1
            yield Block(inputs, outputs, sides, kernel=kernel, stride=first, expansion=expansion)
            inputs = outputs


class TwoTowers(nn.Module):
    """(B, 3, side, side) RGB in [0, 1], of one of the SIDES -> (B, DIMENSION) of unit length."""

    def __init__(self) -> None:
        super().__init__()
        early, deep = OWN[-1][-1], SHARED[-1][-1]
        self.entrance = nn.ModuleDict()
        for side in SIDES:
            stem = Conv(3, STEM, (side,), kernel=3, stride=2)
            self.entrance[side] = nn.ModuleList([stem, *_blocks(STEM, OWN, (side,))])
        self.trunk = nn.ModuleList([*_blocks(early, SHARED, SIDES), Conv(deep, PENULTIMATE, SIDES)])
        self.look = nn.Linear(PENULTIMATE, LOOK, bias=False)
        self.kind = nn.Linear(PENULTIMATE, KIND, bias=False)
        self.centre = nn.ParameterDict()
        for side in SIDES:
            self.centre[side] = nn.Parameter(torch.zeros(DIMENSION), requires_grad=False)

    def parts(self, side: str) -> list[nn.Module]:
        """Blocks and convolutions of a side, in order."""
        entrance = self.entrance[side]
        assert isinstance(entrance, nn.ModuleList)
        return [*entrance, *self.trunk]

    def convs(self, side: str) -> list[Conv]:
        """Convolutions of a side, in order."""
        return [module for part in self.parts(side) for module in part.modules() if isinstance(module, Conv)]

    def features(self, image: Tensor, side: str) -> Tensor:
        """Mean over the page of what the last convolution gives, (B, PENULTIMATE)."""
        x = (image - MEAN) / STD
        for part in self.parts(side):
            x = part(x, side)
        return x.mean(dim=(2, 3))

    def places(self, image: Tensor, side: str) -> Tensor:
        """What each place of a page is like, (B, C, side / 16, side / 16), of unit length: PLACES' features, joined.

        Each less its mean over the page, which says what the page is like, and brought to the finest's size.
        """
        x = (image - MEAN) / STD
        found: list[Tensor] = []
        for number, part in enumerate(self.parts(side), -len(self.parts(side))):
            x = part(x, side)
            if number in PLACES:
                own = x - x.mean(dim=(2, 3), keepdim=True)
                if found:
                    own = F.interpolate(own, found[0].shape[-2:], mode="bilinear")
                found.append(F.normalize(own, dim=1))
            if len(found) == len(PLACES):
                break
        return F.normalize(torch.cat(found, dim=1), dim=1)

    def answers(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What it looks like, (B, LOOK) of unit length, and what it is, (B, KIND)."""
        return F.normalize(self.look(features), dim=1), self.kind(features)

    def join(self, features: Tensor, side: str) -> Tensor:
        """The two answers as one vector (B, DIMENSION) of unit length."""
        look, kind = self.answers(features)
        look_centre, kind_centre = self.centre[side].split([LOOK, KIND])
        a, b = F.normalize(look - look_centre, dim=1), F.normalize(kind - kind_centre, dim=1)
        return F.normalize(torch.cat([a, KIND_WEIGHT * b], dim=1), dim=1)

    def forward(self, image: Tensor, side: str) -> Tensor:
        """See the class."""
        return self.join(self.features(image, side), side)
