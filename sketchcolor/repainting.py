"""Painting again only where a correction changed something."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import cv2
import numpy as np

from sketchcolor.records import Field, Image, Mask, Progress, ProgressCallback, Regions, Result
from sketchcolor.settings import ColorSettings

Painted = tuple[Image, tuple[dict[str, float], ...], bool]
Paint = Callable[[Image, Field, Regions, "ProgressCallback | None"], Painted]
"""(underpainting, trust, parts, progress) -> (painting, losses, stopped)."""

# Around what changed, in pixels: painted anew with it, and seen by the painter beside that.
SEAM, MARGIN = 8, 40
# A patch larger than this share of the page saves nothing.
MOST = 0.7


def repaint(
    previous: Result | None,
    under: Image,
    trust: Field,
    reference: Image,
    parts: Regions,
    settings: ColorSettings,
    paint: Paint,
    progress: ProgressCallback | None,
) -> Painted:
    """As `paint`, but what a previous result painted from the same underpainting stays, to the pixel.

    Everything is painted where the previous result is of another reference, size or setting, or was stopped.
    """
    kept = _kept(previous, under, reference, settings)
    if kept is None:
        return paint(under, trust, parts, progress)
    before, changed = kept
    if not changed.any():
        return before, (), False
    rows, columns = (_span(np.asarray(changed.any(axis=axis))) for axis in (1, 0))
    if (rows.stop - rows.start) * (columns.stop - columns.start) > MOST * changed.size:
        return paint(under, trust, parts, progress)
    near = cv2.dilate(changed.astype(np.uint8), np.ones((2 * SEAM + 1,) * 2, np.uint8))
    share = np.minimum(cv2.blur(near.astype(np.float32), (SEAM + 1, SEAM + 1)), near)[rows, columns, None]

    def placed(patch: Image) -> Image:
        page: Image = before.copy()
        mixed = share * patch + (1 - share) * before[rows, columns]
        page[rows, columns] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
        return page

    def watch(step: Progress) -> bool | None:
        assert progress is not None
        return progress(step if step.image is None else dataclasses.replace(step, image=placed(step.image)))

    here = dataclasses.replace(parts, sketch_map=np.ascontiguousarray(parts.sketch_map[rows, columns]))
    cut = np.ascontiguousarray(under[rows, columns]), np.ascontiguousarray(trust[rows, columns])
    patch, losses, stopped = paint(*cut, here, None if progress is None else watch)
    return placed(patch), losses, stopped


def _kept(
    previous: Result | None, under: Image, reference: Image, settings: ColorSettings
) -> tuple[Image, Mask] | None:
    """(the painting as it was, where the underpainting is another now); None where nothing can be kept."""
    if previous is None or previous.stopped or previous.settings != settings or settings.mode != "segmented":
        return None
    if not {"underpainting", "painted", "reference"} <= previous.layers.keys():
        return None
    if not (np.array_equal(previous.layers["reference"], reference)):
        return None
    was = previous.layers["underpainting"]
    if was.shape != under.shape:
        return None
    return previous.layers["painted"], (was != under).any(axis=2)


def _span(there: Mask) -> slice:
    found = np.flatnonzero(there)
    return slice(max(0, int(found[0]) - MARGIN), min(len(there), int(found[-1]) + 1 + MARGIN))
