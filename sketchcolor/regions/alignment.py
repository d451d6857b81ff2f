"""Align, then stylise: where each pixel of the sketch takes its colour from in the reference.

1. The reference's figure is placed on the sketch's (`placement`).
2. The clipped signed distance fields of both outlines are registered by DIS optical flow (Kroeger et al. 2016),
   smoothed, damped where the figures already agree, and checked for folds.
3. Inside, what is alike is brought together (`correspondence`).
4. The ground is warped so that the place of the old figure comes to lie under the new one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from sketchcolor.records import Field, Image, Mask
from sketchcolor.regions.correspondence import See, inner_flow
from sketchcolor.regions.placement import believable, box_or_all, place, shrunk

FLOW_SIDE = 256
# Distances to the outline are clipped here, in pixels at FLOW_SIDE.
CLIP = 40.0
FLOW_SIGMA = 6.0
# From this overlap on the flow is damped; at 1 it is off. It twists straight things that already agree.
DAMP_FROM = 0.8
# More than this share of folded pixels inside the figure, and the flow is dropped.
MOST_FOLDED = 0.01


@dataclass(frozen=True)
class Alignment:
    """Where each sketch pixel takes its colour from in the reference.

    figure, ground: float32 (H, W, 2), (row, column) in reference pixels, for pixels of either side. overlap: share of
    both figures that agrees after the placement (intersection over union), 0-1. folded: share of the figure's
    pixels where the flow folded (0 once it was dropped). flow_used: False where the placement alone was kept.
    """

    figure: Field
    ground: Field
    overlap: float
    edges: float
    mirrored: bool
    folded: float
    flow_used: bool


def align(
    sketch_mask: Mask, reference_mask: Mask, ink: Field, reference: Image, *, see: See | None = None
) -> Alignment:
    """Align a reference with a sketch; masks bool, ink float32 (H, W), reference RGB uint8 of any size.

    see: what tells alike places inside the figures; without it outlines alone are aligned.
    """
    if not believable(reference_mask):
        reference_mask = np.ones_like(reference_mask)
    if not sketch_mask.any():
        sketch_mask = np.ones_like(sketch_mask)
    placed = place(sketch_mask, reference_mask, ink, reference)
    matrix, overlap, mirrored = placed.matrix, placed.overlap, placed.mirrored
    flow, folded = _outline_flow(sketch_mask, reference_mask, matrix, overlap)

    def source(rows: Field, columns: Field) -> tuple[Field, Field]:
        """Rows and columns of the reference for some of the sketch."""
        if flow is not None:
            moved = cv2.remap(flow, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            rows, columns = rows + moved[..., 0], columns + moved[..., 1]
        found = [a * rows + b * columns + c for a, b, c in matrix]
        return found[0].astype(np.float32), found[1].astype(np.float32)

    def laid(rows: Field, columns: Field) -> Image:
        y, x = source(rows, columns)
        return np.asarray(cv2.remap(reference, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), dtype=np.uint8)

    rows, columns = np.mgrid[0 : sketch_mask.shape[0], 0 : sketch_mask.shape[1]].astype(np.float32)
    inner = None if see is None else inner_flow(sketch_mask, ink, laid, see)
    if inner is not None:
        rows, columns = rows + inner[..., 0], columns + inner[..., 1]
    figure = np.stack(source(rows, columns), axis=-1)
    ground = _ground_map(sketch_mask, reference_mask, mirrored)
    return Alignment(figure, ground, overlap, placed.edges, mirrored, folded, flow is not None)


def signed_distance(mask: NDArray[Any], clip: float) -> Field:
    """Distance to the outline in pixels, positive inside, clipped to +-clip; float32 (H, W)."""
    inside = np.ascontiguousarray(mask).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return np.asarray(np.clip(distance, -clip, clip), dtype=np.float32)


def _outline_flow(sketch_mask: Mask, reference_mask: Mask, matrix: Field, overlap: float) -> tuple[Field | None, float]:
    """Flow (row, column) in sketch pixels that moves the placed figure onto the sketch's, and its folded share.

    None where it is not wanted: the figures agree, do not meet, or the flow folds.
    """
    strength = float(np.clip((1.0 - overlap) / (1.0 - DAMP_FROM), 0, 1)) ** 2
    if strength < 0.05 or overlap < 0.15:
        return None, 0.0
    height, width = sketch_mask.shape
    small, scale = shrunk(sketch_mask, FLOW_SIDE)
    rows, columns = np.mgrid[0 : small.shape[0], 0 : small.shape[1]].astype(np.float32)
    rows, columns = (rows + 0.5) / scale - 0.5, (columns + 0.5) / scale - 0.5
    placed = cv2.remap(
        reference_mask.astype(np.float32),
        (matrix[1, 0] * rows + matrix[1, 1] * columns + matrix[1, 2]).astype(np.float32),
        (matrix[0, 0] * rows + matrix[0, 1] * columns + matrix[0, 2]).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    fields = [
        np.asarray((signed_distance(m > 0.5, CLIP) + CLIP) * (255 / (2 * CLIP)), np.uint8) for m in (small, placed)
    ]
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flow = dis.calc(fields[0], fields[1], None)
    inside = small > 0.5
    # A flow that folds is smoothed more and more before it is given up.
    for sigma in (FLOW_SIGMA, 2 * FLOW_SIGMA, 4 * FLOW_SIGMA):
        flow = cv2.GaussianBlur(flow, (0, 0), sigma) * strength
        folded = _folded(flow, inside)
        if folded <= MOST_FOLDED:
            break
    else:
        return None, 0.0
    large = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR) / scale
    return np.ascontiguousarray(large[..., ::-1]).astype(np.float32), folded


def _folded(flow: NDArray[Any], inside: Mask) -> float:
    """Share of pixels inside where x + flow(x) has a Jacobian determinant of at most 0.05."""
    xx, xy = np.gradient(flow[..., 0], axis=1), np.gradient(flow[..., 0], axis=0)
    yx, yy = np.gradient(flow[..., 1], axis=1), np.gradient(flow[..., 1], axis=0)
    determinant = (1 + xx) * (1 + yy) - xy * yx
    return float((determinant[inside] <= 0.05).mean()) if inside.any() else 0.0


def _ground_map(sketch_mask: Mask, reference_mask: Mask, mirrored: bool) -> Field:
    """Ground map that lays the old figure's box under the new one and the picture's rim on the page's rim."""
    axes = []
    boxes = [box_or_all(m) for m in (sketch_mask, reference_mask)]
    for axis in (0, 1):
        length, source = sketch_mask.shape[axis], reference_mask.shape[axis]
        low, high = boxes[0][axis] / length, boxes[0][axis + 2] / length
        old_low, old_high = boxes[1][axis] / source, boxes[1][axis + 2] / source
        if mirrored and axis == 1:
            old_low, old_high = 1 - old_high, 1 - old_low
        # Neither side may be squeezed to nothing: margins and figure keep at least a part of their extent.
        old_low, old_high = (0.65 * o + 0.35 * n for o, n in ((old_low, low), (old_high, high)))
        xs, ys = [0.0], [0.0]
        for x, y in ((low, old_low), (high, old_high)):
            if 0.04 < x < 0.96 and x - xs[-1] > 0.08:
                xs.append(x)
                ys.append(float(np.clip(y, ys[-1] + 0.03, 0.97)))
        xs.append(1.0)
        ys.append(1.0)
        at = (np.arange(length) + 0.5) / length
        mapped = PchipInterpolator(xs, ys)(at)
        if mirrored and axis == 1:
            mapped = 1 - mapped
        axes.append(mapped * source - 0.5)
    return np.stack(np.meshgrid(axes[0], axes[1], indexing="ij"), axis=-1).astype(np.float32)
