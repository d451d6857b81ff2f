"""How well a backbone transfers style: `python -m benchmarks.style_quality --teacher FILE --deep-photo DIR`.

(a) photo pairs with colour-coded maps; (b) sketch and photo pairs, from their underpaintings. The same masked transfer
with each backbone; every result is judged by the teacher's regional style distance (mean and covariance at each
layer, relative to the target), by total variation in excess of the reference's, by colour leaking over region
borders, and by seconds. A contact sheet goes to --sheet.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.tables import parser, show
from sketchcolor import lines, read_image, regions, save_image
from sketchcolor.images import fit_size, resize
from sketchcolor.records import Image, Labels
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import Backbone, load_backbone
from sketchcolor.style.losses import style_loss
from sketchcolor.style.maps import labels_from_colors, region_masks
from sketchcolor.style.modes import by_region
from sketchcolor.style.pixels import to_image, to_tensor
from sketchcolor.style.statistics import index_regions, statistics


@dataclass(frozen=True)
class Case:
    """A start picture and its map, a style and its map, and the groups that belong together."""

    name: str
    start: Image
    start_map: Labels
    style: Image
    style_map: Labels
    pairs: list[tuple[list[int], list[int]]]


def sized(image: Image, side: int) -> Image:
    return np.asarray(resize(image, fit_size(image.shape[0], image.shape[1], side)), dtype=np.uint8)


def deep_photo_cases(root: Path, side: int, count: int) -> list[Case]:
    found = []
    for content_path in sorted(
        (root / "input").iterdir(), key=lambda p: int("".join(filter(str.isdigit, p.stem)) or 0)
    ):
        style_path = next((root / "style").glob(content_path.stem + ".*"))
        maps = [next((root / "segmentation" / kind).glob(content_path.stem + ".*")) for kind in ("input", "style")]
        content, style = sized(read_image(content_path), side), sized(read_image(style_path), side)
        colors = []
        for path, picture in zip(maps, (content, style), strict=True):
            size = (picture.shape[1], picture.shape[0])
            colors.append(cv2.resize(read_image(path), size, interpolation=cv2.INTER_NEAREST))
        ours, theirs = labels_from_colors(colors)
        shared = sorted(set(np.unique(ours)) & set(np.unique(theirs)))
        if shared:
            pairs = [([int(v)], [int(v)]) for v in shared]
            found.append(Case(content_path.stem, content, ours, style, theirs, pairs))
    return found[:count]


def sketchy_cases(root: Path, side: int, count: int) -> list[Case]:
    paths = sorted((root / "sketch").glob("*/*.png"))
    random.Random(0).shuffle(paths)
    found = []
    for path in paths[:count]:
        photo_path = root / "photo" / path.parent.name / (path.stem.rsplit("-", 1)[0] + ".jpg")
        page, photo = sized(read_image(path), side), sized(read_image(photo_path), side)
        drawing = lines.find_lines(page)
        mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
        reference_mask = regions.photo_foreground(photo).mask
        if not regions.believable(reference_mask):
            reference_mask = np.ones_like(reference_mask)
        placed = regions.align(mask, reference_mask, drawing.ink, photo)
        parts = regions.find_parts(page, drawing.ink, mask, photo, reference_mask, most=4)
        matches = regions.match(parts, placed, mask)
        under, _ = regions.underpaint(
            photo, reference_mask, mask, placed, parts.sketch_map, parts.reference_map, matches
        )
        labels = (np.where(m, 1, 2).astype(np.int32) for m in (mask, reference_mask))
        ours, theirs = labels
        pairs = [([v], [v]) for v in (1, 2) if (ours == v).any() and (theirs == v).any()]
        found.append(Case(f"{path.parent.name}-{path.stem}", under, ours, photo, theirs, pairs))
    return found


def distance(teacher: Backbone, case: Case, image: Image) -> float:
    """The teacher's regional style distance, mean over its layers and over regions by area."""
    ours = region_masks(case.start_map, [p[0] for p in case.pairs])
    theirs = region_masks(case.style_map, [p[1] for p in case.pairs])
    areas = ours.flatten(1).mean(1)
    weights = (areas / areas.sum()).tolist()
    total = 0.0
    with torch.no_grad():
        a, b = (teacher(to_tensor(p), teacher.style_layers) for p in (image, case.style))
        for layer in teacher.style_layers:
            left = statistics(a[layer], index_regions(ours, (a[layer].shape[-2], a[layer].shape[-1])))
            right = statistics(b[layer], index_regions(theirs, (b[layer].shape[-2], b[layer].shape[-1])))
            total += float(style_loss(left, right, weights)) / len(teacher.style_layers)
    return total


