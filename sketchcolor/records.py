"""Records that cross borders between the parts of the program. All are frozen; arrays in them are not copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sketchcolor.settings import ColorSettings, StyleSettings

Image = NDArray[np.uint8]
"""RGB uint8 (H, W, 3)."""
Mask = NDArray[np.bool_]
"""bool (H, W)."""
Labels = NDArray[np.int32]
"""int32 (H, W), 0 = unlabelled."""
Field = NDArray[Any]
"""float32 (H, W) or (H, W, C); the element type is left open, since arithmetic between them widens it in places."""


@dataclass(frozen=True)
class Hit:
    """A picture that a search found. Higher score is nearer; rank counts from 1."""

    path: str
    score: float
    rank: int
    mirrored: bool = False
    terms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Region:
    """One part of a picture. Lengths and areas are in pixels of the map that the label stands in.

    centroid: (row, column). box: (top, left, bottom, right), half open. color: mean RGB, 0-255.
    compactness: 4 pi area / perimeter^2, 1 for a disc.
    """

    label: int
    foreground: bool
    area: float
    perimeter: float
    compactness: float
    centroid: tuple[float, float]
    box: tuple[int, int, int, int]
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Match:
    """A sketch region and the reference region that colours it, with the cost by term and the reason in words."""

    sketch: int
    reference: int
    cost: float
    terms: Mapping[str, float]
    reason: str


@dataclass(frozen=True)
class Progress:
    """Where long work stands. `image` is an intermediate picture, where there is one."""

    stage: str
    step: int
    steps: int
    loss: float | None = None
    image: Image | None = None

    @property
    def share(self) -> float:
        """Done share of this stage, 0 to 1."""
        return self.step / self.steps if self.steps else 1.0


ProgressCallback = Callable[[Progress], "bool | None"]
"""Called now and then by long work. Returning False asks it to stop and keep the best so far."""


@dataclass(frozen=True)
class Regions:
    """Parts of sketch and reference: a label map and the regions in it, for either side."""

    sketch_map: Labels
    sketch: tuple[Region, ...]
    reference_map: Labels
    reference: tuple[Region, ...]


@dataclass(frozen=True)
class Overrides:
    """What the user decides instead of the program. None: the program decides.

    sketch_mask, reference_mask: bool (H, W) of any size, True = foreground. sketch_map, reference_map: int32 label maps
    of any size; equal labels belong together. pairs: (sketch region, reference region) by the labels of a Result.
    colors: (sketch region, RGB 0-255), the mean colour that a region is to have, its shading kept.
    """

    sketch_mask: Mask | None = None
    reference_mask: Mask | None = None
    sketch_map: Labels | None = None
    reference_map: Labels | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[int, tuple[int, int, int]], ...] = ()


@dataclass(frozen=True)
class Result:
    """What colouring or stylising gave.

    image: the picture, at the size of the sketch or content. preview: the underpainting with lines, same size.
    ink: float32 (H, W). reference: path or array as used. losses: one {term: value} for each step.
    seconds: by stage. layers: named pictures for inspection (underpainting, painting, ...).
    stopped: True where the progress callback asked to stop. notes: what the user should know, one line each.
    """

    image: Image
    preview: Image | None = None
    ink: Field | None = None
    reference: str | Image | None = None
    hits: tuple[Hit, ...] = ()
    sketch_mask: Mask | None = None
    reference_mask: Mask | None = None
    regions: Regions | None = None
    matches: tuple[Match, ...] = ()
    losses: tuple[Mapping[str, float], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    settings: ColorSettings | StyleSettings | None = None
    layers: Mapping[str, Any] = field(default_factory=dict)
    stopped: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuildReport:
    """What building a library did. `skipped` holds (path, reason)."""

    added: int
    updated: int
    unchanged: int
    removed: int
    skipped: tuple[tuple[str, str], ...]
    total: int
    seconds: float
