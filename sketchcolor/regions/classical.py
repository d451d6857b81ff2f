"""Figure and ground without a trained network: gap closing for drawings, GrabCut for photos. True = foreground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.records import Field, Image, Mask

# Radii of gap closing, in shares of the page's longer side; gaps of up to twice the last one are closed.
CLOSING_RADII = (0.0, 0.004, 0.008, 0.014, 0.022, 0.034, 0.05)
# The smallest radius is taken whose figure has at least this share of the largest radius' area.
ENOUGH_OF_LARGEST = 0.72
# A figure below this share of the page is taken for one without interior (a stick man, a plant).
SMALLEST_FIGURE = 0.015
GRABCUT_SIDE = 200
# A figure that holds at least this share of the ink is not doubted for what it leaves out (hairs, a line of ground).
MOST_INK_HELD = 0.8


@dataclass(frozen=True)
class Foreground:
    """mask: bool (H, W). confidence: 0 (a guess) to 1 (sure). readings: other masks, wider and narrower."""

    mask: Mask
    confidence: float
    readings: tuple[Mask, ...] = ()


def sketch_by_closing(ink: Field, width: float) -> Foreground:
    """Figure of a line drawing.

    ink: float32 (H, W) in [0, 1]; width: stroke width in pixels. Outlines are closed at growing radii, and along
    the page's edge where strokes run off it; what cannot be reached from outside is the figure. Of an outline that
    stays open the hull of its strokes is taken. Never empty where there is ink.
    """
    solid = (ink > 0.4).astype(np.uint8)
    side = max(solid.shape)
    closed_page = solid | _page_edge(solid, width)
    masks = []
    for share in CLOSING_RADII:
        masks.append(_filled(closed_page, round(share * side), width))
    areas = [int(m.sum()) for m in masks]
    largest = max(areas)
    if largest < SMALLEST_FIGURE * solid.size or largest < 1.3 * int(solid.sum()):
        return Foreground(around_strokes(solid, width), 0.3)
    chosen = next(i for i, area in enumerate(areas) if area >= ENOUGH_OF_LARGEST * largest)
    # The sooner the outline closed, the less closing wider gaps would add, and the more of the ink belongs to what is
    # closed, the surer the figure.
    near = cv2.dilate(masks[chosen], _disc(max(2, round(0.008 * side))))
    held = float((solid & near).sum() / solid.sum())
    soon = 1.0 if chosen <= 1 else 1 - 0.6 * chosen / (len(CLOSING_RADII) - 1)
    confidence = areas[1] / largest * soon * min(1.0, held / MOST_INK_HELD)
    return Foreground(masks[chosen].astype(bool), confidence)


def sketch_hints(ink: Field) -> list[Field]:
    """What the outline encloses after closing at four radii: the network's hints, float32 (H, W) each, 0 or 1."""
    solid = (ink > 0.4).astype(np.uint8)
    width = max(1.0, 0.012 * max(solid.shape))
    closed = solid | _page_edge(solid, width)
    radii = [round(CLOSING_RADII[i] * max(solid.shape)) for i in (0, 2, 4, 6)]
    return [_filled(closed, radius, 0.5 * width).astype(np.float32) for radius in radii]


def _disc(radius: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)))


