"""The retrieval network: a sketch tower and a photo tower into one space.

Each tower is a SqueezeNet (Iandola et al. 2016) trunk with two answers: what the lines look like (a learned vector)
and what the thing is (1000 ImageNet classes, of which those that sketches never showed are told apart too). Both
are centred by their own tower's mean, since sketches and photos sit in different corners of the space, brought to
unit length, weighed and joined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOOK = 256
KIND = 256
DIMENSION = LOOK + KIND
SIDE = 128  # of the sketch's page, in pixels
PHOTO_SIDE = 160  # trained at SIDE; larger, photos are told apart better
TRUNK_CHANNELS = 512
CLASSES = 1000
# What the thing is counts this much more than what it looks like (chosen on classes that training never saw).
KIND_WEIGHT = 1.5
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Tower(nn.Module):
    """(B, 3, side, side) RGB in [0, 1] -> (B, DIMENSION) of unit length."""

    mean: Tensor
    std: Tensor
    look_centre: Tensor
    kind_centre: Tensor
    kind_axes: Tensor

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import squeezenet1_0

        self.trunk = squeezenet1_0().features
        self.head = nn.Linear(2 * TRUNK_CHANNELS, LOOK)
        self.classifier = nn.Conv2d(TRUNK_CHANNELS, CLASSES, 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("look_centre", torch.zeros(LOOK))
        self.register_buffer("kind_centre", torch.zeros(CLASSES))
        self.register_buffer("kind_axes", torch.zeros(CLASSES, KIND))

    def features(self, image: Tensor) -> Tensor:
        """Trunk features (B, 512, h, w)."""
        x: Tensor = self.trunk((image - self.mean) / self.std)
        return x

    def look(self, features: Tensor) -> Tensor:
        """(B, LOOK) of unit length."""
        pooled = torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)
        return F.normalize(self.head(pooled), dim=1)

    def kind(self, features: Tensor) -> Tensor:
        """Class scores (B, CLASSES)."""
        return F.relu(self.classifier(features)).mean(dim=(2, 3))

    def join(self, look: Tensor, kind: Tensor) -> Tensor:
        """The two answers as one vector (B, DIMENSION) of unit length."""
        a = F.normalize(look - self.look_centre, dim=1)
        b = F.normalize((kind - self.kind_centre) @ self.kind_axes, dim=1)
        return F.normalize(torch.cat([a, KIND_WEIGHT * b], dim=1), dim=1)

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        features = self.features(image)
        return self.join(self.look(features), self.kind(features))


class TwoTowers(nn.Module):
    """`sketch` and `photo`, trained together, shipped in one file."""

    def __init__(self) -> None:
        super().__init__()
        self.sketch = Tower()
        self.photo = Tower()
