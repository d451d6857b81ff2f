"""From a sketch or a photo to a vector: near vectors, like pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog
from skimage.morphology import skeletonize

from sketchcolor.devices import bfloat16_is_quick
from sketchcolor.lines import stroke_width
from sketchcolor.records import Field, Image
from sketchcolor.remembering import remembered

# On the page that the network sees, in pixels.
THINNEST, USUAL, THICKEST = 1.6, 2.2, 3.0
SOFTNESS = 0.5
# The drawing as other hands might have done it: (width, height, slant) of the page; the mean of all is asked with.
HANDS = ((1.0, 1.0, 0.0), (1.035, 0.9, 0.0), (0.95, 0.95, 0.14), (0.95, 0.95, -0.14))
# Pages that the network sees at once: what it makes of more does not stay in the processor's cache.
AT_ONCE = 8
# A stroke that is cut across is no longer than so many stroke widths there; strokes of one cut lie apart by this share
# of the drawing's height.
CROSSING, CUT_SPREAD = 2.5, 0.3
Vectors = NDArray[np.float32]
"""float32 (N, D), rows of unit length."""


class Embedding(Protocol):
    """What a library needs of an embedding. `version` changes whenever vectors of old and new cannot be mixed."""

    version: str
    dimension: int

    def photos(self, images: Sequence[Image]) -> Vectors:
        """Vectors of photos, RGB uint8 (H, W, 3) of any sizes; rows of unit length."""
        ...

    def sketch(self, ink: Field) -> Vectors:
        """Query vectors of one ink map, float32 (H, W) in [0, 1]; shape (V, D), the best of the V views counts."""
        ...


class LineDescriptor:
    """Histograms of oriented gradients (Dalal & Triggs 2005) of a sketch's ink and of a photo's edges.

    Both are cropped to where the lines are and drawn at one size, so that place and scale on the page do not matter.
    """

    version = "lines-1"
    side = 96

    # 5 x 5 blocks of 2 x 2 cells of 16 px, 9 orientations.
    dimension = 5 * 5 * 2 * 2 * 9

    def photos(self, images: Sequence[Image]) -> Vectors:
        """See `Embedding.photos`."""
        if not images:
            return np.zeros((0, self.dimension), np.float32)
        return np.stack([self._describe(edge_map(image)) for image in images])

    def sketch(self, ink: Field) -> Vectors:
        """See `Embedding.sketch`."""
        return np.stack([self._describe(ink), self._describe(np.ascontiguousarray(ink[:, ::-1]))])

    def _describe(self, lines: Field) -> NDArray[np.float32]:
        canvas = crop_to_lines(lines, self.side)
        cells = {"pixels_per_cell": (16, 16), "cells_per_block": (2, 2), "block_norm": "L2-Hys"}
        values = hog(canvas, orientations=9, **cells)
        # The root of a histogram compares better than the histogram (Arandjelovic & Zisserman 2012).
        values = np.sqrt(np.maximum(values, 0))
        return np.asarray(values / max(float(np.linalg.norm(values)), 1e-6), dtype=np.float32)


def crop_to_lines(lines: Field, side: int, *, margin: float = 0.06) -> Field:
    """The lines' robust box on a square of `side` px, aspect kept, thin strokes kept visible; float32 in [0, 1]."""
    rows, columns = lines.sum(axis=1), lines.sum(axis=0)
    if float(rows.sum()) <= 0:
        return np.zeros((side, side), np.float32)
    ends = []
    for profile in (rows, columns):
        share = np.cumsum(profile) / profile.sum()
        ends.append((int(np.searchsorted(share, 0.01)), int(np.searchsorted(share, 0.99)) + 1))
    (top, bottom), (left, right) = ends
    crop = lines[top : max(bottom, top + 1), left : max(right, left + 1)]
    inner = round(side * (1 - 2 * margin))
    scale = inner / max(crop.shape)
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    if scale < 1:
        reach = int(np.ceil(0.5 / scale))
        crop = cv2.dilate(crop, np.ones((reach, reach), np.uint8))
    small = cv2.resize(crop, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    canvas = np.zeros((side, side), np.float32)
    y, x = (side - size[1]) // 2, (side - size[0]) // 2
    canvas[y : y + size[1], x : x + size[0]] = np.clip(small, 0, 1)
    return canvas


def even_strokes(ink: Field, side: int) -> Field:
    """Strokes as the network knows them: soft, and neither hair-thin nor broad on the page that it sees.

    `side` is the page's, in pixels; thin strokes are widened, broad ones worn down to a stroke along their skeleton.
    """
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.5), np.flatnonzero(ink.max(axis=0) > 0.5)
    if not len(rows):
        return ink
    scale = side / max(1, int(np.ptp(rows)), int(np.ptp(columns)))
    width = stroke_width(ink)
    if width * scale < THINNEST:
        reach = max(2, round(USUAL / scale - width) + 1)
        ink = cv2.dilate(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    if width * scale > THICKEST:
        excess = max(1, round(width - USUAL / scale))
        worn = cv2.erode(ink, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (excess, excess)))
        bones = skeletonize(ink > 0.5).astype(np.float32)
        reach = max(1, round(USUAL / scale))
        ink = np.maximum(worn, cv2.dilate(bones, np.ones((reach, reach), np.uint8)))
    return np.asarray(cv2.GaussianBlur(ink, (0, 0), max(0.3, SOFTNESS / scale)))