def _filled(solid: NDArray[Any], radius: int, width: float) -> NDArray[Any]:
    """Strokes closed by `radius`, holes filled, loose hairs taken off; uint8 (H, W)."""
    pad = radius + 2
    padded = cv2.copyMakeBorder(solid, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
    if radius > 0:
        padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, _disc(radius))
    outside = padded.copy()
    cv2.floodFill(outside, None, (0, 0), 2)
    inside = (outside != 2).astype(np.uint8)
    hair = max(1, round(0.8 * width))
    opened = cv2.morphologyEx(inside, cv2.MORPH_OPEN, _disc(hair))
    # Opening rounds corners; what touches the opened figure and is no hair is given back.
    opened = cv2.dilate(opened, _disc(max(1, hair // 2))) & inside
    return np.asarray(opened[pad:-pad, pad:-pad])


def _page_edge(solid: NDArray[Any], width: float) -> NDArray[Any]:
    """The page's edge between the places where one connected drawing runs off it; uint8 (H, W)."""
    height, wide = solid.shape
    reach = min(max(2, round(width)), height, wide)
    closed = np.zeros_like(solid)
    _, labels = cv2.connectedComponents(cv2.dilate(solid, _disc(max(1, round(width)))))
    # Positions along the edge, clockwise: (row, column) of each edge pixel.
    top = [(0, c) for c in range(wide)]
    right = [(r, wide - 1) for r in range(1, height)]
    bottom = [(height - 1, c) for c in range(wide - 2, -1, -1)]
    left = [(r, 0) for r in range(height - 2, 0, -1)]
    edge = np.array(top + right + bottom + left)
    near = np.zeros_like(labels)
    for rows, columns in (
        (slice(0, reach), slice(None)),
        (slice(height - reach, height), slice(None)),
        (slice(None), slice(0, reach)),
        (slice(None), slice(wide - reach, wide)),
    ):
        near[rows, columns] = np.where(solid[rows, columns] > 0, labels[rows, columns], 0)
    spread = cv2.dilate(near.astype(np.float32), np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    touching = spread[edge[:, 0], edge[:, 1]].astype(int)
    for label in np.unique(touching[touching > 0]):
        at = np.flatnonzero(touching == label)
        if len(at) < 2:
            continue
        gaps = np.diff(np.concatenate([at, [at[0] + len(edge)]]))
        longest = int(gaps.argmax())
        for i, gap in enumerate(gaps):
            if i == longest or gap > 0.4 * len(edge):
                continue
            along = edge[np.arange(at[i], at[i] + gap + 1) % len(edge)]
            if (np.ptp(along, axis=0) >= np.array(solid.shape) - 1).any() and gap > max(solid.shape):
                continue  # from one side of the page to the opposite: a horizon, no figure
            closed[along[:, 0], along[:, 1]] = 1
    return closed


def around_strokes(solid: NDArray[Any], width: float) -> Mask:
    """The surroundings of strokes, for a figure without interior; solid uint8 (H, W) 0 or 1, width in pixels."""
    radius = max(2, round(2 * width), round(0.012 * max(solid.shape)))
    joined = cv2.morphologyEx(cv2.dilate(solid, _disc(radius)), cv2.MORPH_CLOSE, _disc(2 * radius))
    return np.asarray(joined > 0)


def photo_by_grabcut(image: Image) -> Foreground:
    """Figure of a photo, RGB uint8 (H, W, 3): GrabCut (Rother et al. 2004) from a centre-weighted saliency guess.

    Where nothing stands out, an ellipse in the middle is returned with confidence 0.
    """
    height, width = image.shape[:2]
    scale = min(1.0, GRABCUT_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if float(small.reshape(-1, 3).std(axis=0).max()) < 2:  # one flat colour
        return Foreground(_ellipse(height, width), 0.0)
    saliency = _saliency(small)
    seeds = np.full(saliency.shape, cv2.GC_PR_BGD, np.uint8)
    seeds[saliency > np.quantile(saliency, 0.62)] = cv2.GC_PR_FGD
    seeds[saliency > np.quantile(saliency, 0.9)] = cv2.GC_FGD
    rim = max(1, min(seeds.shape) // 40)
    for view in (seeds[:rim], seeds[-rim:], seeds[:, :rim], seeds[:, -rim:]):
        view[view != cv2.GC_FGD] = cv2.GC_PR_BGD
    corners = max(2, min(seeds.shape) // 12)
    for rows in (slice(0, corners), slice(-corners, None)):
        for columns in (slice(0, corners), slice(-corners, None)):
            seeds[rows, columns] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    try:
        cv2.grabCut(small, seeds, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return Foreground(_ellipse(height, width), 0.0)
    found = ((seeds == cv2.GC_FGD) | (seeds == cv2.GC_PR_FGD)).astype(np.uint8)
    found = _main_parts(cv2.morphologyEx(found, cv2.MORPH_OPEN, _disc(1)))
    share = float(found.mean())
    if not 0.02 < share < 0.92:
        return Foreground(_ellipse(height, width), 0.0)
    inside, outside = saliency[found > 0].mean(), saliency[found == 0].mean()
    confidence = float(np.clip((inside - outside) / (inside + outside + 1e-6), 0, 1))
    large = cv2.resize(found.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return Foreground(np.asarray(cv2.GaussianBlur(large, (0, 0), max(0.5, 0.4 / scale)) > 0.5), confidence)


def _saliency(small: Image) -> Field:
    """How unlike the picture's rim each pixel is, weighted towards the middle; float32 (h, w) in [0, 1]."""
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32)
    height, width = lab.shape[:2]
    rim = max(2, min(height, width) // 16)
    border = np.concatenate([lab[:rim].reshape(-1, 3), lab[:, :rim].reshape(-1, 3), lab[:, -rim:].reshape(-1, 3)])
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 12, 0.5)
    cv2.setRNGSeed(0)
    count = min(5, len(border))
    _, _, centres = cv2.kmeans(border, count, None, criteria, 1, cv2.KMEANS_PP_CENTERS)
    distance = np.linalg.norm(lab[:, :, None] - centres[None, None], axis=3).min(axis=2)
    distance = cv2.GaussianBlur(distance, (0, 0), 0.02 * max(height, width))
    rows, columns = np.mgrid[0:height, 0:width]
    r, c = (rows + 0.5) / height - 0.52, (columns + 0.5) / width - 0.5
    centre = np.exp(-(r * r + c * c) / (2 * 0.28**2))
    value = (distance / max(float(distance.max()), 1e-6) + 0.25) * centre
    return np.asarray(value / value.max(), dtype=np.float32)


def _main_parts(found: NDArray[Any]) -> NDArray[Any]:
    """The largest connected part and others of at least a quarter of it, holes filled; uint8."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count <= 1:
        return found
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = np.isin(labels, 1 + np.flatnonzero(areas >= 0.25 * areas.max())).astype(np.uint8)
    outlines, _ = cv2.findContours(keep, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(keep), outlines, -1, 1, cv2.FILLED)
    # Small holes are glints and eyes; large ones are real (a handle, a ring).
    holes = filled & (1 - keep)
    n, marks, hole_stats, _ = cv2.connectedComponentsWithStats(holes)
    big: Any = 1 + np.flatnonzero(hole_stats[1:, cv2.CC_STAT_AREA] > 0.03 * filled.sum()) if n > 1 else []
    return np.where(np.isin(marks, big), 0, filled).astype(np.uint8)


def _ellipse(height: int, width: int) -> Mask:
    rows, columns = np.mgrid[0:height, 0:width]
    r, c = ((rows + 0.5) / height - 0.5) / 0.38, ((columns + 0.5) / width - 0.5) / 0.38
    return np.asarray(r * r + c * c <= 1)
