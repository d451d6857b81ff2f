"""How well figure is told from ground: `python -m benchmarks.foreground --masks DIR --lineart DIR`.

Photos: the held-out pictures of each saliency set (fixed list in the training program), network against GrabCut: mean
IoU, max F (beta^2 = 0.3, on the mask), mean absolute error. Sketches: outlines of held-out masks, bare and drawn as by
hand, with 0 to 30 % left out, and OpenMoji's line drawings against their filled silhouette; network against gap
closing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import parser, show
from sketchcolor import read_image
from sketchcolor.errors import ImageError
from sketchcolor.lines import find_lines
from sketchcolor.records import Field, Image, Mask
from sketchcolor.regions import classical, foreground
from sketchcolor.training import drawings
from sketchcolor.training.foreground import load_masks

SIDE = 320


def measures(ours: Mask, truth: Mask) -> tuple[float, float, float]:
    """(IoU, F with beta^2 = 0.3, mean absolute error)."""
    both = float((ours & truth).sum())
    precision, recall = both / max(1, ours.sum()), both / max(1, truth.sum())
    f = 1.3 * precision * recall / max(1e-9, 0.3 * precision + recall)
    return both / max(1, (ours | truth).sum()), f, float((ours != truth).mean())


THRESHOLDS = np.linspace(0.02, 0.98, 49)


def curve(likely: Field, truth: Mask) -> NDArray[Any]:
    """(precision, recall) at each threshold, (T, 2)."""
    rows = []
    for threshold in THRESHOLDS:
        ours = likely > threshold
        both = float((ours & truth).sum())
        rows.append((both / max(1, ours.sum()), both / max(1, truth.sum())))
    return np.array(rows)


def max_f(curves: list[NDArray[Any]]) -> float:
    """Largest F (beta^2 = 0.3) over thresholds of the mean precision and recall (Achanta et al. 2009)."""
    precision, recall = np.mean(curves, axis=0).T
    return float((1.3 * precision * recall / np.maximum(1e-9, 0.3 * precision + recall)).max())


def photos(options: Any) -> None:
    methods: dict[str, Callable[[Image], Any]] = {
        "GrabCut": classical.photo_by_grabcut,
        "network": foreground.photo_foreground,
    }
    rows = []
    for name, samples in load_masks(options.masks, held=True).items():
        for method, segment in methods.items():
            start = time.perf_counter()
            values = [measures(segment(picture).mask, mask > 127) for picture, mask in samples]
            seconds = (time.perf_counter() - start) / len(samples)
            mean = np.mean(values, axis=0)
            soft: dict[str, float] = {}
            if method == "network":
                looks = [(foreground.photo_likelihood(picture)[0], mask > 127) for picture, mask in samples]
                soft = {
                    "max F": max_f([curve(a, b) for a, b in looks]),
                    "MAE soft": float(np.mean([np.abs(np.clip(a, 0, 1) - b).mean() for a, b in looks])),
                }
            rows.append(
                {
                    "set": name,
                    "pictures": len(samples),
                    "method": method,
                    "IoU": mean[0],
                    "F": mean[1],
                    "MAE": mean[2],
                    "s": seconds,
                    "max F": soft.get("max F"),
                    "MAE soft": soft.get("MAE soft"),
                }
            )
    show("photos, held out", rows, options.out)


METHODS: dict[str, Callable[[Field, float], Any]] = {
    "gap closing": classical.sketch_by_closing,
    "network": foreground.sketch_foreground,
}


Draw = Callable[[Mask, Image, np.random.Generator, float], tuple[Any, Any]]


def by_hand(figure: Mask, shown: Image, rng: np.random.Generator, share: float) -> tuple[Any, Any]:
    """As the training's drawings: an unsteady hand, strokes that hardly meet, inner edges, now and then a stray."""
    return drawings.outline_drawing(figure, shown, rng, open_share=share)


