"""Choosing the reference: the nearest pictures of the library, judged by how well they can colour this sketch.

A picture that looks like the sketch may still be a poor source of colour: grey, tiny, blurred, or of another outline.
Each term lies in 0 to 1 and stands in `Hit.terms`; its weight is a setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from sketchcolor import images, regions
from sketchcolor.errors import ImageError
from sketchcolor.records import Field, Hit, Image, Mask
from sketchcolor.settings import ColorSettings

SIDE = 192


def choose(
    hits: Sequence[Hit], ink: Field, sketch_mask: Mask, settings: ColorSettings, *, explain: bool = False
) -> tuple[tuple[Hit, ...], Image | None, list[str]]:
    """(hits, the best first and ranked anew; the best's pixels or None; notes on what could not be read).

    The first `settings.judged` readable hits are looked at; the others follow in their order, with `explain` judged
    too.
    """
    judged: list[tuple[float, int, Hit, Image]] = []
    rest: list[Hit] = []
    notes: list[str] = []
    for place, hit in enumerate(hits):
        late = len(judged) >= settings.judged
        if late and not explain:
            rest.append(hit)
            continue
        try:
            picture = images.read_image(hit.path, max_megapixels=settings.max_megapixels)
        except ImageError as error:
            notes.append(f"left out: {error}")
            continue
        terms = judge(picture, ink, sketch_mask) if settings.judged > 1 or explain else {}
        total = (
            settings.similarity_weight * hit.score
            + settings.overlap_weight * terms.get("overlap", 0)
            + settings.edges_weight * terms.get("edges", 0)
            + settings.colorful_weight * terms.get("colorful", 0)
            + settings.sharp_weight * terms.get("sharp", 0)
            - settings.grey_weight * (terms.get("colorful", 0) < GREY)
        )
        found = dataclasses.replace(hit, terms={"similarity": hit.score, **terms, "total": round(total, 4)})
        if late:
            rest.append(found)
        else:
            judged.append((-total, place, found, picture))
    judged.sort(key=lambda entry: entry[:2])
    ordered = [entry[2] for entry in judged] + rest
    ranked = tuple(dataclasses.replace(hit, rank=rank) for rank, hit in enumerate(ordered, 1))
    return ranked, (judged[0][3] if judged else None), notes


# Pictures less colourful than this have no colour to give.
GREY = 0.04


def judge(picture: Image, ink: Field, sketch_mask: Mask) -> dict[str, float]:
    """Terms of a reference for a sketch: overlap and edges after placement, colorful, sharp; each 0 to 1."""
    size = images.fit_size(picture.shape[0], picture.shape[1], SIDE)
    small = np.asarray(images.resize(picture, size), dtype=np.uint8)
    mask = regions.photo_foreground(small, quick=True).mask
    terms = {"overlap": 0.0, "edges": 0.0}
    if regions.believable(mask):
        placed = regions.place(sketch_mask, mask, ink, small)
        terms = {"overlap": round(placed.overlap, 4), "edges": round(max(0.0, placed.edges), 4)}
    return {**terms, "colorful": colorfulness(small), "sharp": sharpness(picture)}


def colorfulness(image: Image) -> float:
    """Colourfulness (Hasler & Suesstrunk 2003) over 100, at most 1; 0 for grey."""
    values = image.astype(np.float32)
    rg = values[..., 0] - values[..., 1]
    yb = (values[..., 0] + values[..., 1]) / 2 - values[..., 2]
    spread, mean = np.hypot(rg.std(), yb.std()), np.hypot(rg.mean(), yb.mean())
    return round(float(min(1.0, (spread + 0.3 * mean) / 100)), 4)


def sharpness(image: Image) -> float:
    """Detail at 512 px: strongest slopes of the brightness, 0 to 1. A small or blurred picture has little."""
    size = images.fit_size(image.shape[0], image.shape[1], 512)
    grey = cv2.cvtColor(np.asarray(images.resize(image, size), dtype=np.uint8), cv2.COLOR_RGB2GRAY)
    strong = float(np.percentile(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), 99))
    return round(min(1.0, strong / 100), 4)
