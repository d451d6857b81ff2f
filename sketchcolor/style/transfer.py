"""The loop of style transfer: pixels are moved until their regional statistics are the style's.

Coarse to fine: the picture is optimised at a small size first; what changed there is carried to the next size
on top of that size's own detail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.errors import SketchColorError
from sketchcolor.records import Image, Progress, ProgressCallback
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import Backbone
from sketchcolor.style.losses import anchor, box_penalty, content_loss, pull_to_mean, style_loss, total_variation
from sketchcolor.style.statistics import Statistics, index_regions, statistics

BOX_WEIGHT = 10.0
# Share of the steps that the finest size gets; each coarser size gets the same share of the rest.
FINEST_SHARE = 0.4
PREVIEW_EVERY = 20


@dataclass(frozen=True)
class Style:
    """Where style comes from: picture (1, 3, H, W) in [0, 1] and soft masks (R, H, W), one for each region."""

    image: Tensor
    masks: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Job:
    """All that a transfer needs.

    start: (1, 3, H, W) in [0, 1], where the pixels begin. masks: (R, H, W), the regions of the picture to be made;
    region r takes the style of region r of each style. region_weights: how much each region's style counts.
    contents: pictures (1, 3, H, W) whose features are to be kept: the n-th at the n-th content layer, a single one
    at all of them, none for no content loss. trust: (1, 1, H, W) in [0, 1], how much of the content is to be kept at
    each place; None: all alike.
    """

    start: Tensor
    masks: Tensor
    styles: Sequence[Style]
    region_weights: Sequence[float]
    contents: Sequence[Tensor] = ()
    trust: Tensor | None = None


@dataclass(frozen=True)
class Outcome:
    """image: (1, 3, H, W) in [0, 1], the best of the finest size. losses: terms of every step."""

    image: Tensor
    losses: tuple[Mapping[str, float], ...]
    stopped: bool


@dataclass
class _Goals:
    styles: list[tuple[float, dict[str, Statistics]]]
    content: dict[str, Tensor] = field(default_factory=dict)


def transfer(
    job: Job, backbone: Backbone, settings: StyleSettings, *, progress: ProgressCallback | None = None
) -> Outcome:
    """Run the optimisation of `settings` and return the best picture found.

    The progress callback hears of every step; returning False stops, and the best so far is returned. Raises
    SketchColorError where the loss is not a number from the start.
    """
    style_layers = backbone.choose(settings.style_layers, backbone.style_layers)
    content_layers = backbone.choose(settings.content_layers, backbone.content_layers)
    sizes = _sizes(job.start.shape[-2:], settings.scales, backbone.minimum_side)
    plan = _split_steps(settings.steps, len(sizes))
    losses: list[Mapping[str, float]] = []
    image = job.start
    coarse: Tensor | None = None
    stopped = False
    for size, steps in zip(sizes, plan, strict=True):
        base = _resize(job.start, size)
        # What the coarser size changed, on top of this size's own detail.
        image = base if coarse is None else (base + _resize(coarse - _resize(base, coarse.shape[-2:]), size))
        image = image.clamp(0, 1)
        if stopped:
            coarse = image
            continue
        goals = _goals(job, backbone, settings, size, (style_layers, content_layers))
        loop = _Loop(job, backbone, settings, goals, (style_layers, content_layers), size)
        image, stopped = loop.run(image, steps, losses, settings.steps, progress)
        coarse = image
    return Outcome(image, tuple(losses), stopped)


def _sizes(full: Sequence[int], scales: int, minimum: int) -> list[tuple[int, int]]:
    height, width = int(full[0]), int(full[1])
    sizes = [(height, width)]
    while len(sizes) < scales and min(sizes[0]) // 2 >= max(16, minimum):
        sizes.insert(0, (math.ceil(sizes[0][0] / 2), math.ceil(sizes[0][1] / 2)))
    return sizes


def _split_steps(steps: int, count: int) -> list[int]:
    plan: list[int] = []
    left = steps
    for index in range(count):
        own = left if index == count - 1 else round(left * FINEST_SHARE)
        plan.insert(0, own)
        left -= own
    return plan


def _resize(image: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)


def _goals(
    job: Job,
    backbone: Backbone,
    settings: StyleSettings,
    size: tuple[int, int],
    layers: tuple[tuple[str, ...], tuple[str, ...]],
) -> _Goals:
    """Statistics of the styles and features of the content at the scale of `size`, computed once."""
    style_layers, content_layers = layers
    ratio = max(size) / max(job.start.shape[-2:])
    goals = _Goals([])
    with torch.no_grad():
        for style in job.styles:
            height, width = (max(backbone.minimum_side, round(s * ratio)) for s in style.image.shape[-2:])
            features = backbone(_resize(style.image, (height, width)), style_layers)
            found = {}
            for layer, f in features.items():
                region = index_regions(style.masks, (f.shape[-2], f.shape[-1]))
                found[layer] = statistics(f, region, settings.statistics)
            goals.styles.append((style.weight, found))
        if job.contents and settings.content_weight > 0:
            if len(job.contents) == 1:
                goals.content = backbone(_resize(job.contents[0], size), content_layers)
            else:
                for picture, layer in zip(job.contents, content_layers, strict=False):
                    goals.content[layer] = backbone(_resize(picture, size), (layer,))[layer]
    return goals


class _Loop:
    """The optimisation at one size."""

    def __init__(
        self,
        job: Job,
        backbone: Backbone,
        settings: StyleSettings,
        goals: _Goals,
        layers: tuple[tuple[str, ...], tuple[str, ...]],
        size: tuple[int, int],
    ) -> None:
        self.job, self.backbone, self.settings, self.goals = job, backbone, settings, goals
        self.style_layers = layers[0]
        keeps = settings.anchor_weight > 0 and len(job.contents) == 1
        self.held = _resize(job.contents[0], size) if keeps else None
        wanted = [*self.style_layers, *goals.content]
        self.layers = tuple(dict.fromkeys(wanted))
        masks = job.masks
        with torch.no_grad():
            shapes = {
                k: (f.shape[-2], f.shape[-1])
                for k, f in backbone(job.start.new_zeros(1, 3, *size), self.layers).items()
            }
        self.trust: dict[str, Tensor | None] = {
            layer: None if job.trust is None else F.adaptive_avg_pool2d(job.trust, shapes[layer])
            for layer in goals.content
        }
        self.regions = {layer: index_regions(masks, shapes[layer]) for layer in self.style_layers}

    def terms(self, image: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the loss at `image`."""
        s = self.settings
        features = self.backbone(image, self.layers)
        style = image.new_zeros(())
        for layer in self.style_layers:
            ours = statistics(features[layer], self.regions[layer], s.statistics)
            for weight, targets in self.goals.styles:
                style = style + weight * style_loss(ours, targets[layer], self.job.region_weights)
        terms = {"style": s.style_weight * style / len(self.style_layers)}
        if self.goals.content:
            pairs = [content_loss(features[k], goal, self.trust[k]) for k, goal in self.goals.content.items()]
            terms["content"] = s.content_weight * torch.stack(pairs).mean()
        if s.tv_weight:
            terms["tv"] = s.tv_weight * total_variation(image)
        if s.pull_weight:
            terms["pull"] = s.pull_weight * pull_to_mean(image)
        if self.held is not None:
            terms["anchor"] = s.anchor_weight * anchor(image, self.held)
        terms["box"] = BOX_WEIGHT * box_penalty(image)
        return terms

    def run(
        self,
        start: Tensor,
        steps: int,
        losses: list[Mapping[str, float]],
        total_steps: int,
        progress: ProgressCallback | None,
    ) -> tuple[Tensor, bool]:
        """Optimise from `start`; appends to `losses`. Returns the best picture and whether it was stopped."""
        image = start.detach().clone(memory_format=torch.channels_last).requires_grad_(True)
        optimizer = self._optimizer(image)
        best, best_loss = start, math.inf
        values: dict[str, float] = {}

        def closure() -> Tensor:
            optimizer.zero_grad(set_to_none=False)
            terms = self.terms(image)
            total = torch.stack(list(terms.values())).sum()
            total.backward()
            values.clear()
            values.update({"total": float(total.detach()), **{k: float(v.detach()) for k, v in terms.items()}})
            return total

        for index in range(steps):
            before = image.detach().clone()
            optimizer.step(closure)  # type: ignore[arg-type]
            loss = values["total"]
            if not math.isfinite(loss):
                if not losses:
                    raise SketchColorError("the loss is not a number; lower the weights or the rate")
                with torch.no_grad():
                    image.copy_(best)
                optimizer = self._optimizer(image, shrink=0.5)
                continue
            if loss < best_loss:
                best, best_loss = before, loss
            losses.append(dict(values))
            if progress is not None:
                show = None
                if len(losses) % PREVIEW_EVERY == 0:
                    show = to_image(image.detach())
                if progress(Progress("paint", len(losses), total_steps, loss, show)) is False:
                    return best.clamp(0, 1), True
            if decay := self._decay(index, steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.settings.rate * decay
        if steps:
            with torch.no_grad():
                loss = float(torch.stack(list(self.terms(image.detach()).values())).sum())
            if loss < best_loss:
                best = image.detach()
        return best.clamp(0, 1), False

    def _decay(self, index: int, steps: int) -> float:
        """The last third of Adam's steps get smaller, so that noise of the step length settles."""
        if self.settings.optimizer != "adam":
            return 0.0
        done = (index + 1) / steps
        return 1.0 if done < 0.66 else max(0.1, (1 - done) / 0.34)

    def _optimizer(self, image: Tensor, shrink: float = 1.0) -> torch.optim.Optimizer:
        if self.settings.optimizer == "lbfgs":
            return torch.optim.LBFGS([image], lr=shrink, max_iter=1, history_size=10)
        return torch.optim.Adam([image], lr=self.settings.rate * shrink, betas=(0.9, 0.99))


def to_tensor(image: Image, device: str = "cpu") -> Tensor:
    """RGB uint8 (H, W, 3) -> float32 (1, 3, H, W) in [0, 1], channels last."""
    tensor = (
        torch.from_numpy(np.require(image, requirements=["C", "W"])).to(device).permute(2, 0, 1)[None].float() / 255
    )
    return tensor.contiguous(memory_format=torch.channels_last)


def to_image(tensor: Tensor) -> Image:
    """float (1, 3, H, W) in [0, 1] -> RGB uint8 (H, W, 3)."""
    scaled = (tensor[0].detach().float().clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(1, 2, 0).cpu().numpy())