def clean(figure: Mask, _: Image, rng: np.random.Generator, share: float) -> tuple[Any, Any]:
    """The bare outline in a steady line of 3 px, `share` of it left out in one to five gaps; ink and the figure."""
    ink = np.zeros(figure.shape, np.uint8)
    outlines, _ = cv2.findContours(figure.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for outline in outlines:
        count = len(outline)
        keep = np.ones(count, bool)
        gaps = int(rng.integers(1, 6))
        for start in rng.integers(count, size=gaps if share else 0):
            keep[np.arange(start, start + int(count * share / gaps)) % count] = False
        for here in np.flatnonzero(keep & np.roll(keep, -1)):
            cv2.line(ink, outline[here, 0].tolist(), outline[(here + 1) % count, 0].tolist(), 255, 3, cv2.LINE_AA)
    return ink.astype(np.float32) / 255, figure


def open_outlines(options: Any, name: str, draw: Draw) -> None:
    samples = [s for part in load_masks(options.masks, held=True).values() for s in part]
    rows = []
    for share in (0.0, 0.05, 0.1, 0.2, 0.3):
        found: dict[str, list[float]] = {name: [] for name in METHODS}
        rng = np.random.default_rng(7)
        for picture, mask in samples[:120]:
            moved, shown = drawings.place(mask, picture, SIDE, rng)
            figure = drawings.simplify(moved, rng)
            if not 0.02 < figure.mean() < 0.9:
                continue
            ink, enclosed = draw(figure, shown, rng, share)
            for method, segment in METHODS.items():
                found[method].append(measures(segment(ink.astype(np.float32), 3.0).mask, enclosed > 0)[0])
        rows.append({"outline left out": share, **{name: float(np.mean(v)) for name, v in found.items()}})
    show(f"sketches: {name}, IoU", rows, options.out)


def openmoji(options: Any) -> None:
    found: dict[str, list[float]] = {name: [] for name in METHODS}
    names = sorted((options.lineart / "line").glob("*.png"))[:: options.every]
    for path in names:
        color = read_image(options.lineart / "color" / path.name)
        try:
            drawing = find_lines(read_image(path, drawing=True))
        except ImageError:  # a blank picture
            continue
        # Our border runs along the middle of the line, the painted silhouette's along its outer edge.
        half = 2 * max(1, round(drawing.width / 2)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (half, half))
        truth = cv2.erode(silhouette(color).astype(np.uint8), disc) > 0
        if not truth.any():
            continue
        for name, segment in METHODS.items():
            found[name].append(measures(segment(drawing.ink, drawing.width).mask, truth)[0])
    rows = [
        {
            "method": name,
            "drawings": len(v),
            "mean IoU": float(np.mean(v)),
            "median IoU": float(np.median(v)),
            "below 0.8": float(np.mean(np.array(v) < 0.8)),
        }
        for name, v in found.items()
    ]
    show("sketches: OpenMoji lines against their silhouette, to the middle of the line", rows, options.out)


def silhouette(color: Image) -> NDArray[np.bool_]:
    """All that is painted, holes filled."""
    painted = (color.min(axis=2) < 245).astype(np.uint8)
    outlines, _ = cv2.findContours(painted, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(painted), outlines, -1, 1, cv2.FILLED) > 0)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--masks", type=Path, help="folder with ecssd, weizmann, ccp")
    made.add_argument("--lineart", type=Path, help="OpenMoji: folder with line and color")
    made.add_argument("--sketches", action="store_true", help="leave the photos out")
    made.add_argument("--every", type=int, default=3, help="every n-th OpenMoji drawing")
    options = made.parse_args()
    if options.masks and not options.sketches:
        photos(options)
    if options.masks:
        open_outlines(options, "bare outlines", clean)
        open_outlines(options, "outlines by hand", by_hand)
    if options.lineart:
        openmoji(options)


if __name__ == "__main__":
    main()
