"""Align, then stylise: the reference is laid into the sketch's shape. What comes out is the underpainting.

1. The reference's figure is placed on the sketch's by the best of many similarities and stretches (kept mirror image
   or not), judged by overlap and by how well its edges fall on the lines.
2. The clipped signed distance fields of both outlines are registered by DIS optical flow (Kroeger et al. 2016),
   smoothed, damped where the figures already agree, and checked for folds.
3. Colours are carried outwards over the figure's border before the warp (push-pull, Gortler et al. 1996), so that no
   ground is dragged along; the ground is completed behind the figure from patches, and warped so that the place
   of the old figure comes to lie under the new one.
4. Inside the figure each sketch region keeps to its matched reference part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from sketchcolor.records import Field, Image, Labels, Mask, Match
from sketchcolor.regions.completion import complete, push_pull

SEARCH_SIDE = 128
FLOW_SIDE = 256
# Distances to the outline are clipped here, in pixels at FLOW_SIDE.
CLIP = 40.0
FLOW_SIGMA = 6.0
# From this overlap on the flow is damped; at 1 it is off. It twists straight things that already agree.
DAMP_FROM = 0.8
# More than this share of folded pixels inside the figure, and the flow is dropped.
MOST_FOLDED = 0.01
EDGE_WEIGHT = 0.35
# How far ground that was completed from patches is trusted.
COMPLETED_TRUST = 0.5
ROTATIONS = (-16, -8, 0, 8, 16)
# A reference figure outside these shares of its picture is not believed; the whole picture is used.
FIGURE_SHARES = (0.005, 0.97)


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


def believable(mask: Mask) -> bool:
    """False for a figure that is empty, tiny or everything."""
    return bool(FIGURE_SHARES[0] <= float(mask.mean()) <= FIGURE_SHARES[1])


def align(sketch_mask: Mask, reference_mask: Mask, ink: Field, reference: Image) -> Alignment:
    """Align a reference with a sketch; masks bool, ink float32 (H, W), reference RGB uint8 of any size."""
    if not believable(reference_mask):
        reference_mask = np.ones_like(reference_mask)
    if not sketch_mask.any():
        sketch_mask = np.ones_like(sketch_mask)
    matrix, overlap, edges, mirrored = _place(sketch_mask, reference_mask, ink, reference)
    rows, columns = np.mgrid[0 : sketch_mask.shape[0], 0 : sketch_mask.shape[1]].astype(np.float32)
    flow, folded = _outline_flow(sketch_mask, reference_mask, matrix, overlap)
    flow_used = flow is not None
    if flow is not None:
        rows, columns = rows + flow[..., 0], columns + flow[..., 1]
    figure = np.stack(
        [
            matrix[0, 0] * rows + matrix[0, 1] * columns + matrix[0, 2],
            matrix[1, 0] * rows + matrix[1, 1] * columns + matrix[1, 2],
        ],
        axis=-1,
    ).astype(np.float32)
    ground = _ground_map(sketch_mask, reference_mask, mirrored)
    return Alignment(figure, ground, overlap, edges, mirrored, folded, flow_used)


def _small(array: NDArray[Any], side: int) -> tuple[Field, float]:
    scale = side / max(array.shape[:2])
    size = (max(1, round(array.shape[1] * scale)), max(1, round(array.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(array.astype(np.float32), size, interpolation=how)), scale


Box = tuple[float, float, float, float]


def _box(mask: NDArray[Any]) -> Box:
    """Robust box of a mask: (top, left, bottom, right), leaving out the thinnest 0.5 % at each end."""
    ends = []
    for axis in (1, 0):
        share = np.cumsum(mask.sum(axis=axis))
        share = share / share[-1]
        low, high = np.searchsorted(share, 0.005), np.searchsorted(share, 0.995)
        ends.append((float(low), float(high) + 1))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]


def _box_or_all(mask: Mask) -> Box:
    return _box(mask) if mask.any() else (0.0, 0.0, float(mask.shape[0]), float(mask.shape[1]))


def _place(sketch_mask: Mask, reference_mask: Mask, ink: Field, reference: Image) -> tuple[Field, float, float, bool]:
    """Best affine from sketch pixels to reference pixels: ((2, 3) over (row, column, 1), overlap, edges, mirrored)."""
    target, s = _small(sketch_mask, SEARCH_SIDE)
    source, r = _small(reference_mask, SEARCH_SIDE)
    lines = cv2.GaussianBlur(_small(ink, SEARCH_SIDE)[0], (0, 0), 1.5) * (target > 0.3)
    picture = cv2.GaussianBlur(_small(reference, SEARCH_SIDE)[0], (0, 0), 1.0)
    gradient = np.sqrt(sum(cv2.Sobel(picture, cv2.CV_32F, dx, dy).__pow__(2).sum(2) for dx, dy in ((1, 0), (0, 1))))
    gradient = cv2.GaussianBlur(np.minimum(gradient / max(float(np.percentile(gradient, 95)), 1e-3), 1), (0, 0), 1.5)
    both = np.dstack([source, gradient]).astype(np.float32)
    top, left, bottom, right = _box_or_all(target > 0.5)
    centre = ((top + bottom) / 2, (left + right) / 2)
    figure_box = _box_or_all(source > 0.5)
    best: tuple[float, Field, float, float, bool] | None = None

    def consider(matrix: Field, mirrored: bool) -> None:
        nonlocal best
        # cv2 speaks of (x, y); ours are (row, column).
        flipped = np.array([[matrix[1, 1], matrix[1, 0], matrix[1, 2]], [matrix[0, 1], matrix[0, 0], matrix[0, 2]]])
        moved = cv2.warpAffine(
            both, flipped, (target.shape[1], target.shape[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        shape = moved[..., 0]
        overlap = float(np.minimum(shape, target).sum() / max(float(np.maximum(shape, target).sum()), 1e-6))
        edges = _correlation(lines, moved[..., 1], target > 0.3)
        score = overlap + EDGE_WEIGHT * edges
        if best is None or score > best[0]:
            best = (score, matrix, overlap, edges, mirrored)

    for mirrored in (False, True):
        for degrees in ROTATIONS:
            for stretch in ("free", "even"):
                consider(
                    _box_affine(source, figure_box, (top, left, bottom, right), degrees, mirrored, stretch),
                    mirrored,
                )
    assert best is not None
    for step in (0.08, 0.04, 0.02):
        _, matrix, _, _, mirrored = best
        for change in _small_moves(step, max(target.shape)):
            about = np.array([[1, 0, centre[0]], [0, 1, centre[1]], [0, 0, 1.0]])
            moved_matrix = np.vstack([best[1], [0, 0, 1]]) @ about @ change @ np.linalg.inv(about)
            consider(moved_matrix[:2], best[4])
    _, matrix, overlap, edges, mirrored = best
    # From search pixels back to full pixels; pixel centres are at +0.5.
    scale_in = np.array([[s, 0, 0.5 * s - 0.5], [0, s, 0.5 * s - 0.5], [0, 0, 1]])
    scale_out = np.array([[1 / r, 0, 0.5 / r - 0.5], [0, 1 / r, 0.5 / r - 0.5], [0, 0, 1]])
    full = scale_out @ np.vstack([matrix, [0, 0, 1]]) @ scale_in
    return full[:2].astype(np.float32), overlap, edges, mirrored


def _box_affine(
    source: Field,
    figure_box: Box,
    target_box: Box,
    degrees: float,
    mirrored: bool,
    stretch: str,
) -> Field:
    """Target pixel -> source pixel, laying the (turned, mirrored) source figure's box on the target's box."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if mirrored:
        turn = turn @ np.diag([1.0, -1.0])
    middle = np.array([(figure_box[0] + figure_box[2]) / 2, (figure_box[1] + figure_box[3]) / 2])
    if degrees == 0:
        extent = np.array([figure_box[2] - figure_box[0], figure_box[3] - figure_box[1]])
        offset = np.zeros(2)
    else:
        points = np.argwhere(source > 0.5) - middle
        turned = points @ turn if len(points) else np.zeros((1, 2))
        low, high = np.percentile(turned, 0.5, axis=0), np.percentile(turned, 99.5, axis=0)
        extent, offset = np.maximum(high - low, 1), (high + low) / 2
    wanted = np.array([target_box[2] - target_box[0], target_box[3] - target_box[1]])
    scale = np.maximum(extent, 1) / np.maximum(wanted, 1)
    if stretch == "even":
        scale = np.full(2, np.sqrt(scale.prod()))
    else:  # a stretch of more than 1.6 between the axes makes a caricature
        mean = np.sqrt(scale.prod())
        scale = mean * np.clip(scale / mean, 1 / np.sqrt(1.6), np.sqrt(1.6))
    linear = turn @ np.diag(scale)
    centre = np.array([(target_box[0] + target_box[2]) / 2, (target_box[1] + target_box[3]) / 2])
    shift = middle + turn @ offset - linear @ centre
    return np.column_stack([linear, shift])


