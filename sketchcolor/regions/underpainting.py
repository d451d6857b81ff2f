"""The underpainting: the reference's colours laid into the sketch's shape, part by matched part.

Colours are carried outwards over the figure's border before the warp (push-pull), so that no ground is dragged along;
the ground is completed behind the figure from patches. Inside the figure each sketch region keeps to its matched part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sketchcolor.errors import SettingsError
from sketchcolor.records import Field, Image, Labels, Mask, Match
from sketchcolor.regions.alignment import Alignment
from sketchcolor.regions.completion import complete, push_pull
from sketchcolor.regions.placement import believable

# How far ground that was completed from patches is trusted.
COMPLETED_TRUST = 0.5


def sample(image: NDArray[Any], places: Field, how: int = cv2.INTER_LINEAR) -> NDArray[Any]:
    """Values of an image at (row, column) places, border repeated."""
    return np.asarray(
        cv2.remap(
            image,
            np.ascontiguousarray(places[..., 1]),
            np.ascontiguousarray(places[..., 0]),
            how,
            borderMode=cv2.BORDER_REPLICATE,
        )
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
    return np.asarray(np.clip(1.5 - 0.5 * longest / np.maximum(shortest, 1e-3), 0, 1).astype(np.float32))


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
    return np.asarray(result)


def _slivers(region: Mask, own: Mask) -> Mask:
    """Parts of `region` not `own` that are thin against the region: misalignment, not drawing."""
    others = (region & ~own).astype(np.uint8)
    reach = max(2, round(0.06 * float(np.sqrt(region.sum()))))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    thick = cv2.dilate(cv2.morphologyEx(others, cv2.MORPH_OPEN, kernel), np.ones((3, 3), np.uint8))
    return np.asarray((others > 0) & (thick == 0))


def recolor(image: Image, labels: Labels, colors: Sequence[tuple[int, tuple[int, int, int]]]) -> Image:
    """Regions moved to the mean colours that the user wants, in CIELAB, so that shading and texture stay.

    image: RGB uint8; labels: int32 of any size, brought to the image's. Raises SettingsError for a region that is not
    there.
    """
    if not colors:
        return image
    if labels.shape != image.shape[:2]:
        size = (image.shape[1], image.shape[0])
        labels = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    rgb_image = image.astype(np.float32) / 255
    for label, rgb in colors:
        inside = labels == label
        if not inside.any():
            known = ", ".join(str(v) for v in np.unique(labels))
            raise SettingsError(f"the sketch has no region {label}; it has {known}")
        wanted = cv2.cvtColor(np.array([[rgb]], np.float32) / 255, cv2.COLOR_RGB2LAB)[0, 0]
        share = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)[..., None]
        for _ in range(3):  # what cannot be shown is cut off, which moves the mean
            lab = cv2.cvtColor(rgb_image, cv2.COLOR_RGB2LAB)
            lab += (wanted - lab[inside].mean(axis=0)) * share
            lab = np.clip(lab, (0, -127, -127), (100, 127, 127)).astype(np.float32)
            rgb_image = np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1)
    return np.asarray(np.clip(255 * rgb_image + 0.5, 0, 255).astype(np.uint8))
