"""Neural style transfer: statistics of features, a loop that moves pixels, and the modes built on them."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from sketchcolor.images import fit_size, resize
from sketchcolor.records import Image, Labels, Match, ProgressCallback, Regions
from sketchcolor.settings import StyleSettings


def paint(
    under: Image,
    reference: Image,
    parts: Regions,
    matches: tuple[Match, ...],
    mode: str,
    settings: StyleSettings,
    side: int,
    device: str,
    progress: ProgressCallback | None = None,
) -> tuple[Image, tuple[dict[str, float], ...], bool]:
    """Paint the reference's texture over an underpainting: (painting of the same size, losses, stopped).

    mode: "segmented" (each part from its matched part), "global" or "laplacian". Pixels are optimised with the
    longer side at most `side`; above that, the underpainting's own fine detail is laid over the result.
    """
    from sketchcolor.style.backbones import load_backbone
    from sketchcolor.style.modes import by_region, globally, laplacian, pairs_from_matches
    from sketchcolor.style.transfer import to_image

    backbone = load_backbone(settings.backbone, device=device)
    size = fit_size(under.shape[0], under.shape[1], min(side, max(under.shape[:2])))
    small = np.asarray(resize(under, size), dtype=np.uint8)
    ratio = size[0] / under.shape[0]
    style_size = (max(1, round(reference.shape[0] * ratio)), max(1, round(reference.shape[1] * ratio)))
    style = np.asarray(resize(reference, style_size), dtype=np.uint8)
    if mode == "global":
        outcome = globally(small, [(style, 1.0)], backbone, settings, device=device, start=small, progress=progress)
    elif mode == "laplacian":
        _, outcome = laplacian(small, style, backbone, settings, device=device, start=small, progress=progress)
    else:
        sketch_map, reference_map = _labels(parts.sketch_map, size), _labels(parts.reference_map, style_size)
        foreground = [r.label for r in parts.sketch if r.foreground]
        pairs = pairs_from_matches(matches, sketch_map, reference_map, foreground)
        outcome = by_region(
            small,
            style,
            sketch_map,
            reference_map,
            pairs,
            backbone,
            settings,
            device=device,
            start=small,
            progress=progress,
        )
    losses = tuple(_plain(entry) for entry in outcome.losses)
    return _with_detail(to_image(outcome.image), small, under), losses, outcome.stopped


def _plain(entry: Mapping[str, float]) -> dict[str, float]:
    return dict(entry)


def _labels(labels: Labels, size: tuple[int, int]) -> Labels:
    small = cv2.resize(labels.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return small.astype(np.int32)


def _with_detail(painting: Image, small: Image, under: Image) -> Image:
    """A painting made at `small`'s size, brought to `under`'s with the detail that `small` lacks."""
    if painting.shape == under.shape:
        return painting
    size = (under.shape[1], under.shape[0])
    change = painting.astype(np.float32) - small.astype(np.float32)
    large = cv2.resize(change, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(under.astype(np.float32) + large + 0.5, 0, 255).astype(np.uint8)