def _small_moves(step: float, side: int) -> list[Field]:
    """Shifts, turns and stretches of about `step`, as 3x3 matrices."""
    moves = []
    for sign in (-1, 1):
        d = sign * step
        for change in (
            [[1, 0, d * side / 2], [0, 1, 0]],
            [[1, 0, 0], [0, 1, d * side / 2]],
            [[np.cos(d), -np.sin(d), 0], [np.sin(d), np.cos(d), 0]],
            [[1 + d, 0, 0], [0, 1, 0]],
            [[1, 0, 0], [0, 1 + d, 0]],
            [[1 + d, 0, 0], [0, 1 + d, 0]],
        ):
            moves.append(np.array([*change, [0, 0, 1]], dtype=float))
    return moves


def _correlation(a: Field, b: Field, where: Mask) -> float:
    x, y = a[where], b[where]
    if x.size < 9:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (np.sqrt((x * x).sum() * (y * y).sum()) + 1e-6))


def signed_distance(mask: NDArray[Any], clip: float) -> Field:
    """Distance to the outline in pixels, positive inside, clipped to +-clip; float32 (H, W)."""
    inside = np.ascontiguousarray(mask).astype(np.uint8)
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5) - cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
    return np.asarray(np.clip(distance, -clip, clip), dtype=np.float32)