def roughness(image: Image, labels: Labels, groups: Sequence[Sequence[int]]) -> list[float]:
    """Mean absolute difference of neighbours inside each group, 0-255."""
    values = image.astype(np.float32)
    found = []
    for group in groups:
        inside = cv2.erode(np.isin(labels, list(group)).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        across = np.abs(np.diff(values, axis=1)).mean(2)[inside[:, 1:]]
        down = np.abs(np.diff(values, axis=0)).mean(2)[inside[1:]]
        found.append(float(across.mean() + down.mean()) / 2 if across.size and down.size else 0.0)
    return found


def excess(case: Case, image: Image) -> float:
    """Roughness above the reference's own, by region, mean (0 where the result is smoother)."""
    ours = roughness(image, case.start_map, [p[0] for p in case.pairs])
    theirs = roughness(case.style, case.style_map, [p[1] for p in case.pairs])
    return float(np.mean([max(0.0, a - b) for a, b in zip(ours, theirs, strict=True)]))


def leak(image: Image, regions_map: Labels, wanted: Sequence[int]) -> float:
    """Share of pixels near a region's border whose colour is nearer to a neighbour region's mean than to their own."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    labels = [label for label in wanted if (regions_map == label).any()]
    if len(labels) < 2:
        return 0.0
    means = np.stack([lab[regions_map == v].mean(0) for v in labels])
    wrong = asked = 0
    for i, label in enumerate(labels):
        own = regions_map == label
        near = own & (cv2.dilate((~own).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0)
        gaps = np.linalg.norm(lab[near][:, None] - means[None], axis=2)
        wrong += int((gaps.argmin(1) != i).sum())
        asked += int(near.sum())
    return wrong / max(1, asked)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--teacher", type=Path, required=True, help="SqueezeNet v1.0 weights, the judge")
    made.add_argument("--deep-photo", type=Path, help="folder with input, style, segmentation/{input,style}")
    made.add_argument("--sketchy", type=Path, help="folder with sketch/CLASS and photo/CLASS")
    made.add_argument("--weights", type=Path, nargs="*", default=[], help="other weights for the compact encoder")
    made.add_argument("--side", type=int, default=256)
    made.add_argument("--steps", type=int, default=100)
    made.add_argument("--tv-weight", type=float, default=StyleSettings.tv_weight, help="the same for all")
    made.add_argument("--precision", default=StyleSettings.precision, help="auto, float32 or bfloat16, for all")
    made.add_argument("--pairs", type=int, default=30, help="photo pairs")
    made.add_argument("--sketches", type=int, default=40)
    made.add_argument("--sheet", type=Path, help="contact sheet: start, style, one column for each backbone")
    options = made.parse_args()
    if options.sheet is not None and not options.sheet.suffix:
        made.error(f"--sheet {options.sheet}: say by a suffix what kind of picture, such as .png")
    borrowed: dict[str, Any] = {"weights": options.teacher, "pooling": "max"}
    teacher = load_backbone("squeezenet1_0", **borrowed)  # judges in float32
    how = options.precision
    networks: dict[str, Backbone] = {
        "filters": load_backbone("filters", precision=how),
        "compact": load_backbone("compact", precision=how),
        "teacher": load_backbone("squeezenet1_0", **borrowed, precision=how),
        **{p.stem: load_backbone("compact", weights=p, precision=how) for p in options.weights},
    }
    sets = []
    if options.deep_photo:
        sets.append(("photo pairs with maps", deep_photo_cases(options.deep_photo, options.side, options.pairs)))
    if options.sketchy:
        sets.append(("sketches from underpaintings", sketchy_cases(options.sketchy, options.side, options.sketches)))
    sheet: list[Any] = []
    for title, cases in sets:
        scores: dict[str, list[tuple[float, float, float, float, bool]]] = {}
        for number, case in enumerate(cases):
            before = distance(teacher, case, case.start)
            first = [int(ours[0]) for ours, _ in case.pairs]
            scores.setdefault("start", []).append(
                (before, excess(case, case.start), leak(case.start, case.start_map, first), 0.0, True)
            )
            tiles = [case.start, case.style]
            for name, backbone in networks.items():
                settings = StyleSettings(
                    size=options.side, steps=options.steps, scales=1, tv_weight=options.tv_weight, seed=0
                )
                began = time.perf_counter()
                outcome = by_region(
                    case.start,
                    case.style,
                    case.start_map,
                    case.style_map,
                    case.pairs,
                    backbone,
                    settings,
                    start=case.start,
                )
                took = time.perf_counter() - began
                image = to_image(outcome.image)
                after = distance(teacher, case, image)
                scores.setdefault(name, []).append(
                    (after, excess(case, image), leak(image, case.start_map, first), took, after <= before)
                )
                tiles.append(image)
            if number < 12:
                sheet.append(np.hstack([cv2.resize(t, (192, 192), interpolation=cv2.INTER_AREA) for t in tiles]))
        rows = []
        for name, values in scores.items():
            mean = np.mean(np.array(values, dtype=float), axis=0)
            start = float(np.mean([v[0] for v in scores["start"]]))
            rows.append(
                {
                    "backbone": name,
                    "distance": mean[0],
                    "of_start": mean[0] / start,
                    "excess_noise": mean[1],
                    "leak": mean[2],
                    "seconds": mean[3],
                    "never_above_start": bool(all(v[4] for v in values)),
                }
            )
        show(f"{title}: {len(cases)} cases, {options.steps} steps at {options.side} px", rows, options.out)
    if options.sheet and sheet:
        save_image(options.sheet, np.vstack(sheet))


if __name__ == "__main__":
    main()
