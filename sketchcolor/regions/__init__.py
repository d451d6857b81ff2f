"""Figure and ground, their parts, which part goes with which, and laying one over the other."""

from __future__ import annotations

from sketchcolor.records import Field, Image, Mask, Match, Regions
from sketchcolor.regions.alignment import Alignment, align
from sketchcolor.regions.foreground import photo_foreground, sketch_foreground
from sketchcolor.regions.matching import match_regions
from sketchcolor.regions.partition import describe, photo_parts, sketch_parts
from sketchcolor.regions.placement import believable, place
from sketchcolor.regions.underpainting import carry_labels, underpaint

__all__ = [
    "Alignment",
    "align",
    "believable",
    "find_parts",
    "match",
    "photo_foreground",
    "place",
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


def match(parts: Regions, placed: Alignment, sketch_mask: Mask) -> tuple[Match, ...]:
    """Match the parts, the alignment taken into account."""
    return match_regions(
        parts.sketch,
        parts.reference,
        sketch_map=parts.sketch_map,
        carried_map=carry_labels(parts.reference_map, placed, sketch_mask),
        mirrored=placed.mirrored,
    )
