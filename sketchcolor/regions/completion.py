"""Completing a picture where something was taken out, from patches of the rest.

The hole is filled smoothly, then each patch in it is replaced by the most alike patch of the known part, a few times
over at a small size (exhaustive search; the idea of Criminisi et al. 2004 and Wexler et al. 2007). Where each small
pixel came from then tells the full-size pixels what to copy, so that the texture stays sharp.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.records import Field, Mask
from sketchcolor.remembering import remembered

SIDE = 72
RADIUS = 3
ROUNDS = 3
MOST_SOURCES = 4000
# A patch from elsewhere must be the better, the farther it is: in Lab-like units for the whole height and width.
FAR_ROW, FAR_COLUMN = 90.0, 30.0


@remembered(64)
def complete(image: Field, known: Mask) -> Field:
    """Fill the pixels where `known` is False; image float32 (H, W, 3) in 0-255 in and out.

    All known, or hardly anything known: the picture comes back unchanged or only smoothly filled.
    """
    smooth = push_pull(image, known)
    if known.all() or known.mean() < 0.08:
        return smooth
    scale = SIDE / max(known.shape)
    size = (max(8, round(known.shape[1] * scale)), max(8, round(known.shape[0] * scale)))
    small = cv2.resize(smooth, size, interpolation=cv2.INTER_AREA)
    hole = cv2.resize((~known).astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.01
    window = 2 * RADIUS + 1
    whole = cv2.erode((~hole).astype(np.uint8), np.ones((window, window), np.uint8), borderValue=0) > 0
    sources = np.argwhere(whole)
    if len(sources) < 30 or not hole.any():
        return smooth
    sources = sources[:: -(-len(sources) // MOST_SOURCES)]
    targets = np.argwhere(cv2.dilate(hole.astype(np.uint8), np.ones((window, window), np.uint8)) > 0)
    nearest = np.zeros(len(targets), np.int64)
    for _ in range(ROUNDS):
        nearest = _most_alike(small, targets, sources)
        small = _vote(small, hole, targets, sources[nearest])
    return _copy(smooth, known, hole, targets, sources[nearest])


def _patches(image: Field, centres: NDArray[Any]) -> Field:
    """(N, window^2 * 3) patches round centres, border repeated."""
    padded = cv2.copyMakeBorder(image, RADIUS, RADIUS, RADIUS, RADIUS, cv2.BORDER_REPLICATE)
    reach = np.arange(2 * RADIUS + 1)
    rows = centres[:, 0, None, None] + reach[None, :, None]
    columns = centres[:, 1, None, None] + reach[None, None, :]
    return np.asarray(padded[rows, columns].reshape(len(centres), -1))


def _most_alike(image: Field, targets: NDArray[Any], sources: NDArray[Any]) -> NDArray[Any]:
    """Index of the nearest source patch for each target, place counted in."""
    count = (2 * RADIUS + 1) ** 2 * 3
    weight = np.array([FAR_ROW, FAR_COLUMN]) * np.sqrt(count) / np.array(image.shape[:2])
    ours = np.hstack([_patches(image, targets), targets * weight]).astype(np.float32)
    theirs = np.hstack([_patches(image, sources), sources * weight]).astype(np.float32)
    gaps = (theirs**2).sum(1)[None] - 2 * ours @ theirs.T
    return np.asarray(gaps.argmin(axis=1))


def _vote(image: Field, hole: Mask, targets: NDArray[Any], origins: NDArray[Any]) -> Field:
    """Each hole pixel becomes the mean of what the patches over it propose."""
    height, width = hole.shape
    total = np.zeros((height, width, 3), np.float64)
    count = np.zeros((height, width), np.float64)
    for dr in range(-RADIUS, RADIUS + 1):
        for dc in range(-RADIUS, RADIUS + 1):
            rows, columns = targets[:, 0] + dr, targets[:, 1] + dc
            inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
            rows, columns = rows[inside], columns[inside]
            closeness = np.exp(-(dr * dr + dc * dc) / (2 * (RADIUS / 2) ** 2))
            # Each (dr, dc) meets a pixel at most once, so plain indexing adds correctly.
            total[rows, columns] += closeness * image[origins[inside, 0] + dr, origins[inside, 1] + dc]
            count[rows, columns] += closeness
    proposed = total / np.maximum(count, 1e-9)[..., None]
    return np.where((hole & (count > 0))[..., None], proposed, image).astype(np.float32)


def _copy(smooth: Field, known: Mask, hole: Mask, targets: NDArray[Any], origins: NDArray[Any]) -> Field:
    """Full-size pixels of the hole, copied from where the small ones came from; seams softened by the smooth fill."""
    height, width = known.shape
    offset = np.zeros((*hole.shape, 2), np.float32)
    offset[targets[:, 0], targets[:, 1]] = origins - targets
    offset = np.dstack([cv2.medianBlur(np.ascontiguousarray(offset[..., i]), 5) for i in range(2)])
    # Offsets change gradually inside a coherent piece (interpolate, or rows repeat) and jump between pieces (do not).
    large = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    jumping = cv2.resize(offset, (width, height), interpolation=cv2.INTER_NEAREST)
    large = np.where((np.abs(large - jumping) > 0.75).any(axis=2, keepdims=True), jumping, large)
    scale = np.array([height / hole.shape[0], width / hole.shape[1]])
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    rows = rows + large[..., 0] * scale[0]
    columns = columns + large[..., 1] * scale[1]
    copied = cv2.remap(smooth, columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    valid = cv2.remap(known.astype(np.float32), columns.astype(np.float32), rows.astype(np.float32), cv2.INTER_LINEAR)
    trust = cv2.GaussianBlur(np.where(valid > 0.99, 1.0, 0.0).astype(np.float32), (0, 0), 1.0)[..., None]
    filled = copied * trust + smooth * (1 - trust)
    return np.where(known[..., None], smooth, filled).astype(np.float32)


def push_pull(image: Field, known: Mask) -> Field:
    """Fill the pixels where `known` is False smoothly from the others; float32 (H, W, C) in, the same out.

    Pyramid averaging and interpolation of scattered data (Gortler et al. 1996). All unknown: returned unchanged.
    """
    if known.all() or not known.any():
        return image
    weight = known.astype(np.float32)
    levels = [(image * weight[..., None], weight)]
    while min(levels[-1][1].shape) > 1 and float(levels[-1][1].min()) < 1e-4:
        color, share = levels[-1]
        levels.append((cv2.pyrDown(color), cv2.pyrDown(share)))
    color, share = levels[-1]
    filled = color / np.maximum(share, 1e-6)[..., None]
    for color, share in reversed(levels[:-1]):
        above = cv2.resize(filled, (share.shape[1], share.shape[0]), interpolation=cv2.INTER_LINEAR)
        own = color / np.maximum(share, 1e-6)[..., None]
        trust = np.minimum(share * 2, 1)[..., None]
        filled = own * trust + above.reshape(own.shape) * (1 - trust)
    return np.where(known[..., None], image, filled)
