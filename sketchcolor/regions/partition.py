"""Parts of a figure: closed areas of a drawing, patches of like colour of a photo, and what describes them."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic, watershed

from sketchcolor.records import Field, Image, Labels, Mask, Region

# Parts of a drawing below this share of the page are merged into a neighbour.
SMALLEST_PART = 0.0015
# Openings between strokes narrower than this share of the page do not join two parts.
GAP = 0.012
PHOTO_SIDE = 160
SEGMENTS = 160
# Blur in pixels before patches are found: less, and they move with every change of the picture (benchmarks/parts.py).
STEADY = 1.5
# Patches are one part, however many are allowed, where joining them adds less than this to the mean squared distance
# from a part's colour and place (Lab units).
APART = 10.0


def sketch_parts(ink: Field, mask: Mask, *, most: int = 40) -> Labels:
    """Closed areas of a drawing inside its foreground, then the ground: int32 (H, W), 1 ... n - 1 and n.

    Areas joined only through a narrow gap are separate (watershed of the distance to the ink); ink belongs to the
    area it is nearest to, so that colour runs under the line. Every pixel has a label.
    """
    side = max(ink.shape)
    free = (ink < 0.4) & mask
    distance = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, 3)
    gap = max(1.5, GAP * side / 2)
    _, wide = cv2.connectedComponents((distance > gap).astype(np.uint8), connectivity=4)
    count, closed, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=4)
    has_marker = np.zeros(count, bool)
    has_marker[np.unique(closed[wide > 0])] = True
    markers = wide.astype(np.int32)
    following = int(wide.max()) + 1
    smallest = SMALLEST_PART * ink.size
    for label in range(1, count):
        if not has_marker[label] and stats[label, cv2.CC_STAT_AREA] >= smallest / 3:
            markers[closed == label] = following
            following += 1
    if following == 1:
        labels = mask.astype(np.int32)
    else:
        labels = watershed(-distance, markers, mask=mask).astype(np.int32)
        labels = _merge_small(labels, mask, smallest, most)
    return np.where(mask, labels, labels.max() + 1).astype(np.int32)


def _merge_small(labels: Labels, mask: Mask, smallest: float, most: int) -> Labels:
    """Give small parts, and those beyond the `most` largest, to the nearest kept part; renumber from 1."""
    areas = np.bincount(labels[mask], minlength=int(labels.max()) + 1)
    areas[0] = 0
    order = np.argsort(-areas, kind="stable")
    kept = [int(i) for i in order if i > 0 and areas[i] >= smallest][:most] or [int(order[0])]
    table = np.zeros(len(areas), np.int32)
    table[kept] = np.arange(1, len(kept) + 1)
    return spread_labels(table[labels], mask)


def spread_labels(labels: Labels, mask: Mask) -> Labels:
    """Each unlabelled pixel of `mask` takes the label of the nearest labelled one; 0 outside the mask."""
    known = labels > 0
    if not known.any():
        return mask.astype(np.int32)
    if not (mask & ~known).any():
        return np.where(mask, labels, 0).astype(np.int32)
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    table = np.zeros(int(nearest.max()) + 1, np.int32)
    table[nearest[known]] = labels[known]
    return np.where(mask, table[nearest], 0).astype(np.int32)


def photo_parts(image: Image, mask: Mask, *, parts: int = 6, ground_parts: int = 1) -> Labels:
    """Patches of like colour of a photo: foreground parts 1 ... n, then ground parts; int32 (H, W).

    SLIC superpixels (Achanta et al. 2012) inside and outside the mask, merged by mean colour and place.
    """
    height, width = mask.shape
    scale = min(1.0, PHOTO_SIDE / max(height, width))
    size = (max(2, round(width * scale)), max(2, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    inside = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    smooth = cv2.GaussianBlur(small, (0, 0), STEADY)
    lab = cv2.cvtColor(smooth.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    segments = slic(smooth, n_segments=SEGMENTS, compactness=8, start_label=1)
    labels = np.zeros(inside.shape, np.int32)
    for side, count in ((inside, parts), (~inside, ground_parts)):
        if side.any():
            own = _merge_colors(np.where(side, segments, 0), lab, count)
            labels = np.where(side, own + labels.max(), labels)
    large = cv2.resize(labels.astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST).astype(np.int32)
    # The full-size mask decides; where small and full size differ, the nearest label of the right side is taken.
    first_ground = int(labels[inside].max(initial=0)) + 1
    figure = spread_labels(np.where((large < first_ground) & mask, large, 0), mask)
    ground = spread_labels(np.where((large >= first_ground) & ~mask, large, 0), ~mask)
    if ground.any():
        ground = np.where(ground > 0, np.maximum(ground, int(figure.max()) + 1), 0)
    return np.where(mask, figure, ground).astype(np.int32)


def _merge_colors(segments: Labels, lab: Field, count: int) -> Labels:
    """Ward-like agglomeration of superpixels (0 = none) down to `count` parts by colour and place; from 1."""
    numbers, flat = np.unique(segments, return_inverse=True)
    flat = flat.reshape(segments.shape)
    offset = 1 if numbers[0] == 0 else 0
    sizes = np.bincount(flat.ravel()).astype(np.float64)
    rows, columns = np.mgrid[0 : segments.shape[0], 0 : segments.shape[1]]
    unit = 40.0 / max(segments.shape)  # across the picture counts as much as 40 units of Lab
    features = [*np.moveaxis(lab, 2, 0), rows * unit * 0.5, columns * unit * 0.5]
    means = np.stack([np.bincount(flat.ravel(), f.ravel()) / sizes for f in features], 1)
    sizes, means = sizes[offset:], means[offset:]
    owner = np.arange(len(sizes))
    alive = np.ones(len(sizes), bool)

    def ward(i: int) -> NDArray[Any]:
        gap = ((means - means[i]) ** 2).sum(1) * sizes * sizes[i] / (sizes + sizes[i])
        return np.where(alive, gap, np.inf)

    costs = np.stack([ward(i) for i in range(len(sizes))])
    np.fill_diagonal(costs, np.inf)
    for left in range(len(sizes), 1, -1):
        i, j = np.unravel_index(int(costs.argmin()), costs.shape)
        if left <= count and costs[i, j] > APART * sizes[alive].sum():
            break
        means[i] = (means[i] * sizes[i] + means[j] * sizes[j]) / (sizes[i] + sizes[j])
        sizes[i] += sizes[j]
        alive[j] = False
        owner[owner == j] = i
        costs[j, :] = costs[:, j] = np.inf
        row = ward(int(i))
        row[i] = np.inf
        costs[i, :] = costs[:, i] = row
    _, compact = np.unique(owner, return_inverse=True)
    table = np.concatenate([np.zeros(offset, np.int64), compact + 1])
    return table[flat].astype(np.int32)


def describe(labels: Labels, image: Image, mask: Mask) -> tuple[Region, ...]:
    """Measure each label above 0 of a label map: area, perimeter, compactness, centroid, box and mean colour."""
    regions = []
    for label in np.unique(labels[labels > 0]):
        part = labels == label
        rows, columns = np.nonzero(part)
        box = (int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)
        crop = np.ascontiguousarray(part[box[0] : box[2], box[1] : box[3]]).astype(np.uint8)
        outlines, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        perimeter = max(4.0, sum(cv2.arcLength(o, True) for o in outlines))
        area = float(len(rows))
        color = image[part].mean(axis=0)
        regions.append(
            Region(
                label=int(label),
                foreground=bool(mask[part].mean() > 0.5),
                area=area,
                perimeter=perimeter,
                compactness=min(1.0, 4 * math.pi * area / perimeter**2),
                centroid=(float(rows.mean()), float(columns.mean())),
                box=box,
                color=(float(color[0]), float(color[1]), float(color[2])),
            )
        )
    return tuple(regions)
