"""Neural style transfer: statistics of features, a loop that moves pixels, and the modes built on them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from sketchcolor.images import fit_size, resize
from sketchcolor.records import Field, Image, Labels, Match, ProgressCallback, Regions
from sketchcolor.settings import PAINTING_LEAST_TRUST, ColorSettings, painting_settings, painting_side

# Brightness changes so much from pixel to pixel (0-255, down and across together) where nothing is held back for it.
TEXTURED = 6.0
FIRMEST = 0.95


def paint(
    under: Image,
    trust: Field,
    reference: Image,
    parts: Regions,
    matches: tuple[Match, ...],
    settings: ColorSettings,
    device: str,
    progress: ProgressCallback | None = None,
) -> tuple[Image, tuple[dict[str, float], ...], bool]:
    """Paint the reference's texture over an underpainting: (painting of the same size, losses, stopped).

    trust: float32 (H, W) in [0, 1], where the underpainting shows the reference itself and should be kept.
    settings.mode: "segmented" (each part from its matched part), "global" or "laplacian". Pixels are optimised up to
    `painting_side`; above that, the underpainting's own fine detail is laid over the result.
    """
    from sketchcolor.style.backbones import load_backbone
    from sketchcolor.style.modes import by_region, globally, laplacian, pairs_from_matches
    from sketchcolor.style.pixels import to_image

    how = painting_settings(settings)
    mode = settings.mode
    backbone = load_backbone(how.backbone, device=device, precision=how.precision)
    size = fit_size(under.shape[0], under.shape[1], min(painting_side(settings), max(under.shape[:2])))
    small = np.asarray(resize(under, size), dtype=np.uint8)
    keep = np.asarray(PAINTING_LEAST_TRUST + (1 - PAINTING_LEAST_TRUST) * resize(trust, size), dtype=np.float32)
    ratio = size[0] / under.shape[0]
    style_size = (max(1, round(reference.shape[0] * ratio)), max(1, round(reference.shape[1] * ratio)))
    style = np.asarray(resize(reference, style_size), dtype=np.uint8)
    share = keep * settings.hold
    if mode == "global":
        outcome = globally(small, [(style, 1.0)], backbone, how, device=device, start=small, progress=progress)
    elif mode == "laplacian":
        _, outcome = laplacian(small, style, backbone, how, device=device, start=small, progress=progress)
    else:
        sketch_map, reference_map = _labels(parts.sketch_map, size), _labels(parts.reference_map, style_size)
        foreground = [r.label for r in parts.sketch if r.foreground]
        everything = [r.label for r in parts.reference]
        sides = {s: [r.label for r in parts.reference if r.foreground is s] or everything for s in (True, False)}
        pairs = pairs_from_matches(matches, sketch_map, reference_map, foreground, sides)
        share = _held_more_where_flat(share, style, sketch_map, reference_map, pairs)
        outcome = by_region(
            small,
            style,
            sketch_map,
            reference_map,
            pairs,
            backbone,
            how,
            device=device,
            start=small,
            trust=keep,
            progress=progress,
        )
    losses = tuple(dict(entry) for entry in outcome.losses)
    painting = _held(to_image(outcome.image), small, share)
    return _with_detail(painting, small, under), losses, outcome.stopped


def _held(painting: Image, under: Image, share: Field) -> Image:
    """Where the underpainting is the reference itself, that share of it stays."""
    mixed = under * share[..., None] + painting * (1 - share[..., None])
    return np.asarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))


def _held_more_where_flat(
    share: Field, style: Image, ours: Labels, theirs: Labels, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]
) -> Field:
    """The share that stays, up to all of it where the region's style has no texture that painting could bring."""
    luminance = cv2.cvtColor(style, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope = np.zeros_like(luminance)
    slope[:-1, :-1] = np.abs(np.diff(luminance, axis=0))[:, :-1] + np.abs(np.diff(luminance, axis=1))[:-1]
    held: Field = share.copy()
    for sketch, reference in pairs:
        inside = np.isin(theirs, list(reference))
        if inside.any():
            flat = FIRMEST * max(0.0, 1 - float(np.median(slope[inside])) / TEXTURED)
            here = np.isin(ours, list(sketch))
            held[here] = 1 - (1 - share[here]) * (1 - flat)
    return np.asarray(cv2.GaussianBlur(held, (0, 0), 2.0))


def _labels(labels: Labels, size: tuple[int, int]) -> Labels:
    small = cv2.resize(labels.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(small.astype(np.int32))


def _with_detail(painting: Image, small: Image, under: Image) -> Image:
    """A painting made at `small`'s size, brought to `under`'s with the detail that `small` lacks."""
    if painting.shape == under.shape:
        return painting
    size = (under.shape[1], under.shape[0])
    change = painting.astype(np.float32) - small.astype(np.float32)
    large = cv2.resize(change, size, interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(under.astype(np.float32) + large + 0.5, 0, 255).astype(np.uint8))
