"""Figure and ground: which pixels of a drawing or a photo belong to the main figure. True = foreground.

A small trained network says roughly what is figure; what is exact in the picture makes it exact: closed outlines in
a drawing, edges in a photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.devices import bfloat16_is_quick
from sketchcolor.images import fit_size
from sketchcolor.records import Field, Image, Labels, Mask
from sketchcolor.regions.classical import Foreground, around_strokes, sketch_by_closing, sketch_hints
from sketchcolor.regions.placement import believable
from sketchcolor.remembering import remembered

if TYPE_CHECKING:
    from torch import nn

PHOTO_SIDE = 192
# A photo is looked at in these sizes: the smallest sees the whole best, the largest the parts.
PHOTO_SIDES = (160, 192, 256)
SKETCH_SIDE = 160
# A ground is plain where this share of the rim lies within PLAIN (Lab) of its median.
PLAIN, PLAIN_SHARE = 5.0, 0.92
# Where the figure is read more widely, and where only what the network hardly doubts is taken.
OTHER_THRESHOLDS = (0.15, 0.85)
# A figure below this share of the page, or hardly more than its strokes, is one without interior.
SMALLEST_FIGURE = 0.012
# A figure that holds less of the ink than this, where the strokes enclose much more, is not believed.
LEAST_INK = 0.6
# From this confidence of gap closing on the outline counts as closed.
SURELY_CLOSED = 0.85
MUCH_MORE = 1.5
# Off the page, closing cannot know on which side of a line the figure is: it is believed where it agrees with the
# network to this intersection over union, and leaves out no part of its figure larger than this share of its own.
AGREED, LEFT_OUT = 0.75, 0.08
# ... and likelihood from which an area counts as figure where gap closing says so too.
ENCLOSED = 0.04
# A hole of at most this share of the figure, with no line around it, is a mistake.
GAP = 0.04
# A larger hole is believed where at least this share of its rim is a line.
RIM = 0.6
# Pixels nearer to ink than this share of the page are not asked when a closed area is judged as a whole.
NEAR_INK = 0.01


@lru_cache(maxsize=2)
def _network(kind: str) -> nn.Module:
    import torch

    from sketchcolor.regions.networks import PhotoNet, SketchNet, without_batch_norm
    from sketchcolor.weights import load_shipped

    network: nn.Module = PhotoNet() if kind == "photo" else SketchNet()
    network.load_state_dict(load_shipped(f"foreground-{kind}"))
    ready: Any = without_batch_norm(network.eval().requires_grad_(False))
    number = torch.bfloat16 if bfloat16_is_quick("cpu") else torch.float32
    made: nn.Module = ready.to(dtype=number, memory_format=torch.channels_last)
    return made


def _probability(kind: str, planes: Field) -> Field:
    """Network's answer for (h, w, C) float32 in [0, 1]: (h, w) in [0, 1]."""
    import torch

    network = _network(kind)
    with torch.inference_mode():
        batch = torch.from_numpy(np.ascontiguousarray(planes)).permute(2, 0, 1)[None]
        batch = batch.to(dtype=next(network.parameters()).dtype, memory_format=torch.channels_last)
        answer = torch.sigmoid(network(batch).float())
    return answer[0, 0].numpy()


@remembered(64)
def photo_foreground(image: Image, *, quick: bool = False) -> Foreground:
    """Figure of a photo, RGB uint8 (H, W, 3): network, then a guided filter (He et al. 2010) along the edges.

    A picture on a plain ground (a drawing in colour, a product) is told from it by colour, exactly. Where nothing is
    found, the mask is empty and the confidence 0. quick: one look, to compare pictures with one another.
    """
    plain = _on_plain_ground(image)
    if plain is not None:
        return Foreground(plain, 1.0)
    fine, sure = photo_likelihood(image, quick=quick)
    mask = _without_specks(fine > 0.5)
    return Foreground(mask, sure if mask.any() else 0.0, tuple(_without_specks(fine > t) for t in OTHER_THRESHOLDS))


def photo_likelihood(image: Image, *, quick: bool = False) -> tuple[Field, float]:
    """How likely each pixel of a photo is figure, float32 (H, W) along the photo's edges; and how sure that is, 0-1.

    quick: one look, not followed along the edges.
    """
    height, width = image.shape[:2]
    looks = []
    for side in (PHOTO_SIDE,) if quick else PHOTO_SIDES:
        values = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        answer = _probability("photo", values)
        if not quick:  # the mean of the picture's answer and its mirror image's is steadier than either
            answer = (answer + _probability("photo", values[:, ::-1])[:, ::-1]) / 2
        looks.append(cv2.resize(answer, (PHOTO_SIDE, PHOTO_SIDE), interpolation=cv2.INTER_LINEAR))
    rough = np.mean(looks, axis=0)
    large = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
    if quick:
        return large, float(np.abs(2 * rough - 1).mean())
    radius = max(2, round(max(height, width) / 64))
    fine = guided_filter(image.astype(np.float32) / 255, np.clip(large, 0, 1), radius, 1e-4)
    return fine, float(np.abs(2 * rough - 1).mean())


