"""The lines of a drawing: an ink map, and laying the lines back on a painting."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sketchcolor.errors import ImageError
from sketchcolor.images import check_image
from sketchcolor.records import Field, Image
from sketchcolor.remembering import remembered

# Ink fainter than this share of the paper's brightness is taken for paper grain.
FAINTEST_INK = 0.06
# A page whose ink covers more than this is no line drawing.
MOST_INK = 0.45


@dataclass(frozen=True)
class Lines:
    """The lines of a drawing.

    ink: float32 (H, W) in [0, 1], 1 = full ink. strokes: float32 (H, W, 3) in [0, 1], what each stroke lets
    through of the paint below (1 = all), so that coloured strokes keep their colour. width: typical stroke width
    in pixels. inverted: the drawing was light on dark. from_photo: the picture was no line drawing, so its
    edges were drawn.
    """

    ink: Field
    strokes: Field
    width: float
    inverted: bool
    from_photo: bool


@remembered(64)
def find_lines(image: Image) -> Lines:
    """Lines of a drawing, scan, phone photo of paper, light-on-dark or flattened transparent drawing.

    image: RGB uint8 (H, W, 3). Light is evened out by the brightness of the paper round each place (flat-field
    correction); the polarity is chosen by which of light and dark fills the page. A photograph gets its edges drawn
    instead. Raises ImageError where there is no ink at all.
    """
    check_image(image, "sketch")
    values = image.astype(np.float32) / 255
    inverted = _is_inverted(values)
    if inverted:
        values = 1 - values
    through = np.clip(values / _paper(values), 0, 1)
    darkness = 1 - through.min(axis=2)
    ink, grain = _clean(darkness)
    from_photo = float((ink > 0.5).mean()) > MOST_INK or _has_many_tones(darkness)
    if from_photo:
        ink = _edges_of_photo(image)
        through = np.repeat(1 - ink[..., None], 3, axis=2)
    if float(ink.max(initial=0.0)) < 0.2 or float((ink > 0.5).sum()) < 3:
        raise ImageError("the sketch has no lines: the page is empty or of one tone")
    strokes = np.where(ink[..., None] > 0, np.clip(through + grain, 0, 1), 1).astype(np.float32)
    return Lines(ink, strokes, stroke_width(ink), inverted, from_photo)


def _is_inverted(values: Field) -> bool:
    grey = values.mean(axis=2)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    return bool(np.median(grey) < 0.4 and np.median(border) < 0.5 and np.percentile(grey, 99.5) > 0.25)


def _paper(values: Field) -> Field:
    """Colour of the paper at each pixel: bright neighbourhood, smoothed; float32 (H, W, 3)."""
    height, width = values.shape[:2]
    scale = min(1.0, 160 / max(height, width))
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # The paper is what is bright nearby. A maximum over a window wider than any stroke finds it; strokes are
    # thinner than the window, shadows are wider.
    small = cv2.resize(values, small_size, interpolation=cv2.INTER_AREA)
    window = max(3, round(max(small_size) / 8) | 1)
    bright = cv2.dilate(cv2.medianBlur(small, 3), np.ones((window, window), np.uint8))
    bright = cv2.GaussianBlur(bright, (0, 0), window / 2)
    uniform = np.percentile(bright.reshape(-1, 3), 60, axis=0)
    if float(np.abs(bright - uniform).max()) < 0.06:
        return np.broadcast_to(np.maximum(uniform, 0.2).astype(np.float32), values.shape)
    paper = cv2.resize(bright, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.maximum(paper, 0.2), dtype=np.float32)


def _clean(darkness: Field) -> tuple[Field, float]:
    """Ink map and the level of paper grain that was taken away."""
    paper_half = darkness[darkness <= np.median(darkness)]
    centre = float(np.median(paper_half))
    spread = float(np.median(np.abs(paper_half - centre)))
    low = max(FAINTEST_INK, centre + 6 * spread)
    marks = darkness[darkness > low]
    if marks.size == 0:
        return np.zeros_like(darkness), low
    high = max(low + 0.08, 0.8 * float(np.percentile(marks, 85)))
    return np.clip((darkness - low) / (high - low), 0, 1).astype(np.float32), low


def _has_many_tones(darkness: Field) -> bool:
    """A photograph has no paper: few pixels share one brightness."""
    histogram, _ = np.histogram(darkness, bins=16, range=(0, 1))
    share = histogram / max(1, darkness.size)
    return bool(share.max() < 0.35 and np.count_nonzero(share > 0.02) >= 6)


def _edges_of_photo(image: Image) -> Field:
    """Difference-of-Gaussians lines with a soft threshold (after Winnemoeller et al. 2012, "XDoG")."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    sigma = max(0.8, max(grey.shape) / 400)
    fine, coarse = cv2.GaussianBlur(grey, (0, 0), sigma), cv2.GaussianBlur(grey, (0, 0), 1.6 * sigma)
    difference = coarse - fine
    strong = max(0.002, float(np.percentile(difference, 97)))
    return np.asarray(np.clip((difference - 0.4 * strong) / (0.6 * strong), 0, 1).astype(np.float32))


def stroke_width(ink: Field) -> float:
    """Typical width of the strokes in pixels: a long stroke's area is half its outline times its width."""
    solid = (ink > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    length = sum(cv2.arcLength(outline, True) for outline in outlines)
    return float(max(1.0, 2 * float(solid.sum()) / max(length, 1.0) + 0.5))


def overlay(painting: Image, lines: Lines, how: str = "keep") -> Image:
    """Lay the lines on a painting of the same size by multiplication.

    keep: the original strokes with their colour. clean: the ink map as black ink. off: no lines.
    """
    if how == "off":
        return painting
    through = lines.strokes if how == "keep" else 1 - lines.ink[..., None]
    return np.asarray(np.clip(painting * through + 0.5, 0, 255).astype(np.uint8))
