"""The network that the style encoder learns from, on the encoder's own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchcolor.style.compact import MEAN, STD, CompactEncoder

# Teacher layers that the stem predicts through 1x1 projections: (stride, centre of the first value in pixels from pixel
# 1, the encoder's layer); and those that the encoder's layers are themselves, on the same grid but for half a pixel.
PROJECTED: dict[str, tuple[int, float, str]] = {"features.1": (2, 0.0, "relu2_1")}
SHARED = {
    "features.2": "relu3_1",
    "features.3": "relu3_2",
    "features.4": "relu3_3",
    "features.5": "relu3_4",
    "features.7": "relu4_1",
    "features.8": "relu4_2",
    "features.9": "relu4_3",
    "features.10": "relu4_4",
    "features.12": "relu5_1",
}


# The teacher's values are some hundred times as large as what the optimiser's rate and decay are made for.
UNIT = 100.0


class Teacher(nn.Module):
    """SqueezeNet v1.0 (Iandola et al. 2016) up to its last fire module, frozen, all its values divided by UNIT."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file
        from torchvision.models import squeezenet1_0

        network = squeezenet1_0()
        network.load_state_dict({k: v.float() for k, v in load_file(str(weights)).items()})
        self.features = network.features[:13]
        with torch.no_grad():  # rectified layers pass a factor on, so that only the first and the biases have to know
            self.features[0].weight.div_(UNIT)
            for name, parameter in self.features.named_parameters():
                if name.endswith("bias"):
                    parameter.div_(UNIT)
        for module in self.features.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, layers: Any) -> dict[str, Tensor]:
        # Padded so that values lie where they lie in the published network, which pads nothing, and the first of all
        # layers are centred at pixel 1. A transfer fits what it sees to the pixel: one pixel off, it fits less well.
        x = F.pad((image - self.mean) / self.std, (2, 4, 2, 4), mode="reflect")
        found = {}
        for number, module in enumerate(self.features):
            if number in (2, 6, 11):
                x = F.pad(x, (1, 0, 1, 0))
            x = module(x)
            if (name := f"features.{number}") in layers:
                found[name] = x
        return found


def graft(network: CompactEncoder, teacher: Teacher) -> None:
    """Start the fire modules from the teacher's."""
    for name, layer in SHARED.items():
        if layer.removeprefix("relu") in network.fires:
            number = int(name.removeprefix("features."))
            network.fires[layer.removeprefix("relu")].load_state_dict(teacher.features[number].state_dict())


def resample(features: Tensor, centre: float, stride: int, size: tuple[int, int]) -> Tensor:
    """Teacher values at the encoder's pixel centres (their grids are shifted by a fraction of a stride)."""
    shift = ((stride - 1) / 2 - centre) / stride
    height, width = features.shape[-2:]
    ys = torch.arange(size[0], dtype=torch.float32, device=features.device) + shift
    xs = torch.arange(size[1], dtype=torch.float32, device=features.device) + shift
    grid = torch.stack(
        torch.broadcast_tensors(2 * xs[None, :] / (width - 1) - 1, 2 * ys[:, None] / (height - 1) - 1), -1
    )
    grid = grid[None].expand(len(features), -1, -1, -1)
    return F.grid_sample(features, grid, align_corners=True, padding_mode="border")
