"""How a picture is optimised within the memory there is: whole, sparingly, or in tiles."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from sketchcolor.errors import SettingsError
from sketchcolor.style.backbones import Backbone

GIB = 2**30
# Of the memory that is free, this share is taken where no limit is given.
SHARE_OF_FREE = 0.5
# A step's memory, as a multiple of what autograd keeps: gradients on their way, and gaps between kept arrays, which a
# sparing step does not leave; it has what it computes again for a while, beside what it keeps.
WHOLE, SPARING = 1.6, 1.2
# Whole-picture terms and the optimiser's own pictures, bytes a pixel.
PICTURES = 200.0
SMALLEST_TILE = 64
PROBES = 128, 192


@dataclass(frozen=True)
class Plan:
    """backbone: the network to use. tile: side of the tiles in pixels, None for the whole picture at once.

    sparing: memory goes back to the system as soon as it is free, which takes time.
    """

    backbone: Backbone
    tile: int | None = None
    sparing: bool = False

    @property
    def text(self) -> str:
        """What is said of it before it starts; nothing of the usual way."""
        if self.tile:
            return f"tiles of {self.tile} px"
        return "memory is spared, which takes time" if self.sparing else ""


@lru_cache(maxsize=16)
def bytes_per_pixel(backbone: Backbone, layers: tuple[str, ...], device: str | torch.device) -> float:
    """What autograd keeps for a picture, in bytes a pixel: what it keeps more for a larger one of two small ones."""
    small, large = (_kept(backbone, layers, side, device) for side in PROBES)
    return (large - small) / (PROBES[1] ** 2 - PROBES[0] ** 2)


def _kept(backbone: Backbone, layers: Sequence[str], side: int, device: str | torch.device) -> float:
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = torch.zeros(1, 3, side, side, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        found = backbone(image, layers)
    return sum(kept.values()) + sum(f.numel() * f.element_size() for f in found.values())


def free_memory(device: str | torch.device) -> float:
    """Bytes that are free on a device now."""
    if str(device).startswith("cuda"):
        return float(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * float(next(line.split()[1] for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):
        try:
            return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        except (AttributeError, ValueError, OSError):
            return 4.0 * GIB


def make_plan(
    backbone: Backbone, layers: tuple[str, ...], size: tuple[int, int], limit: float, device: str | torch.device
) -> Plan:
    """The quickest way to optimise a picture of `size` within `limit` GiB beside what the program itself takes.

    A limit of 0 stands for half of what is free. Raises SettingsError where it cannot be done.
    """
    budget = limit * GIB if limit else SHARE_OF_FREE * free_memory(device)
    each = bytes_per_pixel(backbone, layers, device)
    pixels = size[0] * size[1]
    if pixels * (WHOLE * each + PICTURES) <= budget:
        return Plan(backbone)
    spare = backbone.sparing()
    kept = bytes_per_pixel(spare, layers, device)
    least = pixels * (SPARING * kept + each - kept + PICTURES)
    if least <= budget:
        return Plan(spare, sparing=True)
    needed = f"{least / GIB:.1f} GiB are needed, {budget / GIB:.1f} GiB allowed or free"
    if not backbone.halo:
        raise SettingsError(f"{needed}, and {backbone.name} cannot work in tiles; take a smaller --size")
    left = max(0.0, budget - pixels * PICTURES)
    side = int((math.sqrt(left / (WHOLE * each)) - 2 * backbone.halo) // backbone.stride * backbone.stride)
    if side < SMALLEST_TILE:
        raise SettingsError(f"{needed}; take a smaller --size or raise --max-memory")
    return Plan(backbone, side, sparing=True)