def _outline_flow(sketch_mask: Mask, reference_mask: Mask, matrix: Field, overlap: float) -> tuple[Field | None, float]:
    """Flow (row, column) in sketch pixels that moves the placed figure onto the sketch's, and its folded share.

    None where it is not wanted: the figures agree, do not meet, or the flow folds.
    """
    strength = float(np.clip((1.0 - overlap) / (1.0 - DAMP_FROM), 0, 1))
    if strength < 0.05 or overlap < 0.15:
        return None, 0.0
    height, width = sketch_mask.shape
    small, scale = _small(sketch_mask, FLOW_SIDE)
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
    boxes = [_box_or_all(m) for m in (sketch_mask, reference_mask)]
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


def sample(image: NDArray[Any], places: Field, how: int = cv2.INTER_LINEAR) -> NDArray[Any]:
    """Values of an image at (row, column) places, border repeated."""
    return cv2.remap(
        image,
        np.ascontiguousarray(places[..., 1]),
        np.ascontiguousarray(places[..., 0]),
        how,
        borderMode=cv2.BORDER_REPLICATE,
    )


def carry_labels(labels: Labels, alignment: Alignment, mask: Mask) -> Labels:
    """The reference's label map laid over the sketch, int32 of the sketch's shape; figure inside `mask`."""
    as_float = labels.astype(np.float32)
    figure = sample(as_float, alignment.figure, cv2.INTER_NEAREST)
    ground = sample(as_float, alignment.ground, cv2.INTER_NEAREST)
    return np.where(mask, figure, ground).astype(np.int32)


