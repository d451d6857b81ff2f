"""The modes of style transfer, each a preparation of one Job for the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from sketchcolor.records import Field, Image, Labels, Match, ProgressCallback
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import Backbone
from sketchcolor.style.checkpoint import Checkpoint
from sketchcolor.style.maps import region_masks
from sketchcolor.style.objective import Job, Style
from sketchcolor.style.pixels import to_tensor
from sketchcolor.style.transfer import Outcome, transfer

# A matched pair has statistics of its own only where both regions cover this share of their pictures; smaller
# ones are judged together with the rest of their side.
SMALLEST_OWN = 0.01
# ... and where this share of the sketch region lies on its partner once aligned. Less means the match is a guess, which
# may lend colour but must not rule the texture.
SUREST_OVERLAP = 0.5
# Weight of a region's style grows with the root of its area, so that small parts count, but do not rule.
AREA_POWER = 0.5


def whole(image: Image, device: str) -> Tensor:
    """One mask of ones (1, H, W) for a picture."""
    return torch.ones(1, *image.shape[:2], device=device)


def start_picture(content: Image, style: Image, settings: StyleSettings, device: str) -> Tensor:
    """Where the pixels begin, (1, 3, H, W): content, the style resized, or noise round mid grey, by the seed."""
    height, width = content.shape[:2]
    if settings.init == "noise":
        return noise_picture((height, width), settings.seed).to(device)
    if settings.init == "style":
        return to_tensor(cv2.resize(style, (width, height), interpolation=cv2.INTER_AREA), device)
    return to_tensor(content, device)


def noise_picture(size: tuple[int, int], seed: int) -> Tensor:
    """White noise round mid grey, (1, 3, H, W) in [0, 1]."""
    noise = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(seed))
    return (0.5 + 0.15 * noise).clamp(0, 1)


def globally(
    content: Image,
    styles: Sequence[tuple[Image, float]],
    backbone: Backbone,
    settings: StyleSettings,
    *,
    device: str = "cpu",
    start: Image | None = None,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """One style for the whole picture (Gatys et al. 2016)."""
    job = Job(
        start=start_picture(content, styles[0][0], settings, device) if start is None else to_tensor(start, device),
        masks=whole(content, device),
        styles=[Style(to_tensor(s, device), whole(s, device), w) for s, w in styles],
        region_weights=[1.0],
        contents=[to_tensor(content, device)],
    )
    return transfer(job, backbone, settings, progress=progress, checkpoint=checkpoint)


def by_region(
    content: Image,
    style: Image,
    content_map: Labels,
    style_map: Labels,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    backbone: Backbone,
    settings: StyleSettings,
    *,
    device: str = "cpu",
    start: Image | None = None,
    trust: Field | None = None,
    progress: ProgressCallback | None = None,
) -> Outcome:
    """Each group of content labels takes the style of its group of style labels (Batchu et al. 2017, section 5).

    trust: float32 (H, W) in [0, 1], how much of the content is to be kept at each place.
    """
    source = Source(style, style_map, [p[1] for p in pairs])
    groups = [p[0] for p in pairs]
    return from_sources(
        content,
        content_map,
        groups,
        [source],
        backbone,
        settings,
        device=device,
        start=start,
        trust=trust,
        progress=progress,
    )


@dataclass(frozen=True)
class Source:
    """A style picture, its label map, the labels that each content group takes from (none: nothing), its weight."""

    image: Image
    labels: Labels
    groups: Sequence[Sequence[int]]
    weight: float = 1.0


def from_sources(
    content: Image | None,
    content_map: Labels,
    groups: Sequence[Sequence[int]],
    sources: Sequence[Source],
    backbone: Backbone,
    settings: StyleSettings,
    *,
    device: str = "cpu",
    start: Image | None = None,
    trust: Field | None = None,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Each group of content labels takes the style that the sources have for it, by their weights.

    Without content there is no content loss, and `start` is needed: a picture from the map alone.
    """
    masks = region_masks(content_map, groups, device)
    areas = masks.flatten(1).mean(1)
    weights = (areas**AREA_POWER / (areas**AREA_POWER).sum()).tolist()
    if start is not None:
        begin = to_tensor(start, device)
    else:
        assert content is not None, "a start is needed where there is no content"
        begin = start_picture(content, sources[0].image, settings, device)
    job = Job(
        start=begin,
        masks=masks,
        styles=[Style(to_tensor(s.image, device), region_masks(s.labels, s.groups, device), s.weight) for s in sources],
        region_weights=weights,
        contents=[] if content is None else [to_tensor(content, device)],
        trust=None if trust is None else torch.from_numpy(np.ascontiguousarray(trust))[None, None].to(device),
    )
    return transfer(job, backbone, settings, progress=progress, checkpoint=checkpoint)