def completed(ink: Field) -> Field:
    """A drawing that ends as if cut off on its left or right, with its mirror image there; ink float32 (H, W).

    Most things are alike on both sides; half of one is found far better so (models/retrieval.md). A drawing is cut off
    where several strokes, far enough apart, end at the same column. Any other one comes back as it is.
    """
    rows, columns = np.flatnonzero(ink.max(axis=1) > 0.3), np.flatnonzero(ink.max(axis=0) > 0.3)
    if not len(rows):
        return ink
    drawn = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    width = stroke_width(ink)
    left, right = (_is_cut(strip.max(axis=1) > 0.4, width) for strip in (drawn[:, :2], drawn[:, -2:]))
    if left == right:
        return ink
    other = drawn[:, ::-1]
    return np.ascontiguousarray(np.hstack([other, drawn] if left else [drawn, other]))


def _is_cut(edge: NDArray[np.bool_], width: float) -> bool:
    """Whether strokes (True) are cut across here, rather than the outline's utmost place touched."""
    changes = np.diff(np.concatenate([[0], edge.astype(np.int8), [0]]))
    begins, ends = np.flatnonzero(changes == 1), np.flatnonzero(changes == -1)
    across = ends - begins < CROSSING * width
    return bool(across.sum() >= 2 and ends[-1] - begins[0] >= CUT_SPREAD * len(edge))


def edge_map(image: Image, *, longest: int = 192) -> Field:
    """Lines that a person might draw of a photo: Canny edges (Canny 1986) at an automatic threshold; float32."""
    scale = min(1.0, longest / max(image.shape[:2]))
    size = (max(2, round(image.shape[1] * scale)), max(2, round(image.shape[0] * scale)))
    small = cv2.GaussianBlur(cv2.resize(image, size, interpolation=cv2.INTER_AREA), (0, 0), 1.4)
    dx = cv2.Sobel(small, cv2.CV_16S, 1, 0)
    dy = cv2.Sobel(small, cv2.CV_16S, 0, 1)
    strongest = np.abs(dx).astype(np.int32).sum(2) + np.abs(dy).astype(np.int32).sum(2)
    pick = np.abs(dx).argmax(2)[..., None]
    dx1 = np.take_along_axis(dx, pick, 2)[..., 0]
    dy1 = np.take_along_axis(dy, np.abs(dy).argmax(2)[..., None], 2)[..., 0]
    high = float(np.quantile(strongest / 3, 0.9))
    edges = cv2.Canny(np.ascontiguousarray(dx1), np.ascontiguousarray(dy1), 0.5 * high, max(high, 8.0))
    return np.asarray(edges > 0, dtype=np.float32)


def sketch_page(lines: Field, side: int) -> Image:
    """Ink float32 in [0, 1] as a white page with black lines, RGB uint8 (side, side, 3), cropped to the lines."""
    return _on_paper(crop_to_lines(lines.astype(np.float32), side))


def _on_paper(ink: Field) -> Image:
    return np.repeat((255 * (1 - ink) + 0.5).astype(np.uint8)[..., None], 3, axis=2)


def _batch(pages: Sequence[Image]) -> Any:
    """Pages as the network takes them: (B, 3, side, side) in [0, 1], channels last."""
    import torch

    batch = torch.from_numpy(np.stack(pages)).permute(0, 3, 1, 2).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