def underpaint(
    reference: Image,
    reference_mask: Mask,
    sketch_mask: Mask,
    alignment: Alignment,
    sketch_map: Labels,
    reference_map: Labels,
    matches: Sequence[Match],
) -> tuple[Image, Field]:
    """The reference laid into the sketch's shape: (RGB uint8, trust float32 in [0, 1]), both of the sketch's size.

    Trust is 1 where the reference itself is shown, and falls to 0 where its colours were only carried on (behind or
    beside the old figure) or are badly stretched: there the painting has to invent.

    Each foreground region takes the colours of its matched part; where the aligned reference shows another part near
    the region's border, the partner's colours are carried in from inside.
    """
    picture = reference.astype(np.float32)
    figure_known = reference_mask if believable(reference_mask) else np.ones_like(reference_mask)
    grown = cv2.dilate(figure_known.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    ground_known = ~grown if not grown.all() else ~figure_known
    shrunk = cv2.erode(figure_known.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    figure_picture = push_pull(picture, shrunk if shrunk.any() else figure_known)
    ground_picture = complete(picture, ground_known) if ground_known.any() else picture
    figure = sample(figure_picture, alignment.figure)
    ground = sample(ground_picture, alignment.ground)
    carried = carry_labels(reference_map, alignment, np.ones_like(sketch_mask))
    figure = _keep_to_parts(figure, sketch_mask, sketch_map, carried, matches)
    soft = cv2.GaussianBlur(sketch_mask.astype(np.float32), (0, 0), 0.8)[..., None]
    under = np.clip(figure * soft + ground * (1 - soft) + 0.5, 0, 255).astype(np.uint8)
    real = np.where(
        sketch_mask,
        sample(figure_known.astype(np.float32), alignment.figure) * _evenness(alignment.figure),
        sample(np.where(ground_known, 1, COMPLETED_TRUST).astype(np.float32), alignment.ground)
        * _evenness(alignment.ground),
    )
    reach = max(1.0, 0.008 * max(sketch_mask.shape))
    return under, cv2.GaussianBlur(cv2.erode(real, np.ones((3, 3), np.uint8)), (0, 0), reach).astype(np.float32)


def _evenness(places: Field) -> Field:
    """1 where the map keeps area and angles within reason, falling to 0 where it stretches more than threefold."""
    steps = [np.linalg.norm(np.gradient(places, axis=axis), axis=2) for axis in (0, 1)]
    longest, shortest = np.maximum(*steps), np.minimum(*steps)
    return np.clip(1.5 - 0.5 * longest / np.maximum(shortest, 1e-3), 0, 1).astype(np.float32)


def _keep_to_parts(
    figure: Field, sketch_mask: Mask, sketch_map: Labels, carried: Labels, matches: Sequence[Match]
) -> Field:
    """Inside each sketch region, replace intruding slivers of other parts by the partner's colours from nearby."""
    result = figure.copy()
    for match in matches:
        region = (sketch_map == match.sketch) & sketch_mask
        area = int(region.sum())
        if area < 16:
            continue
        own = region & (carried == match.reference)
        share = own.sum() / area
        if share < 0.5 or share > 0.995:
            continue
        rows, columns = np.nonzero(region)
        window = np.s_[max(0, rows.min() - 2) : rows.max() + 3, max(0, columns.min() - 2) : columns.max() + 3]
        intruders = _slivers(region[window], own[window])
        if intruders.any():
            source = region[window] & ~intruders
            filled = push_pull(result[window], source)
            result[window][intruders] = filled[intruders]
    return result


def _slivers(region: Mask, own: Mask) -> Mask:
    """Parts of `region` not `own` that are thin against the region: misalignment, not drawing."""
    others = (region & ~own).astype(np.uint8)
    reach = max(2, round(0.06 * float(np.sqrt(region.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    thick = cv2.dilate(cv2.morphologyEx(others, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    return np.asarray((others > 0) & (thick == 0))
