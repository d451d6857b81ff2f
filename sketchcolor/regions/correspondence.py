"""Which places inside two figures go together: what a drawn eye is to an eye.

Outlines say little of what lies between them. The retrieval network, taught that a drawing and a photo show the same
thing, knows it of places too: features of its middle layers are compared between the drawing and the reference as it
is laid on the drawing so far (that such features carry over from what a network was trained for to correspondences:
Long et al. 2014). Each place has a window to find its like in; a smooth flow is fitted to the finds, again and again,
each time closer to the finds, which are sought closer to the flow, until it would distort what it moves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded
from scipy.sparse.csgraph import laplacian as csgraph_laplacian

from sketchcolor.records import Field, Image, Mask

See = Callable[[Field | Image, str], Field]
"""Features of a square's places, float32 (n, n, C) of unit length: of ink ("sketch") or RGB uint8 ("photo")."""

PAGE = 448  # the figure's square, in pixels; the network's middle sees it in 28 x 28 places
MARGIN = 0.1  # round the figure, as a share of its longer side
REACH = 8  # places that a like is sought away
# A like as far away as that must be so much more alike (cosine); each round this counts once more.
FAR = 0.5
# How stiff the flow is against the finds, in the first round and from round to round.
STIFFNESS, LOOSER, ROUNDS = 16.0, 0.7, 11
BENDING, STRETCHING = 0.5, 0.3
RIM = 0.6  # how much places outside the figure hold the flow at nothing, against a find of mean weight
# A flow is distorted where it squeezes or stretches by more in any direction, or folds; in more than this share of the
# figure, and it is not taken.
SQUEEZED, STRETCHED, MOST_DISTORTED = 0.4, 2.2, 0.02
# A figure this small is seen in too few pixels.
SMALLEST = 24


def inner_flow(mask: Mask, ink: Field, laid: Callable[[Field, Field], Image], see: See) -> Field | None:
    """Flow (row, column) in sketch pixels, float32 (H, W, 2): the place at p goes with what lies at p + flow(p).

    mask: the sketch's figure. ink: float32 (H, W). laid: gives the reference, RGB uint8, at rows and columns of the
    sketch as it has been laid on it so far. None where there is nothing to see.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) < SMALLEST or len(columns) < SMALLEST:
        return None
    ends = (rows[0], rows[-1] + 1), (columns[0], columns[-1] + 1)
    side = max(high - low for low, high in ends) * (1 + 2 * MARGIN)
    top, left = ((low + high - side) / 2 for low, high in ends)
    at = (np.arange(PAGE, dtype=np.float32) + 0.5) * np.float32(side / PAGE) - 0.5
    y, x = (np.ascontiguousarray(v) for v in np.meshgrid(at + np.float32(top), at + np.float32(left), indexing="ij"))
    drawn = cv2.remap(ink, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    ours, theirs = see(drawn, "sketch"), see(laid(y, x), "photo")
    count = len(ours)
    shown = cv2.remap(mask.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    inside = cv2.resize(shown, (count, count), interpolation=cv2.INTER_AREA) > 0.35
    if not inside.any():
        return None
    flow = _fitted(_likeness(ours, theirs), inside)
    if flow is None:
        return None
    height, width = mask.shape
    place = [((np.arange(n) + 0.5 - start) * (count / side) - 0.5) for n, start in ((height, top), (width, left))]
    y, x = (np.ascontiguousarray(v, np.float32) for v in np.meshgrid(*place, indexing="ij"))
    smooth = cv2.remap(
        (flow * (side / count)).astype(np.float32), x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(smooth, dtype=np.float32)


def distorted(flow: NDArray[np.floating], inside: Mask) -> float:
    """Share of places inside where x + flow(x) folds, squeezes or stretches too much; flow (H, W, 2), (row, column)."""
    if not inside.any():
        return 0.0
    yy, yx = np.gradient(flow[..., 0])
    xy, xx = np.gradient(flow[..., 1])
    jacobian = np.stack([np.stack([1 + yy, yx], -1), np.stack([xy, 1 + xx], -1)], -2)[inside]
    least, most = np.linalg.svd(jacobian, compute_uv=False).T[::-1]
    bad = (np.linalg.det(jacobian) <= 0) | (least < SQUEEZED) | (most > STRETCHED)
    return float(bad.mean())


@lru_cache(maxsize=2)
def _window(count: int) -> tuple[Any, Any, Any]:
    """Moves (K, 2) of a window; of each of count x count places the place there (N, K), and whether there is one."""
    reach = np.arange(-REACH, REACH + 1)
    moves = np.stack(np.meshgrid(reach, reach, indexing="ij"), axis=-1).reshape(-1, 2)
    places = np.stack(np.meshgrid(np.arange(count), np.arange(count), indexing="ij"), axis=-1).reshape(-1, 1, 2)
    there = places + moves
    valid = ((there >= 0) & (there < count)).all(axis=-1)
    return moves, np.where(valid, there[..., 0] * count + there[..., 1], 0), valid


def _likeness(ours: Field, theirs: Field) -> Field:
    """Cosine of each of our places with the places round it on their side: float32 (N, K), -1 beyond the page."""
    count, channels = len(ours), ours.shape[-1]
    _, there, valid = _window(count)
    every = ours.reshape(-1, channels) @ theirs.reshape(-1, channels).T
    return np.where(valid, np.take_along_axis(every, there, axis=1), np.float32(-1))


@lru_cache(maxsize=2)
def _stiffness(count: int) -> NDArray[np.float64]:
    """Energy of bending and stretching of a field on count x count places: the lower bands of a matrix (N, N)."""
    line = csgraph_laplacian(np.eye(count, k=1) + np.eye(count, k=-1))
    laplacian = np.kron(line, np.eye(count)) + np.kron(np.eye(count), line)
    energy = BENDING * (laplacian @ laplacian) + STRETCHING * laplacian
    bands = np.zeros((2 * count + 1, count * count))  # two rows of places away there is nothing more
    for number, band in enumerate(bands):
        band[: count * count - number] = np.diagonal(energy, -number)
    return bands


def _fitted(likeness: Field, inside: Mask) -> NDArray[np.float64] | None:
    """The last of ever looser flows (n, n, 2), in places, that is not distorted; None where the first one is."""
    count = len(inside)
    moves = _window(count)[0]
    within = inside.ravel()
    # A find counts by how far it stands out.
    weight = np.clip(likeness.max(axis=1) - np.quantile(likeness, 0.75, axis=1), 0, None) * within
    weight = weight / max(float(weight[within].mean()), 1e-6)
    flow = np.zeros((count * count, 2))
    best = None
    for number in range(ROUNDS):
        away = ((moves - flow[:, None]) ** 2).sum(axis=-1) / REACH**2
        found = moves[(likeness - FAR * (1 + number) * away).argmax(axis=1)]
        bands = STIFFNESS * LOOSER**number * _stiffness(count)
        bands[0] += weight + RIM * ~within
        flow = solveh_banded(bands, weight[:, None] * found, lower=True)
        field = flow.reshape(count, count, 2)
        if distorted(field, inside) > MOST_DISTORTED:
            break
        best = field
    return best
