"""What style transfer makes small: the losses of a picture against its styles and its content, at one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import Backbone
from sketchcolor.style.losses import (
    anchor,
    box_penalty,
    content_loss,
    gatys_content_loss,
    gatys_style_loss,
    pull_to_mean,
    style_loss,
    total_variation,
)
from sketchcolor.style.pixels import resize_tensor
from sketchcolor.style.statistics import Statistics, index_regions, statistics

BOX_WEIGHT = 10.0


@dataclass(frozen=True)
class Style:
    """Where style comes from: picture (1, 3, H, W) in [0, 1] and soft masks (R, H, W), one for each region.

    An empty mask: this style has nothing for the region. `weight` counts against the other styles that have.
    """

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


@dataclass
class Goals:
    """What is aimed at, at one size."""

    # By layer: each style's statistics, and how much each of its regions counts.
    styles: dict[str, list[tuple[Statistics, list[float]]]]
    content: dict[str, Tensor] = field(default_factory=dict)


def find_goals(
    job: Job,
    backbone: Backbone,
    settings: StyleSettings,
    size: tuple[int, int],
    layers: tuple[tuple[str, ...], tuple[str, ...]],
) -> Goals:
    """Statistics of the styles and features of the content at the scale of `size`, computed once."""
    style_layers, content_layers = layers
    ratio = max(size) / max(job.start.shape[-2:])
    kind = "gram" if settings.formulation == "gatys" else settings.statistics
    goals = Goals({layer: [] for layer in style_layers})
    with torch.no_grad():
        for style in job.styles:
            height, width = (max(backbone.minimum_side, round(s * ratio)) for s in style.image.shape[-2:])
            features = backbone(resize_tensor(style.image, (height, width)), style_layers)
            for layer, f in features.items():
                region = index_regions(style.masks, (f.shape[-2], f.shape[-1]))
                goals.styles[layer].append((statistics(f, region, kind), []))
        for found in goals.styles.values():
            for number, weight in enumerate(job.region_weights):
                given = [s.weight * t.present[number] for s, (t, _) in zip(job.styles, found, strict=True)]
                for (_, weights), part in zip(found, given, strict=True):
                    weights.append(weight * part / (sum(given) or 1.0))
        if job.contents and settings.content_weight > 0:
            if len(job.contents) == 1:
                goals.content = backbone(resize_tensor(job.contents[0], size), content_layers)
            else:
                for picture, layer in zip(job.contents, content_layers, strict=False):
                    goals.content[layer] = backbone(resize_tensor(picture, size), (layer,))[layer]
    return goals


class Objective:
    """The loss of pixels at one size, term by term."""

    def __init__(
        self,
        job: Job,
        backbone: Backbone,
        settings: StyleSettings,
        goals: Goals,
        layers: tuple[tuple[str, ...], tuple[str, ...]],
        size: tuple[int, int],
    ) -> None:
        self.job, self.backbone, self.settings, self.goals = job, backbone, settings, goals
        self.style_layers = layers[0]
        keeps = settings.anchor_weight > 0 and len(job.contents) == 1
        self.held = resize_tensor(job.contents[0], size) if keeps else None
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
        gatys = s.formulation == "gatys"
        style = image.new_zeros(())
        for layer in self.style_layers:
            ours = statistics(features[layer], self.regions[layer], "gram" if gatys else s.statistics)
            for target, weights in self.goals.styles[layer]:
                style = style + (gatys_style_loss if gatys else style_loss)(ours, target, weights)
        terms = {"style": s.style_weight * style / len(self.style_layers)}
        if self.goals.content:
            pairs = [
                gatys_content_loss(features[k], goal) if gatys else content_loss(features[k], goal, self.trust[k])
                for k, goal in self.goals.content.items()
            ]
            terms["content"] = s.content_weight * torch.stack(pairs).mean()
        if s.tv_weight:
            terms["tv"] = s.tv_weight * total_variation(image)
        if s.pull_weight:
            terms["pull"] = s.pull_weight * pull_to_mean(image)
        if self.held is not None:
            terms["anchor"] = s.anchor_weight * anchor(image, self.held)
        terms["box"] = BOX_WEIGHT * box_penalty(image)
        return terms
