"""Figure and ground, their parts, which part goes with which, and laying one over the other."""

from __future__ import annotations

import cv2
import numpy as np

from sketchcolor.errors import SettingsError
from sketchcolor.records import Field, Image, Mask, Match, Overrides, Regions
from sketchcolor.regions.alignment import Alignment, align
from sketchcolor.regions.foreground import photo_foreground, sketch_foreground
from sketchcolor.regions.matching import match_regions
from sketchcolor.regions.partition import describe, photo_parts, sketch_parts
from sketchcolor.regions.placement import believable, main_figure, place
from sketchcolor.regions.underpainting import carry_labels, recolor, underpaint

__all__ = [
    "Alignment",
    "align",
    "believable",
    "find_parts",
    "find_photo_parts",
    "main_figure",
    "match",
    "overrule",
    "parts_from_maps",
    "photo_foreground",
    "place",
    "recolor",
    "sized_mask",
    "sketch_foreground",
    "underpaint",
]


def find_parts(
    page: Image, ink: Field, sketch_mask: Mask, reference: Image, reference_mask: Mask, *, most: int
) -> Regions:
    """Parts of a sketch page and of its reference, each with its own figure mask."""
    sketch_map = sketch_parts(ink, sketch_mask)
    reference_map = photo_parts(reference, reference_mask, parts=most)
    return Regions(
        sketch_map=sketch_map,
        sketch=describe(sketch_map, page, sketch_mask),
        reference_map=reference_map,
        reference=describe(reference_map, reference, reference_mask),
    )


def find_photo_parts(content: Image, style: Image, *, most: int) -> tuple[Regions, tuple[Match, ...]]:
    """Parts of two photos and which go together; the content stands on the side of the sketch."""
    masks = [photo_foreground(picture).mask for picture in (content, style)]
    ours, theirs = (m if believable(m) else np.ones_like(m) for m in masks)
    grey = cv2.GaussianBlur(cv2.cvtColor(content, cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
    edges = (cv2.Canny(grey, 40, 100) > 0).astype(np.float32)
    maps = photo_parts(content, ours, parts=most), photo_parts(style, theirs, parts=most)
    parts = Regions(maps[0], describe(maps[0], content, ours), maps[1], describe(maps[1], style, theirs))
    return parts, match(parts, align(ours, theirs, edges, style), ours)


def sized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask given by the user, at another size."""
    return np.asarray(cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0)


def parts_from_maps(
    overrides: Overrides, page: Image, sketch_mask: Mask, reference: Image, reference_mask: Mask
) -> Regions:
    """Parts as the user's label maps say, brought to the sizes of page and reference."""
    assert overrides.sketch_map is not None and overrides.reference_map is not None
    maps = [
        cv2.resize(labels.astype(np.float32), picture.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(np.int32)
        for labels, picture in ((overrides.sketch_map, page), (overrides.reference_map, reference))
    ]
    return Regions(
        sketch_map=maps[0],
        sketch=describe(maps[0], page, sketch_mask),
        reference_map=maps[1],
        reference=describe(maps[1], reference, reference_mask),
    )


def overrule(matches: tuple[Match, ...], parts: Regions, overrides: Overrides) -> tuple[Match, ...]:
    """Matches with the user's own pairs in place. Raises SettingsError for a region that is not there."""
    wanted = dict(overrides.pairs)
    if overrides.sketch_map is not None:
        there = {r.label for r in parts.reference}
        wanted = {r.label: r.label for r in parts.sketch if r.label in there} | wanted
    for side, regions, labels in (
        ("sketch", parts.sketch, wanted.keys()),
        ("reference", parts.reference, wanted.values()),
    ):
        known = {r.label for r in regions}
        if unknown := sorted(set(labels) - known):
            raise SettingsError(f"the {side} has no region {unknown[0]}; it has {', '.join(map(str, sorted(known)))}")
    found = {m.sketch: m for m in matches}
    for sketch, reference in wanted.items():
        found[sketch] = Match(sketch, reference, 0.0, {}, "given by the user")
    return tuple(found[r.label] for r in parts.sketch if r.label in found)


def match(parts: Regions, placed: Alignment, sketch_mask: Mask) -> tuple[Match, ...]:
    """Match the parts, the alignment taken into account."""
    return match_regions(
        parts.sketch,
        parts.reference,
        sketch_map=parts.sketch_map,
        carried_map=carry_labels(parts.reference_map, placed, sketch_mask),
        mirrored=placed.mirrored,
    )