def photo_page(photo: Image, side: int) -> Image:
    """A whole photo on a square, RGB uint8 (side, side, 3)."""
    shrinks = photo.shape[0] * photo.shape[1] > side * side
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(np.ascontiguousarray(photo), (side, side), interpolation=how), dtype=np.uint8)


def _as_by(hand: tuple[float, float, float], page: Image) -> Image:
    """A page (side, side, 3) stretched and slanted about its middle; white where nothing was drawn."""
    width, height, slant = hand
    middle = page.shape[0] / 2
    move = np.array([[width, slant, middle * (1 - width - slant)], [0, height, middle * (1 - height)]])
    return np.asarray(cv2.warpAffine(page, move, page.shape[1::-1], flags=cv2.INTER_LINEAR, borderValue=(255,) * 3))


class TwoTowerEmbedding:
    """The trained network: a sketch side and a photo side (see models/retrieval.md)."""

    def __init__(self) -> None:
        """Loads the shipped weights. Raises WeightsError."""
        import torch

        from sketchcolor.retrieval.network import DIMENSION, PAGE, PHOTO, SKETCH, TwoTowers
        from sketchcolor.weights import cards, load_shipped

        network = TwoTowers()
        network.load_state_dict(load_shipped("retrieval"))
        ready: Any = network.eval().requires_grad_(False)
        self.network: TwoTowers = ready.to(memory_format=torch.channels_last)
        self.page, self.photo_page = PAGE[SKETCH], PAGE[PHOTO]
        self.version = f"towers-{cards()['retrieval'].sha256[:8]}-{self.photo_page}"
        self.dimension = DIMENSION

    def photos(self, images: Sequence[Image]) -> Vectors:
        """See `Embedding.photos`."""
        if not images:
            return np.zeros((0, self.dimension), np.float32)
        return self._run([photo_page(image, self.photo_page) for image in images], "photo")

    def sketch(self, ink: Field) -> Vectors:
        """See `Embedding.sketch`."""
        whole = completed(ink)
        pages: list[Image] = []
        for drawing in [ink] if whole is ink else [ink, whole]:  # a cut drawing says something too as it is
            page = sketch_page(even_strokes(drawing, self.page), self.page)
            pages += [_as_by(hand, page) for hand in HANDS]
        found = self._run([*pages, *(page[:, ::-1] for page in pages)], "sketch")
        middle = found.reshape(2, len(pages), -1).mean(axis=1)
        return np.asarray(middle / np.linalg.norm(middle, axis=1, keepdims=True), dtype=np.float32)

    def places(self, square: Field | Image, side: str) -> Vectors:
        """What each place of a square is like: float32 (n, n, C), of unit length; n is a sixteenth of its side.

        side: "sketch", for ink float32 (H, H), or "photo", for RGB uint8 (H, H, 3). Places of the one can be compared
        with places of the other, by the cosine.
        """
        import torch

        page = _on_paper(even_strokes(square, len(square))) if side == "sketch" else square
        quick = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_quick("cpu"))
        with torch.inference_mode(), quick:
            found = self.network.places(_batch([page, page[:, ::-1]]), side).float()
        middle = (found[0] + found[1].flip(2)).permute(1, 2, 0)
        return np.asarray(torch.nn.functional.normalize(middle, dim=2).numpy(), dtype=np.float32)

    def _run(self, pages: Sequence[Image], side: str) -> Vectors:
        import torch

        quick = torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_quick("cpu"))
        found = []
        for start in range(0, len(pages), AT_ONCE):
            with torch.inference_mode(), quick:
                features = self.network.features(_batch(pages[start : start + AT_ONCE]), side)
            with torch.inference_mode():  # in float32: vectors are compared to the third decimal
                found.append(self.network.join(features.float(), side).numpy())
        return np.ascontiguousarray(np.concatenate(found))


@lru_cache(maxsize=1)
def default_embedding() -> TwoTowerEmbedding:
    """The embedding that libraries are built with: the trained network."""
    return TwoTowerEmbedding()


@remembered(16)
def places(square: Field | Image, side: str) -> Vectors:
    """`TwoTowerEmbedding.places` of the default embedding, remembered: a drawing is tried in many pictures' colours."""
    return default_embedding().places(square, side)
