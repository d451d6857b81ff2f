"""`stylize`: style transfer between any two pictures, without a sketch."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from sketchcolor import images, regions
from sketchcolor.devices import choose_device
from sketchcolor.errors import SettingsError
from sketchcolor.records import Image, Labels, ProgressCallback, Result
from sketchcolor.settings import StyleSettings

MODES = ("global", "segmented", "laplacian")


def stylize(
    content: Image,
    style: Image,
    *,
    mode: str = "global",
    content_map: Image | None = None,
    style_map: Image | None = None,
    settings: StyleSettings = StyleSettings(),  # noqa: B008 - frozen
    progress: ProgressCallback | None = None,
    device: str = "auto",
) -> Result:
    """Paint `content` in the style of `style`; both RGB uint8 (H, W, 3).

    mode: "global" (Gatys et al. 2016), "segmented" (part by part; colour-coded maps RGB uint8, or figure and ground
    found here where none are given) or "laplacian" (Batchu et al. 2017). The result has the content's aspect, its
    longer side `settings.size`; Result.losses holds the terms of every step. A part without partner takes the style
    of the whole style picture, and a note says so. Raises ImageError and SettingsError.
    """
    from sketchcolor.style.backbones import load_backbone
    from sketchcolor.style.modes import by_region, globally, laplacian
    from sketchcolor.style.transfer import to_image

    began = time.perf_counter()
    images.check_image(content, "content")
    images.check_image(style, "style")
    if mode not in MODES:
        raise SettingsError(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    if mode != "segmented" and (content_map is not None or style_map is not None):
        raise SettingsError("maps are for --mode segmented")
    place = choose_device(device)
    backbone = load_backbone(settings.backbone, device=place)
    small = _to_side(content, settings.size, backbone.minimum_side)
    paint = _to_side(style, settings.size, backbone.minimum_side)
    notes: list[str] = []
    layers: Mapping[str, object] = {}
    if mode == "global":
        outcome = globally(small, [(paint, 1.0)], backbone, settings, device=place, progress=progress)
    elif mode == "laplacian":
        first, outcome = laplacian(small, paint, backbone, settings, device=place, progress=progress)
        layers = {"first_pass": to_image(first.image)}
    else:
        ours, theirs, pairs = _maps(small, paint, content_map, style_map, notes)
        layers = {"content_map": ours, "style_map": theirs}
        outcome = by_region(small, paint, ours, theirs, pairs, backbone, settings, device=place, progress=progress)
    return Result(
        image=to_image(outcome.image),
        reference=style,
        losses=outcome.losses,
        seconds={"total": round(time.perf_counter() - began, 4)},
        settings=settings,
        layers=layers,
        stopped=outcome.stopped,
        notes=tuple(notes),
    )


def _to_side(image: Image, side: int, smallest: int) -> Image:
    height, width = images.fit_size(image.shape[0], image.shape[1], side)
    return np.asarray(images.resize(image, (max(smallest, height), max(smallest, width))), dtype=np.uint8)


def _maps(
    content: Image, style: Image, content_map: Image | None, style_map: Image | None, notes: list[str]
) -> tuple[Labels, Labels, list[tuple[list[int], list[int]]]]:
    """(content labels, style labels, groups to pair) from colour-coded maps, or from the figures found."""
    from sketchcolor.style.maps import labels_from_colors

    if (content_map is None) != (style_map is None):
        raise SettingsError("give both maps, or neither to have figure and ground found")
    if content_map is None or style_map is None:
        found = [regions.photo_foreground(picture).mask for picture in (content, style)]
        ours, theirs = (np.where(mask, 1, 2).astype(np.int32) for mask in found)
        notes.append("no maps given: figure and ground were found by the program")
    else:
        sized = []
        for picture, target in ((content_map, content), (style_map, style)):
            images.check_image(picture, "map")
            sized.append(_nearest(picture, target.shape[:2]))
        ours, theirs = labels_from_colors(sized)
    everything = sorted(int(v) for v in np.unique(theirs))
    pairs = []
    for label in sorted(int(v) for v in np.unique(ours)):
        if label in everything:
            pairs.append(([label], [label]))
        else:
            share = 100 * float((ours == label).mean())
            notes.append(f"content part {label} ({share:.1f} %) has no partner: it takes the whole style picture")
            pairs.append(([label], everything))
    return ours, theirs, pairs


def _nearest(picture: Image, size: tuple[int, int]) -> Image:
    import cv2

    return np.asarray(cv2.resize(picture, (size[1], size[0]), interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
