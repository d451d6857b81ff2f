"""How well a sketch finds its kind and its very photo: `python -m benchmarks.retrieval --root DIR`.

DIR holds sketch/CLASS and photo/CLASS; a drawing NAME-3.png shows photo/CLASS/NAME.jpg. The shipped network against
HOG on Canny edges, the frozen teacher (with --teacher) and chance, in the same run; --distractors adds other photos to
the gallery (they count as wrong); "asked twice, and spread" is what a library does, whose nearest pictures are added to
the question and spread their likeness; --robustness repeats that with mirrored, shifted, smaller, thicker and half
drawings; --rerank N shows, on N of the sketches, what choosing by fitness to colour does to the first place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import parser, show
from sketchcolor import ColorSettings, read_image, regions
from sketchcolor.choosing import choose
from sketchcolor.errors import ImageError
from sketchcolor.lines import find_lines, stroke_width
from sketchcolor.records import Field, Hit, Image
from sketchcolor.retrieval.embedding import Embedding, LineDescriptor, default_embedding, photo_page, sketch_page
from sketchcolor.retrieval.ranking import NEIGHBOURS, SPREAD_OVER, expand, spread

Vectors = NDArray[Any]


class FrozenTeacher:
    """Pooled features of an ImageNet SqueezeNet, the same for drawing and photo."""

    version, dimension = "teacher", 512

    def __init__(self, weights: Path) -> None:
        from sketchcolor.style.backbones import load_backbone

        self.backbone = load_backbone("squeezenet1_0", weights=weights, pooling="max")

    def _embed(self, pages: Sequence[Image]) -> Vectors:
        from sketchcolor.style.pixels import to_tensor

        found = [self.backbone(to_tensor(page), ("fire9",))["fire9"].mean(dim=(2, 3)) for page in pages]
        vectors = np.concatenate([v.numpy() for v in found])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))

    def photos(self, images: Sequence[Image]) -> Vectors:
        """As `Embedding.photos`."""
        return self._embed([photo_page(image, 192) for image in images])

    def sketch(self, ink: Field) -> Vectors:
        """As `Embedding.sketch`."""
        return self._embed([sketch_page(ink, 192), sketch_page(np.ascontiguousarray(ink[:, ::-1]), 192)])


def half(ink: Field) -> Field:
    """The left half of the drawing, as if the page ended there."""
    columns = np.flatnonzero(ink.sum(0))
    middle = (columns[0] + columns[-1]) // 2
    out = ink.copy()
    out[:, middle:] = 0
    return np.asarray(out)


def moved(scale: float, shift: float) -> Callable[[Field], Field]:
    """Scaled about the middle and shifted by a share of the page."""

    def change(ink: Field) -> Field:
        height, width = ink.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), 0, scale)
        matrix[:, 2] += shift * np.array([width, height])
        return np.asarray(cv2.warpAffine(ink, matrix, (width, height)))

    return change


CHANGES: dict[str, Callable[[Field], Field]] = {
    "mirrored": lambda ink: np.ascontiguousarray(ink[:, ::-1]),
    "smaller, shifted": moved(0.6, 0.12),
    "thicker strokes": lambda ink: np.asarray(cv2.dilate(ink, np.ones((4, 4), np.uint8))),
    "rough (noise, blur)": lambda ink: np.clip(
        cv2.GaussianBlur(ink, (0, 0), 1.2) * 1.6 + np.random.default_rng(0).normal(0, 0.06, ink.shape), 0, 1
    ).astype(np.float32),
    "half off the page": half,
}


def again(ink: Field) -> Field:
    """The ink of a page on which this ink was drawn: what is done to clean a drawing is done to it too."""
    page = np.clip(255 * (1 - ink) + 0.5, 0, 255).astype(np.uint8)
    return find_lines(np.repeat(page[..., None], 3, axis=2)).ink


def load(root: Path) -> tuple[list[tuple[str, str, Field]], list[tuple[str, str, Image]]]:
    """([(class, own photo's name, ink)], [(class, name, photo)])."""
    sketches = []
    for path in sorted((root / "sketch").glob("*/*")):
        sketches.append((path.parent.name, path.stem.rsplit("-", 1)[0], find_lines(read_image(path, drawing=True)).ink))
    photos = [(p.parent.name, p.stem, read_image(p)) for p in sorted((root / "photo").glob("*/*"))]
    return sketches, photos


def alike(queries: Vectors, gallery: Vectors) -> NDArray[Any]:
    """Likeness (Q, G) of queries (Q, V, D), the best of V views, and a gallery (G, D)."""
    return np.asarray(np.einsum("qvd,gd->qvg", queries, gallery).max(axis=1))


def scores(similarity: NDArray[Any], right: NDArray[Any], own: NDArray[Any]) -> dict[str, float]:
    """Means over queries. similarity: (Q, G); right: bool (Q, G); own: (Q,) index or -1."""
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(right, order, axis=1).astype(float)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)

    def average_precision(k: int) -> float:
        found = np.minimum(hits.sum(1), k)
        return float(((precision[:, :k] * hits[:, :k]).sum(1) / np.maximum(found, 1)).mean())

    place = np.where(own[:, None] == order, np.arange(order.shape[1])[None], order.shape[1]).min(1)
    asked = own >= 0
    return {
        "mAP@all": average_precision(hits.shape[1]),
        "mAP@200": average_precision(200),
        "P@1": float(hits[:, 0].mean()),
        "P@10": float(hits[:, :10].mean()),
        "instance@1": float((place[asked] < 1).mean()),
        "instance@10": float((place[asked] < 10).mean()),
    }


def helped(queries: Vectors, gallery: Vectors, *, spreading: bool = True) -> NDArray[Any]:
    """Likeness (Q, G) as a library sees it: asked twice, and spread among the nearest."""
    first = alike(queries, gallery)
    nearest = np.argsort(-first, axis=1, kind="stable")[:, :NEIGHBOURS]
    asked = np.stack([expand(q, s[n], gallery[n]) for q, s, n in zip(queries, first, nearest, strict=True)])
    found = alike(asked, gallery)
    for row in found if spreading else ():
        near = np.argsort(-row, kind="stable")[:SPREAD_OVER]
        reached = spread(row[near], gallery[near])
        row /= 2
        row[near] = reached
    return found


def reranked(
    sketches: Sequence[tuple[str, str, Field]], paths: Sequence[Path], similarity: NDArray[Any], count: int
) -> list[dict[str, Any]]:
    """First place before and after `choose`, over `count` sketches spread evenly: right class, own photo, terms."""
    settings = ColorSettings()
    rows = {"nearest": np.zeros(6), "chosen": np.zeros(6)}
    asked = np.linspace(0, len(sketches) - 1, min(count, len(sketches))).astype(int)
    for index in asked:
        kind, own, ink = sketches[index]
        best = np.argsort(-similarity[index], kind="stable")[: settings.candidates]
        hits = [Hit(str(paths[i]), float(similarity[index, i]), rank) for rank, i in enumerate(best, 1)]
        mask = regions.sketch_foreground(ink, stroke_width(ink)).mask
        ranked, _, _ = choose(hits, ink, mask, settings)
        for name, hit in (("nearest", hits[0]), ("chosen", ranked[0])):
            terms = next(h.terms for h in ranked if h.path == hit.path)
            values = [terms[k] for k in ("overlap", "edges", "colorful", "sharp")]
            rows[name] += [Path(hit.path).parent.name == kind, Path(hit.path).stem == own, *values]
    names = ("P@1", "instance@1", "overlap", "edges", "colorful", "sharp")
    return [{"order": k, **dict(zip(names, v / len(asked), strict=True))} for k, v in rows.items()]


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rerank", type=int, default=0, metavar="N", help="judge the choice on N sketches")
    made.add_argument("--root", type=Path, required=True)
    made.add_argument("--distractors", type=Path, nargs="*", default=[])
    made.add_argument("--teacher", type=Path)
    made.add_argument("--robustness", action="store_true")
    options = made.parse_args()
    sketches, photos = load(options.root)
    others: list[Image] = []
    for folder in options.distractors:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            try:
                others.append(read_image(path))
            except ImageError:
                continue
    classes = np.array([p[0] for p in photos] + [""] * len(others))
    right = np.array([s[0] for s in sketches])[:, None] == classes[None]
    names = {p[1]: i for i, p in enumerate(photos)}
    own = np.array([names.get(s[1], -1) for s in sketches])
    embeddings: dict[str, Embedding] = {"HOG on Canny": LineDescriptor(), "shipped network": default_embedding()}
    if options.teacher:
        embeddings["frozen teacher"] = FrozenTeacher(options.teacher)
    rows: list[dict[str, Any]] = []
    chance = float(right.mean())
    rows.append({"method": "chance", "mAP@all": chance, "mAP@200": chance, "P@1": chance, "P@10": chance,
                 "instance@1": 1 / len(classes), "instance@10": 10 / len(classes)})  # fmt: skip
    pictures = [p[2] for p in photos] + others
    for name, embedding in embeddings.items():
        gallery = np.concatenate([embedding.photos(pictures[i : i + 64]) for i in range(0, len(pictures), 64)])
        queries = np.stack([embedding.sketch(s[2]) for s in sketches])
        rows.append({"method": name, **scores(alike(queries, gallery), right, own)})
        if name != "shipped network":
            continue
        rows.append({"method": "  asked twice", **scores(helped(queries, gallery, spreading=False), right, own)})
        rows.append({"method": "  and spread", **scores(helped(queries, gallery), right, own)})
        if options.robustness:
            for change, apply in CHANGES.items():
                changed = np.stack([embedding.sketch(again(apply(s[2]))) for s in sketches])
                rows.append({"method": f"  {change}", **scores(helped(changed, gallery), right, own)})
    title = f"{len(sketches)} sketches, {len(photos)} photos, {len(others)} distractors"
    show(title, rows, options.out)
    if options.rerank:
        paths = sorted((options.root / "photo").glob("*/*"))
        embedding = default_embedding()
        gallery = np.concatenate(
            [embedding.photos([p[2] for p in photos[i : i + 64]]) for i in range(0, len(paths), 64)]
        )
        similarity = helped(np.stack([embedding.sketch(s[2]) for s in sketches]), gallery)
        show("choosing the reference", reranked(sketches, paths, similarity, options.rerank), options.out)


if __name__ == "__main__":
    main()
