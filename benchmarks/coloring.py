"""How well colours come to lie where they belong: `python -m benchmarks.coloring --lineart DIR [--sketchy DIR]`.

Twin test (OpenMoji: line/NAME and color/NAME show the same thing): the query is the line picture after a random
similarity (rotation +-15 degrees, scale 0.7-1.1, shift, mirrored half the time), the reference its coloured twin. Mean
CIEDE2000 inside the figure against the equally transformed coloured picture, share of pixels within 5, for preview and
final, and the share of pixels beside the outer line whose colour is that of its other side; baselines in the same run:
the reference's mean colour, and alignment by affine alone. With --library, how often the twin is found first. Sketchy:
drawings with their own photo; figures that need no truth, among them how well lines inside the figure fall on the
reference's edges (correlation), by outlines alone and with places inside brought together. --sheet shows both.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

from benchmarks.foreground import silhouette
from benchmarks.style_quality import leak
from benchmarks.tables import parser, show
from sketchcolor import Colorizer, ColorSettings, Library, read_image, save_image
from sketchcolor.plots import contact_sheet
from sketchcolor.records import Field, Image, Mask, Result
from sketchcolor.regions.alignment import align
from sketchcolor.regions.placement import place
from sketchcolor.regions.underpainting import sample

INKED = 0.3  # from this ink on, a pixel is on the line
SHOWN = 5  # pictures of a twin on the sheet


def similarity(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[Any]:
    """A random similarity about the middle of a picture, as a 2x3 matrix of OpenCV."""
    height, width = shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-15, 15), rng.uniform(0.7, 1.1))
    matrix[:, 2] += rng.uniform(-0.06, 0.06, 2) * np.array([width, height])
    if rng.random() < 0.5:
        matrix[0] = -matrix[0] + np.array([0, 0, width - 1])
    return np.asarray(matrix)


def move(image: Image, matrix: NDArray[Any]) -> Image:
    size = (image.shape[1], image.shape[0])
    return np.asarray(
        cv2.warpAffine(image, matrix, size, flags=cv2.INTER_AREA, borderValue=(255, 255, 255)), dtype=np.uint8
    )


def difference(ours: Image, truth: Image, inside: Mask) -> tuple[float, float]:
    """(mean CIEDE2000, share within 5) inside a mask."""
    gap = deltaE_ciede2000(rgb2lab(ours), rgb2lab(truth))[inside]
    return float(gap.mean()), float((gap < 5).mean())


def by_affine(result: Result) -> Image:
    """The reference laid on the sketch by the placement alone."""
    reference = result.layers["reference"]
    mask, truth = result.sketch_mask, result.reference_mask
    assert mask is not None and truth is not None and result.ink is not None
    ink = np.asarray(cv2.resize(result.ink, mask.shape[::-1], interpolation=cv2.INTER_AREA))
    matrix = place(mask, truth, ink, reference).matrix
    rows, columns = np.mgrid[0 : mask.shape[0], 0 : mask.shape[1]].astype(np.float32)
    places = np.stack([matrix[i, 0] * rows + matrix[i, 1] * columns + matrix[i, 2] for i in range(2)], axis=-1)
    return np.asarray(sample(reference, places.astype(np.float32)), dtype=np.uint8)


def twins(options: Any) -> None:
    names = sorted(p.name for p in (options.lineart / "line").glob("*.png"))
    random.Random(1).shuffle(names)
    rng = np.random.default_rng(2)
    colorizer = Colorizer(settings=ColorSettings(size=256, quality=options.quality, lines="off"))
    library = None
    scratch = tempfile.TemporaryDirectory()
    if options.library:
        Library.build(options.lineart / "color", scratch.name)
        library = Library.open(scratch.name)
    scores: dict[str, list[tuple[float, float, float]]] = {}
    found: list[float] = []
    sheet: list[tuple[str, Any]] = []
    for name in names[: options.count]:
        line, color = (read_image(options.lineart / kind / name) for kind in ("line", "color"))
        matrix = similarity(line.shape[:2], rng)
        query, truth = move(line, matrix), move(color, matrix)
        inside = silhouette(truth)
        if inside.mean() < 0.01:
            continue
        result = colorizer.color(query, color)
        # Lines belong to the picture: the truth has them, so ours get them for the comparison.
        ink = (result.ink if result.ink is not None else np.zeros(query.shape[:2]))[..., None]
        fill = np.full_like(truth, color[silhouette(color)].mean(0).astype(np.uint8))
        pictures = {
            "mean colour": fill,
            "affine alone": np.asarray(cv2.resize(by_affine(result), truth.shape[1::-1])),
            "preview": result.preview,
            "final": result.image,
            "the truth": truth,
        }
        sides = np.where(ink[..., 0] > INKED, -1, inside.astype(np.int32))
        for kind, picture in pictures.items():
            assert picture is not None
            lined = np.clip(picture * (1 - ink) + 0.5, 0, 255).astype(np.uint8)
            across = leak(np.asarray(picture), sides, (0, 1))
            scores.setdefault(kind, []).append((*difference(lined, truth, inside), across))
        if library is not None:
            found.append(float(Path(library.search(query, 1)[0].path).name == name))
        if len(sheet) < 24 * SHOWN:
            pictures = {"query": query, "reference": color, "truth": truth, "preview": result.preview}
            sheet += [*pictures.items(), ("final", result.image)]
    rows = [
        {
            "method": kind,
            "mean CIEDE2000": float(np.mean([v[0] for v in values])),
            "median": float(np.median([v[0] for v in values])),
            "within 5": float(np.mean([v[1] for v in values])),
            "leak across ink": float(np.mean([v[2] for v in values])),
        }
        for kind, values in scores.items()
    ]
    show(f"twin test: {len(scores['final'])} line pictures, twin given", rows, options.out)
    if found:
        show("twin found first", [{"share": float(np.mean(found)), "pictures": len(names)}], options.out)
    if options.sheet:
        save_image(options.sheet, contact_sheet(sheet, 2 * SHOWN, side=128))
    scratch.cleanup()


def lines_on_edges(figure: Field, reference: Image, ink: Field, mask: Mask) -> float:
    """Correlation of the lines inside a figure with the edges of the reference laid on it; NaN where there are none.

    figure: as `Alignment.figure`.
    """
    side = max(int(mask.any(axis=axis).sum()) for axis in (0, 1))
    inner = cv2.erode(mask.astype(np.uint8), np.ones((max(3, round(0.05 * side)),) * 2)) > 0
    if ink[inner].sum() < 40:
        return float("nan")
    laid = cv2.GaussianBlur(sample(reference, figure).astype(np.float32), (0, 0), 0.006 * side)
    edges = np.sqrt(sum(cv2.Sobel(laid, cv2.CV_32F, *d).__pow__(2).sum(axis=2) for d in ((1, 0), (0, 1))))
    edges = np.minimum(edges / max(float(np.percentile(edges[inner], 95)), 1e-3), 1)
    found = [cv2.GaussianBlur(field, (0, 0), 0.012 * side)[inner] for field in (ink, edges.astype(np.float32))]
    return float(np.corrcoef(*found)[0, 1])


def sketches(options: Any) -> None:
    paths = sorted((options.sketchy / "sketch").glob("*/*.png"))
    random.Random(0).shuffle(paths)
    colorizer = Colorizer(settings=ColorSettings(size=512, quality=options.quality))
    rows = []
    sheet: list[tuple[str, Any]] = []
    for path in paths[: options.count]:
        photo = options.sketchy / "photo" / path.parent.name / (path.stem.rsplit("-", 1)[0] + ".jpg")
        result = colorizer.color(path, photo)
        mask, placed, parts = result.sketch_mask, result.layers["alignment"], result.regions
        assert mask is not None and parts is not None and result.reference_mask is not None and result.ink is not None
        owned = sum(r.area for r in parts.sketch if r.foreground)
        under = result.layers["underpainting"]
        picture = result.layers["reference"]
        lined = np.asarray(cv2.resize(result.ink, mask.shape[::-1], interpolation=cv2.INTER_AREA))
        outlines = align(mask, result.reference_mask, lined, picture)
        rows.append(
            {
                "figure": float(mask.mean()),
                "lines, outlines": lines_on_edges(outlines.figure, picture, lined, mask),
                "lines on edges": lines_on_edges(placed.figure, picture, lined, mask),
                "uncovered": 1 - owned / max(1, int(mask.sum())),
                "overlap": placed.overlap,
                "folded": placed.folded,
                "leak": leak(under, mask.astype(np.int32), (0, 1)),
                "segment_match_align_s": sum(result.seconds[k] for k in ("figure", "segment", "align", "match")),
                "to_preview_s": result.seconds["to_preview"],
            }
        )
        reference = picture.copy()
        reference[~result.reference_mask] //= 3
        page = read_image(path, drawing=True).copy()
        page[cv2.resize(mask.astype(np.uint8), page.shape[1::-1]) == 0] //= 2
        pictures = (page, reference, result.preview, result.image)
        sheet += zip((path.parent.name, "reference", "preview", "result"), pictures, strict=True)
    if options.sheet:
        save_image(options.sheet.with_stem(options.sheet.stem + "-sketchy"), contact_sheet(sheet, 8, side=128))
    means = {key: float(np.nanmean([row[key] for row in rows])) for key in rows[0]}
    show(f"Sketchy: {len(rows)} drawings with their own photo, 512 px, means", [means], options.out)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--lineart", type=Path, help="OpenMoji: folder with line and color")
    made.add_argument("--sketchy", type=Path, help="folder with sketch/CLASS and photo/CLASS")
    made.add_argument("--count", type=int, default=40)
    made.add_argument("--quality", default="normal")
    made.add_argument("--library", action="store_true", help="also search the twin among all coloured pictures")
    made.add_argument("--sheet", type=Path, help="pictures side by side; of --sketchy beside it, as NAME-sketchy")
    options = made.parse_args()
    if options.lineart:
        twins(options)
    if options.sketchy:
        sketches(options)


if __name__ == "__main__":
    main()