def _on_plain_ground(image: Image) -> Mask | None:
    """All that differs from a plain rim, holes filled; None where the rim is not plain or nothing stands on it."""
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    rim = max(1, min(image.shape[:2]) // 50)
    edge = np.concatenate([lab[:rim].reshape(-1, 3), lab[-rim:].reshape(-1, 3)])
    edge = np.concatenate([edge, lab[:, :rim].reshape(-1, 3), lab[:, -rim:].reshape(-1, 3)])
    ground = np.median(edge, axis=0)
    if (np.linalg.norm(edge - ground, axis=1) < PLAIN).mean() < PLAIN_SHARE:
        return None
    differs = (np.linalg.norm(lab - ground, axis=2) > 2 * PLAIN).astype(np.uint8)
    outlines, _ = cv2.findContours(differs, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(differs), outlines, -1, 1, cv2.FILLED)
    mask = _without_specks(filled > 0)
    return mask if believable(mask) else None


def guided_filter(guide: Field, values: Field, radius: int, smoothness: float) -> Field:
    """Edge-keeping smoothing of values (H, W) along a colour guide (H, W, 3), both float32 in [0, 1].

    Each window fits values = a . colour + b by least squares with `smoothness` added to the colours' covariance.
    """
    window = (2 * radius + 1, 2 * radius + 1)

    def mean(x: Field) -> Field:
        return np.asarray(cv2.blur(x, window))

    mu, average = mean(guide), mean(values)
    joint = mean(guide * values[..., None]) - mu * average[..., None]
    r, g, b = cv2.split(guide)
    mu_r, mu_g, mu_b = cv2.split(mu)
    slope = _solved(
        (mean(r * r) - mu_r * mu_r + smoothness, mean(r * g) - mu_r * mu_g, mean(r * b) - mu_r * mu_b),
        (mean(g * g) - mu_g * mu_g + smoothness, mean(g * b) - mu_g * mu_b, mean(b * b) - mu_b * mu_b + smoothness),
        cv2.split(joint),
    )
    offset = average - slope[0] * mu_r - slope[1] * mu_g - slope[2] * mu_b
    found = mean(slope[0]) * r + mean(slope[1]) * g + mean(slope[2]) * b + mean(offset)
    return np.asarray(found)


def _solved(first: Sequence[Field], rest: Sequence[Field], right: Sequence[Field]) -> tuple[Field, Field, Field]:
    """x of A x = right at each place, A symmetric with rows (first), (., rest[0], rest[1]), (., ., rest[2]).

    By A = L D L^T, all places at once; a general solver goes through them one by one.
    """
    l10, l20 = first[1] / first[0], first[2] / first[0]
    d1 = rest[0] - l10 * first[1]
    l21 = (rest[1] - l20 * first[1]) / d1
    d2 = rest[2] - l20 * first[2] - l21 * l21 * d1
    y1 = right[1] - l10 * right[0]
    z = (right[2] - l20 * right[0] - l21 * y1) / d2
    y = y1 / d1 - l21 * z
    return right[0] / first[0] - l10 * y - l20 * z, y, z


def _without_specks(mask: Mask) -> Mask:
    """Parts below a twentieth of the largest are dropped, holes below a hundredth of the figure filled."""
    found = mask.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(found)
    if count <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    kept = (areas >= 0.05 * areas.max())[labels] & (labels > 0)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~kept).astype(np.uint8))
    holes = stats[:, cv2.CC_STAT_AREA] < 0.01 * kept.sum()
    holes[0] = False
    return np.asarray(kept | holes[labels])


