"""`stylize`: style transfer between any pictures, without a sketch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sketchcolor import images, regions
from sketchcolor.devices import choose_device
from sketchcolor.errors import SettingsError
from sketchcolor.records import Image, Labels, Mask, ProgressCallback, Result
from sketchcolor.settings import STYLE_MODES, StyleSettings

if TYPE_CHECKING:
    from sketchcolor.style.modes import Source

# Most parts that a figure is split into where no maps are given.
FOUND_PARTS = 4
# Grain laid on the start of a doodle, 0-255: something for the textures to grow from.
DOODLE_GRAIN = 12.0


def stylize(
    content: Image | None,
    style: Image | Sequence[Image],
    *,
    mode: str = "global",
    content_map: Image | None = None,
    style_map: Image | Sequence[Image] | None = None,
    settings: StyleSettings = StyleSettings(),  # noqa: B008 - frozen
    progress: ProgressCallback | None = None,
    device: str = "auto",
    weights: Sequence[float] = (),
    start: Image | None = None,
    checkpoint: str | Path | None = None,
    resume: str | Path | None = None,
) -> Result:
    """Paint `content` in the style of `style`; both RGB uint8 (H, W, 3).

    mode: "global" (Gatys et al. 2016), "segmented" (part by part; colour-coded maps RGB uint8, or matched parts found
    here where none are given), "laplacian" (Batchu et al. 2017) or "doodle" (no content: a picture from the
    map alone; `content_map` is the target map). Several styles may be given, with `weights` that count against each
    other and, in the modes with maps, a map each: a part takes from those styles whose map has its colour. `start`:
    the picture that the pixels begin from, instead of `settings.init`. `checkpoint`: a file for the run's state,
    written now and then and when it is stopped; `resume`: such a file, to go on with from the same pictures and
    settings.

    The result has the content's aspect, its longer side `settings.size`; Result.losses holds the terms of every step. A
    part without partner takes the style of all style pictures whole, and a note says so. Raises ImageError and
    SettingsError.
    """
    from sketchcolor.style.backbones import load_backbone
    from sketchcolor.style.checkpoint import Checkpoint
    from sketchcolor.style.colors import grey, match_colors, with_colors_of
    from sketchcolor.style.modes import from_sources, globally, laplacian
    from sketchcolor.style.pixels import to_image

    began = time.perf_counter()
    styles = [style] if isinstance(style, np.ndarray) else list(style)
    style_maps = [style_map] if isinstance(style_map, np.ndarray) else list(style_map or [])
    _check(content, styles, mode, content_map, style_maps, weights)
    if start is not None:
        images.check_image(start, "start")
    place = choose_device(device)
    backbone = load_backbone(settings.backbone, device=place, pooling=settings.pooling, precision=settings.precision)
    base = content_map if content is None else content
    assert base is not None
    original = page = _to_side(base, settings.size, backbone.minimum_side)
    paints = [_to_side(s, settings.size, backbone.minimum_side) for s in styles]
    if content is not None and settings.colors == "match":
        paints = [match_colors(p, page) for p in paints]
    elif content is not None and settings.colors == "luminance":
        paints, page = [grey(p, like=page) for p in paints], grey(page)
    begin = None if start is None else np.asarray(images.resize(start, page.shape[:2]), dtype=np.uint8)
    shares = [float(w) for w in weights] or [1.0] * len(paints)
    keeper = Checkpoint(*(None if p is None else Path(p) for p in (checkpoint, resume)))
    watch: dict[str, Any] = {"device": place, "progress": progress, "checkpoint": keeper}
    notes: list[str] = []
    layers: Mapping[str, object] = {}
    if mode == "global":
        pairs = list(zip(paints, shares, strict=True))
        outcome = globally(page, pairs, backbone, settings, start=begin, **watch)
    elif mode == "laplacian":
        first, outcome = laplacian(page, paints[0], backbone, settings, start=begin, **watch)
        layers = {"first_pass": to_image(first.image)}
    else:
        if content_map is None and len(paints) == 1:
            ours, groups, sources = _found(page, paints[0], notes)
            theirs = [sources[0].labels]
        else:
            ours, theirs = _label_maps(page, paints, content_map, style_maps, notes)
            groups, sources = _sources(ours, paints, theirs, shares, notes)
        if content is None and begin is None:
            begin = _laid_out(ours, groups, sources, settings.seed)
        layers = {"content_map": ours, "style_map": theirs[0]}
        outcome = from_sources(
            None if content is None else page, ours, groups, sources, backbone, settings, start=begin, **watch
        )
    if outcome.halvings:
        notes.append(f"the loss ran away {outcome.halvings} times; the step was halved each time")
    image = to_image(outcome.image)
    if content is not None and settings.colors == "luminance":
        image = with_colors_of(image, original)
    return Result(
        image=image,
        reference=styles[0],
        losses=outcome.losses,
        seconds={"total": round(time.perf_counter() - began, 4)},
        settings=settings,
        layers=layers,
        stopped=outcome.stopped,
        notes=tuple(notes),
    )


def _check(
    content: Image | None,
    styles: Sequence[Image],
    mode: str,
    content_map: Image | None,
    style_maps: Sequence[Image],
    weights: Sequence[float],
) -> None:
    if mode not in STYLE_MODES:
        raise SettingsError(f"mode must be one of {', '.join(STYLE_MODES)}, not {mode!r}")
    if not styles:
        raise SettingsError("at least one style picture is needed")
    for picture, name in [(content, "content"), (content_map, "content map")]:
        if picture is not None:
            images.check_image(picture, name)
    for picture in styles:
        images.check_image(picture, "style")
    if weights and (len(weights) != len(styles) or min(weights) < 0 or not 0 < sum(weights) < float("inf")):
        raise SettingsError(f"{len(styles)} styles need {len(styles)} weights of at least 0, not all 0")
    if mode == "laplacian" and len(styles) > 1:
        raise SettingsError("laplacian mode takes one style")
    if mode == "doodle" and (content is not None or content_map is None or not style_maps):
        raise SettingsError("doodle mode takes no content, a target map and a style map")
    if mode != "doodle" and content is None:
        raise SettingsError("only doodle mode works without content")
    if mode in ("global", "laplacian") and (content_map is not None or style_maps):
        raise SettingsError("maps are for the modes segmented and doodle")
    if (content_map is None) != (not style_maps):
        raise SettingsError("give both maps, or neither to have figure and ground found")
    if style_maps and len(style_maps) != len(styles):
        raise SettingsError(f"{len(styles)} styles need {len(styles)} style maps, not {len(style_maps)}")


def _to_side(image: Image, side: int, smallest: int) -> Image:
    height, width = images.fit_size(image.shape[0], image.shape[1], side)
    return np.asarray(images.resize(image, (max(smallest, height), max(smallest, width))), dtype=np.uint8)


def _found(page: Image, paint: Image, notes: list[str]) -> tuple[Labels, list[list[int]], list[Source]]:
    """Content labels, their groups and what the style has for them, by the program's own parts and matching.

    Parts that find no sure partner are painted like the rest of their side: figure from figure, ground from ground.
    """
    from sketchcolor.style.modes import Source, pairs_from_matches

    parts, matches = regions.find_photo_parts(page, paint, most=FOUND_PARTS)
    foreground = [r.label for r in parts.sketch if r.foreground]
    everything = [r.label for r in parts.reference]
    sides = {s: [r.label for r in parts.reference if r.foreground is s] or everything for s in (True, False)}
    pairs = pairs_from_matches(matches, parts.sketch_map, parts.reference_map, foreground, sides)
    notes.append(f"no maps given: {len(pairs)} matched parts were found by the program")
    source = Source(paint, parts.reference_map, [theirs for _, theirs in pairs])
    return parts.sketch_map, [ours for ours, _ in pairs], [source]


def _label_maps(
    page: Image,
    paints: Sequence[Image],
    content_map: Image | None,
    style_maps: Sequence[Image],
    notes: list[str],
) -> tuple[Labels, list[Labels]]:
    """Labels of the content and of each style, in one numbering: from colour-coded maps, or from the figures found."""
    from sketchcolor.style.maps import labels_from_colors, unsure_pixels

    if content_map is None:
        found = [regions.photo_foreground(picture).mask for picture in (page, *paints)]
        ours, *theirs = (np.where(mask, 1, 2).astype(np.int32) for mask in found)
        notes.append("no maps given: figure and ground were found by the program")
        return ours, theirs
    sized = []
    for name, picture, target in zip(
        ["content map", *("style map" for _ in paints)], [content_map, *style_maps], [page, *paints], strict=True
    ):
        images.check_image(picture, name)
        sized.append(_nearest(picture, target.shape[:2]))
    labels = labels_from_colors(sized)
    for name, picture, label in zip(["content map", *("style map" for _ in paints)], sized, labels, strict=True):
        if unsure := unsure_pixels(picture, label):
            share = 100 * unsure / label.size
            notes.append(f"{name}: {unsure} pixels ({share:.1f} %) have no part's colour; the nearest part got them")
    return labels[0], labels[1:]


def _sources(
    ours: Labels, paints: Sequence[Image], theirs: Sequence[Labels], shares: Sequence[float], notes: list[str]
) -> tuple[list[list[int]], list[Source]]:
    """Content labels, each a group of its own, and what each style has for them; a part without partner takes all."""
    from sketchcolor.style.modes import Source

    parts = sorted(int(v) for v in np.unique(ours))
    known = [{int(v) for v in np.unique(labels)} for labels in theirs]
    weighted = [k for k, share in zip(known, shares, strict=True) if share > 0]
    alone = {part for part in parts if not any(part in k for k in weighted)}
    for part in sorted(alone):
        share = 100 * float((ours == part).mean())
        notes.append(f"content part {part} ({share:.1f} %) has no partner: it takes the whole style picture")
    sources = []
    for paint, labels, own, weight in zip(paints, theirs, known, shares, strict=True):
        groups = [sorted(own) if part in alone else [part] if part in own else [] for part in parts]
        sources.append(Source(paint, labels, groups, weight))
    return [[part] for part in parts], sources


def _laid_out(ours: Labels, groups: Sequence[Sequence[int]], sources: Sequence[Source], seed: int) -> Image:
    """Where a doodle begins: each part of the style stretched over its part of the target, with grain on it."""
    import cv2

    from sketchcolor.regions.completion import push_pull

    page = np.full((*ours.shape, 3), 127.5, np.float32)
    for number, group in enumerate(groups):
        target = np.isin(ours, list(group))
        giving = [s for s in sources if s.groups[number] and s.weight > 0]
        if not giving:
            continue
        source = max(giving, key=lambda s: s.weight)
        known = np.isin(source.labels, list(source.groups[number]))
        filled = push_pull(source.image.astype(np.float32), known)
        (top, bottom, left, right), (a, b, c, d) = _box(target), _box(known)
        piece = cv2.resize(filled[a:b, c:d], (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        inside = target[top:bottom, left:right]
        page[top:bottom, left:right][inside] = piece[inside]
    page += np.random.default_rng(seed).normal(0, DOODLE_GRAIN, page.shape)
    return np.asarray(np.clip(page + 0.5, 0, 255).astype(np.uint8))


def _box(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _nearest(picture: Image, size: tuple[int, int]) -> Image:
    import cv2

    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
