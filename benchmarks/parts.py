"""How much figure and parts change with the input: `python -m benchmarks.parts --masks DIR --lineart DIR`.

Each held-out photo and each drawing is changed a little (noise, brightness, JPEG, a percent of size); its figure and
its parts are compared with those of the unchanged picture: IoU of the figures, and the adapted Rand F-score of the
parts inside (1: the same partition).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.metrics import adapted_rand_error

from benchmarks.foreground import measures
from benchmarks.style_quality import deep_photo_cases
from benchmarks.tables import parser, show
from sketchcolor import read_image, regions
from sketchcolor.errors import ImageError
from sketchcolor.lines import find_lines
from sketchcolor.records import Image, Labels, Mask
from sketchcolor.regions.partition import photo_parts, sketch_parts
from sketchcolor.training.foreground import load_masks


def _jpeg(image: Image) -> Image:
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)


def _noise(image: Image) -> Image:
    noise = np.random.default_rng(0).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def _smaller(image: Image) -> Image:
    height, width = image.shape[:2]
    small = cv2.resize(image, (round(0.97 * width), round(0.97 * height)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "noise, sd 4": _noise,
    "5 % brighter": lambda image: np.clip(1.05 * image, 0, 255).astype(np.uint8),
    "JPEG, quality 75": _jpeg,
    "smaller by 3 % and back": _smaller,
}
Split = Callable[[Image], tuple[Mask, Labels]]


def of_photo(image: Image) -> tuple[Mask, Labels]:
    mask = regions.photo_foreground(image).mask
    return mask, photo_parts(image, mask)


def of_drawing(image: Image) -> tuple[Mask, Labels]:
    drawing = find_lines(image)
    mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
    return mask, sketch_parts(drawing.ink, mask)


def measure(name: str, pictures: list[Image], split: Split, out: Any) -> None:
    whole = [split(picture) for picture in pictures]
    rows = []
    for change, apply in CHANGES.items():
        overlap, same = [], []
        for picture, (mask, parts) in zip(pictures, whole, strict=True):
            other, others = split(apply(picture))
            overlap.append(measures(other, mask)[0])
            both = mask & other
            if both.any():
                same.append(1 - adapted_rand_error(parts[both], others[both])[0])
        rows.append({"change": change, "figure IoU": float(np.mean(overlap)), "parts, Rand F": float(np.mean(same))})
    show(f"{name}: {len(pictures)}, changed a little", rows, out)


def agreement(folder: Path, out: Any) -> None:
    """Of each content pixel, the share of its style part that has its own label in the maps made by hand."""
    found: dict[str, list[float]] = {"the whole style": [], "matched parts": []}
    for case in deep_photo_cases(folder, 320, 30):
        parts, matches = regions.find_photo_parts(case.start, case.style, most=4)
        whole = np.ones_like(parts.reference_map, bool)
        known = np.isin(case.start_map, case.style_map)
        for name in found:
            right = 0.0
            for pair in matches:
                theirs = whole if name == "the whole style" else parts.reference_map == pair.reference
                shares = np.bincount(case.style_map[theirs], minlength=int(case.start_map.max()) + 1) / theirs.sum()
                right += float(shares[case.start_map[(parts.sketch_map == pair.sketch) & known]].sum())
            found[name].append(right / known.sum())
    rows = [{"style taken from": name, "agreement": float(np.mean(values))} for name, values in found.items()]
    show(f"matched parts of {len(found['matched parts'])} pairs of photos against maps made by hand", rows, out)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--masks", type=Path, help="folder with ecssd, weizmann, ccp")
    made.add_argument("--lineart", type=Path, help="OpenMoji: folder with line")
    made.add_argument("--pairs", type=Path, help="photo pairs: folder with input, style, segmentation")
    made.add_argument("--count", type=int, default=30)
    options = made.parse_args()
    if options.masks:
        held = [s for part in load_masks(options.masks, held=True).values() for s in part]
        step = max(1, len(held) // options.count)
        measure("photos", [picture for picture, _ in held[::step]][: options.count], of_photo, options.out)
    if options.pairs:
        agreement(options.pairs, options.out)
    if options.lineart:
        drawings = []
        for path in sorted((options.lineart / "line").glob("*.png"))[7::25]:
            try:
                drawings.append(read_image(path, drawing=True))
                find_lines(drawings[-1])
            except ImageError:
                drawings.pop()
        measure("line drawings", drawings[: options.count], of_drawing, options.out)


if __name__ == "__main__":
    main()