def pairs_from_matches(
    matches: Sequence[Match],
    content_map: Labels,
    style_map: Labels,
    foreground: Sequence[int],
    style_sides: Mapping[bool, Sequence[int]],
) -> list[tuple[list[int], list[int]]]:
    """Groups for `by_region` from matches: sure pairs large enough on both sides alone, the rest side with side.

    The rest of a side takes the style of the whole side of the reference. `foreground`: content labels that are
    foreground; any side is known by them.
    """
    content_areas = np.bincount(content_map.ravel(), minlength=2) / content_map.size
    style_areas = np.bincount(style_map.ravel(), minlength=2) / style_map.size
    groups: dict[int, list[int]] = {}
    rest: dict[bool, set[int]] = {True: set(), False: set()}
    for match in matches:
        if 1 - match.terms.get("overlap", 0.0) >= SUREST_OVERLAP:
            groups.setdefault(match.reference, []).append(match.sketch)
        else:
            rest[match.sketch in foreground].add(match.sketch)
    pairs: list[tuple[list[int], list[int]]] = []
    for reference, sketch in groups.items():
        if min(content_areas[sketch].sum(), style_areas[reference]) >= SMALLEST_OWN:
            pairs.append((sketch, [reference]))
        else:
            rest[sketch[0] in foreground].update(sketch)
    pairs += [(sorted(ours), list(style_sides[side])) for side, ours in rest.items() if ours]
    return pairs


def laplacian_levels(image: Image, levels: int) -> list[Image]:
    """Laplacian pyramid (Burt & Adelson 1983) of a picture, finest first, each level at full size round mid grey.

    The last level is what remains after the others: the blurred picture itself.
    """
    height, width = image.shape[:2]
    current = image.astype(np.float32)
    found = []
    for _ in range(levels - 1):
        if min(current.shape[:2]) < 4:
            break
        below = cv2.pyrDown(current)
        detail = current - cv2.pyrUp(below, dstsize=(current.shape[1], current.shape[0]))
        found.append(detail + 127.5)
        current = below
    found.append(current)
    return [
        np.clip(cv2.resize(level, (width, height), interpolation=cv2.INTER_LINEAR) + 0.5, 0, 255).astype(np.uint8)
        for level in found
    ]


def laplacian(
    content: Image,
    style: Image,
    backbone: Backbone,
    settings: StyleSettings,
    *,
    device: str = "cpu",
    start: Image | None = None,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> tuple[Outcome, Outcome]:
    """Laplacian mode (Batchu et al. 2017, section 7): (first pass, second pass).

    First pass: level k of the content's Laplacian pyramid is the content target at the k-th layer, finest level
    first, style by Gram matrices. Its picture is the style of an ordinary second pass over the content.
    """
    from dataclasses import replace

    layers = backbone.choose(settings.style_layers, backbone.style_layers)
    levels = laplacian_levels(content, len(layers))
    first_settings = replace(
        settings, statistics="gram", content_layers=",".join(layers[: len(levels)]), steps=settings.steps // 2
    )
    begin = start_picture(content, style, settings, device) if start is None else to_tensor(start, device)
    job = Job(
        start=begin,
        masks=whole(content, device),
        styles=[Style(to_tensor(style, device), whole(style, device))],
        region_weights=[1.0],
        contents=[to_tensor(level, device) for level in levels],
    )
    if checkpoint is not None and "first_pass" in checkpoint.kept:
        kept = checkpoint.kept["first_pass"].to(device)
        first = Outcome(kept, (), False)
    else:
        first = transfer(job, backbone, first_settings, progress=progress, checkpoint=checkpoint)
    if first.stopped:
        return first, first
    if checkpoint is not None:
        checkpoint.kept["first_pass"] = first.image
    second_job = Job(
        start=first.image,
        masks=whole(content, device),
        styles=[Style(first.image, whole(content, device))],
        region_weights=[1.0],
        contents=[to_tensor(content, device)],
    )
    second_settings = replace(settings, steps=settings.steps - first_settings.steps)
    return first, transfer(second_job, backbone, second_settings, progress=progress, checkpoint=checkpoint)