@remembered(16)
def sketch_foreground(ink: Field, width: float) -> Foreground:
    """Figure of a line drawing; ink float32 (H, W) in [0, 1], width of the strokes in pixels.

    A closed outline is filled exactly. Else areas that the ink closes are figure or ground as a whole, by the
    network's judgement of them; where the outline is open the network's own border is taken. The border runs along
    the middle of the line. A figure without interior (a stick man, a plant) is the surroundings of its strokes.
    Never empty where there is ink.
    """
    solid = ink > 0.4
    closed = sketch_by_closing(ink, width)
    whole = not _touches_border(closed.mask)
    if whole and closed.confidence >= SURELY_CLOSED:
        # A drawing whose outline is closed needs no network; only the ink is shared out anew.
        return Foreground(_by_areas(solid, closed.mask.astype(np.float32)), closed.confidence)
    small_size = fit_size(ink.shape[0], ink.shape[1], SKETCH_SIDE)
    shrinks = max(ink.shape) > SKETCH_SIDE
    small = cv2.resize(ink, small_size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if shrinks:  # thin strokes must not fade
        small = np.clip(small * max(1.0, min(2.5, max(ink.shape) / SKETCH_SIDE / width * 2)), 0, 1)
    side = max(small.shape)
    page = np.zeros((side, side), np.float32)
    page[: small.shape[0], : small.shape[1]] = small
    rough = _probability("sketch", np.dstack([page, *sketch_hints(page)]).astype(np.float32))
    rough = rough[: small.shape[0], : small.shape[1]]
    likely = np.clip(cv2.resize(rough, ink.shape[::-1], interpolation=cv2.INTER_CUBIC), 0, 1)
    # Where closing gaps encloses an area too, less is asked of the network.
    if whole:
        likely = np.where(closed.mask & (likely > ENCLOSED), np.maximum(likely, 0.5 + 1e-3), likely)
    mask = _by_areas(solid, likely)
    if not whole and closed.confidence >= SURELY_CLOSED and _agree(closed.mask, mask):
        return Foreground(_by_areas(solid, closed.mask.astype(np.float32)), closed.confidence)
    misses_ink = (solid & mask).sum() < LEAST_INK * solid.sum()
    if misses_ink and closed.mask.sum() > MUCH_MORE * mask.sum():
        # Most of the drawing is no part of it. Fine for a plain outline, whose outer half lies outside; but here
        # what the strokes enclose is much more than the network saw.
        return Foreground(closed.mask, 0.5 * closed.confidence)
    if mask.mean() < SMALLEST_FIGURE or mask.sum() < 1.2 * (solid & mask).sum():
        return Foreground(around_strokes(solid.astype(np.uint8), width), 0.3)
    return Foreground(mask, float(np.abs(2 * rough - 1).mean()))


def _without_gaps(figure: Mask, labels: Labels, areas: NDArray[Any], solid: Mask) -> Mask:
    """Small holes of the figure in the midst of an area filled, and any that no line is drawn around."""
    count, holes, stats, _ = cv2.connectedComponentsWithStats((~figure).astype(np.uint8), connectivity=4)
    filled = figure.copy()
    near_ink = cv2.dilate(solid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    for hole in range(1, count):
        left, top, width, height, size = stats[hole]
        if size > GAP * figure.sum():
            if min(left, top) > 0 and left + width < figure.shape[1] and top + height < figure.shape[0]:
                inside = np.pad(holes[top : top + height, left : left + width] == hole, 1)
                rim = (cv2.dilate(inside.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & ~inside
                inked = near_ink[top - 1 : top + height + 1, left - 1 : left + width + 1][rim].mean()
                if inked < RIM:
                    filled[top : top + height, left : left + width] |= inside[1:-1, 1:-1]
            continue
        box = slice(top, top + height), slice(left, left + width)
        inside = holes[box] == hole
        own = labels[box][inside]
        own = own[own > 0]
        if own.size and size < areas[own].max() / 3:
            filled[box][inside] = True
    return np.asarray(filled)


def _agree(closed: Mask, seen: Mask) -> bool:
    """Whether gap closing found the figure that the network sees, but for small parts."""
    overlap = (closed & seen).sum() / max(1, (closed | seen).sum())
    _, _, stats, _ = cv2.connectedComponentsWithStats((seen & ~closed).astype(np.uint8))
    largest = max(stats[1:, cv2.CC_STAT_AREA], default=0)
    return bool(overlap >= AGREED and largest <= LEFT_OUT * closed.sum())


def _touches_border(mask: Mask) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def _by_areas(solid: Mask, likely: Field) -> Mask:
    """Judge areas between strokes as a whole where they are clear, by pixel where not; then share out the ink."""
    figure = likely > 0.5
    distance = cv2.distanceTransform((~solid).astype(np.uint8), cv2.DIST_L2, 3)
    inner = distance > NEAR_INK * max(solid.shape)
    count, labels = cv2.connectedComponents((~solid).astype(np.uint8), connectivity=4)
    areas = np.bincount(labels.ravel(), minlength=count)
    asked = np.bincount(labels[inner], minlength=count)
    votes = np.bincount(labels[inner & figure], minlength=count)
    all_votes = np.bincount(labels[figure], minlength=count)
    decision = np.full(count, -1)
    for label in range(1, count):
        if asked[label] < 0.2 * areas[label]:  # a narrow area: simple majority
            decision[label] = int(2 * all_votes[label] > areas[label])
        elif votes[label] >= 0.85 * asked[label]:
            decision[label] = 1
        elif votes[label] <= max(0.001 * solid.size, 0.01 * asked[label]):
            decision[label] = 0
    judged = decision[labels]
    figure = _without_gaps(figure, labels, areas, solid)
    sides = np.where(judged < 0, figure, judged == 1)
    # Ink goes to the nearer side, so the border runs along the line's middle.
    _, nearest = cv2.distanceTransformWithLabels(solid.astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    table = np.zeros(int(nearest.max()) + 1, bool)
    table[nearest[~solid]] = sides[~solid]
    return np.where(solid, table[nearest], sides).astype(bool)
