"""Placing a reference's figure on a sketch's figure: the best of many similarities and stretches.

Judged by overlap and by how well the reference's edges fall on the sketch's lines; kept mirror image or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.records import Field, Image, Mask

SEARCH_SIDE = 128
EDGE_WEIGHT = 0.35
CLEARLY = 0.12
# A figure that fits less than this (overlap and edges) may be one with its surroundings.
POOR = 0.25
ROTATIONS = (-16, -8, 0, 8, 16)
# A reference figure outside these shares of its picture is not believed; the whole picture is used.
FIGURE_SHARES = (0.005, 0.97)


def believable(mask: Mask) -> bool:
    """False for a figure that is empty, tiny or everything."""
    return bool(FIGURE_SHARES[0] <= float(mask.mean()) <= FIGURE_SHARES[1])


@dataclass(frozen=True)
class Placement:
    """The best affine from sketch pixels to reference pixels.

    matrix: (2, 3) over (row, column, 1). overlap: intersection over union of the figures, 0-1. edges: correlation of
    the sketch's lines with the reference's edges inside the figure, -1 to 1.
    """

    matrix: Field
    overlap: float
    edges: float
    mirrored: bool


def main_figure(
    sketch_mask: Mask, reference_mask: Mask, readings: Sequence[Mask], ink: Field, reference: Image
) -> Mask:
    """The reading of the reference's figure that suits the sketch best.

    Candidates are the figure as found, other readings of it, and, where the sketch is one piece, each of the three
    largest pieces of any (of at least a tenth of the figure); and where the figure as found fits poorly, what is left
    of it when its main colours are told apart. Another reading than the first must fit clearly better (by CLEARLY in
    overlap and edges).
    """

    def fit(mask: Mask) -> float:
        found = place(sketch_mask, mask, ink, reference, quick=True)
        return found.overlap + EDGE_WEIGHT * found.edges

    first = fit(reference_mask) if believable(reference_mask) else -1.0
    candidates = [(mask, 1.0) for mask in readings]
    _, _, stats, _ = cv2.connectedComponentsWithStats(sketch_mask.astype(np.uint8))
    if len(stats) > 1 and stats[1:, cv2.CC_STAT_AREA].max() >= 0.75 * sketch_mask.sum():
        for mask in (reference_mask, *readings):
            pieces = _pieces(mask, 0.1)
            candidates += pieces if len(pieces) > 1 else []
        if believable(reference_mask) and first < POOR:
            whole = float(reference_mask.sum())
            for part in _by_color(reference, reference_mask):
                candidates += [(piece, share * part.sum() / whole) for piece, share in _pieces(part, 0.1)]
    best, best_fit = reference_mask, first + CLEARLY if first >= 0 else -1.0
    widest = max(float(m.sum()) for m in (reference_mask, *readings))
    for mask, share in candidates:
        if first >= POOR:  # a scrap of the figure fits anything, once it is stretched
            share = min(share, float(mask.sum()) / max(1.0, widest))
        # A piece must fit the better, the less of the figure it is.
        if believable(mask) and (score := fit(mask) * (0.7 + 0.3 * share)) > best_fit:
            best, best_fit = mask, score
    return best


def _pieces(mask: Mask, smallest: float) -> list[tuple[Mask, float]]:
    """The three largest connected pieces of at least a share `smallest` of a mask, each with its share."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[:, cv2.CC_STAT_AREA].astype(float)
    large = 1 + np.argsort(-areas[1:], kind="stable")[:3]
    whole = max(1.0, float(mask.sum()))
    return [(labels == i, areas[i] / whole) for i in large if areas[i] >= smallest * whole]


def _by_color(image: Image, mask: Mask) -> list[Mask]:
    """The parts of a mask by its two, then its three main colours (k-means in CIELAB).

    Only colours that differ from the ground's more than the mask as a whole does: the others are ground taken in.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    inside, ground = lab[mask], np.median(lab[~mask], axis=0)
    least = float(np.linalg.norm(inside.mean(axis=0) - ground))
    sample = np.ascontiguousarray(inside[:: max(1, len(inside) // 4000)])
    found = []
    for count in (2, 3):
        if len(sample) < 50 * count:
            continue
        cv2.setRNGSeed(0)
        stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 20, 0.5)
        _, _, centres = cv2.kmeans(sample, count, None, stop, 3, cv2.KMEANS_PP_CENTERS)
        nearest = ((inside[:, None] - centres[None]) ** 2).sum(2).argmin(1)
        for number in np.flatnonzero(np.linalg.norm(centres - ground, axis=1) > least):
            part = np.zeros_like(mask)
            part[mask] = nearest == number
            found.append(cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)
    return found


def shrunk(array: NDArray[Any], side: int) -> tuple[Field, float]:
    """The array as float32 with its longer side `side` px, and the scale used."""
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


def box_or_all(mask: Mask) -> Box:
    """Robust box of a mask, or all of the picture where the mask is empty."""
    return _box(mask) if mask.any() else (0.0, 0.0, float(mask.shape[0]), float(mask.shape[1]))


def place(sketch_mask: Mask, reference_mask: Mask, ink: Field, reference: Image, *, quick: bool = False) -> Placement:
    """Lay the reference's figure on the sketch's by the best of many similarities and stretches.

    quick: upright only and not refined, to compare figures with one another.
    """
    target, s = shrunk(sketch_mask, SEARCH_SIDE)
    source, r = shrunk(reference_mask, SEARCH_SIDE)
    lines = cv2.GaussianBlur(shrunk(ink, SEARCH_SIDE)[0], (0, 0), 1.5) * (target > 0.3)
    picture = cv2.GaussianBlur(shrunk(reference, SEARCH_SIDE)[0], (0, 0), 1.0)
    gradient = np.sqrt(sum(cv2.Sobel(picture, cv2.CV_32F, dx, dy).__pow__(2).sum(2) for dx, dy in ((1, 0), (0, 1))))
    gradient = cv2.GaussianBlur(np.minimum(gradient / max(float(np.percentile(gradient, 95)), 1e-3), 1), (0, 0), 1.5)
    both = np.dstack([source, gradient]).astype(np.float32)
    top, left, bottom, right = box_or_all(target > 0.5)
    centre = ((top + bottom) / 2, (left + right) / 2)
    figure_box = box_or_all(source > 0.5)
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
        for degrees in (0,) if quick else ROTATIONS:
            for stretch in ("free", "even"):
                consider(
                    _box_affine(source, figure_box, (top, left, bottom, right), degrees, mirrored, stretch),
                    mirrored,
                )
    assert best is not None
    for step in () if quick else (0.08, 0.04, 0.02):
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
    return Placement(full[:2].astype(np.float32), overlap, edges, mirrored)


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
