"""What style transfer makes small: the losses of a picture against its styles and its content, at one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.settings import StyleSettings
from sketchcolor.style import tiles
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
    tile: int | None = None,
) -> Goals:
    """Statistics of the styles and features of the content at the scale of `size`, computed once, in tiles if asked."""
    style_layers, content_layers = layers
    ratio = max(size) / max(job.start.shape[-2:])
    kind = "gram" if settings.formulation == "gatys" else settings.statistics
    goals = Goals({layer: [] for layer in style_layers})
    with torch.no_grad():
        for style in job.styles:
            height, width = (max(backbone.minimum_side, round(s * ratio)) for s in style.image.shape[-2:])
            picture = resize_tensor(style.image, (height, width))
            shapes = tiles.layer_shapes(backbone, style_layers, (height, width), picture)
            regions = {layer: index_regions(style.masks, shapes[layer]) for layer in style_layers}
            if tile:
                walk = tiles.TiledStatistics(backbone, (height, width), tile, regions, shapes)
                found_here = walk.statistics(walk.total(picture), kind)
            else:
                features = backbone(picture, style_layers)
                found_here = {layer: statistics(f, regions[layer], kind) for layer, f in features.items()}
            for layer, target in found_here.items():
                goals.styles[layer].append((target, []))
        for found in goals.styles.values():
            for number, weight in enumerate(job.region_weights):
                given = [s.weight * t.present[number] for s, (t, _) in zip(job.styles, found, strict=True)]
                for (_, weights), part in zip(found, given, strict=True):
                    weights.append(weight * part / (sum(given) or 1.0))
        if job.contents and settings.content_weight > 0:
            one = len(job.contents) == 1
            wanted = [(job.contents[0], content_layers)] if one else [
                (picture, (layer,)) for picture, layer in zip(job.contents, content_layers, strict=False)
            ]  # fmt: skip
            for picture, layers_here in wanted:
                goals.content.update(_whole_features(backbone, resize_tensor(picture, size), layers_here, tile))
    return goals


def _whole_features(backbone: Backbone, picture: Tensor, layers: Sequence[str], tile: int | None) -> dict[str, Tensor]:
    """Features of a picture, put together from tiles where there are any."""
    if not tile:
        return backbone(picture, layers)
    size = (picture.shape[-2], picture.shape[-1])
    shapes = tiles.layer_shapes(backbone, layers, size, picture)
    walk = tiles.TiledStatistics(backbone, size, tile, {}, shapes, layers)
    whole: dict[str, Tensor] = {}

    def gather(features: tiles.Placed) -> None:
        for layer, (f, rows, columns) in features.items():
            if layer not in whole:
                whole[layer] = f.new_empty(1, f.shape[1], *shapes[layer])
            whole[layer][..., rows, columns] = f

    walk.total(picture, gather)
    return whole


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
        tile: int | None = None,
    ) -> None:
        """With `tile`, features are only ever held for tiles of that side."""
        self.job, self.settings, self.goals = job, settings, goals
        self.backbone = backbone
        self.style_layers = layers[0]
        keeps = settings.anchor_weight > 0 and len(job.contents) == 1
        self.held = resize_tensor(job.contents[0], size) if keeps else None
        self.layers = tuple(dict.fromkeys([*self.style_layers, *goals.content]))
        shapes = tiles.layer_shapes(backbone, self.layers, size, job.start)
        self.trust: dict[str, Tensor | None] = {
            layer: None if job.trust is None else F.adaptive_avg_pool2d(job.trust, shapes[layer])
            for layer in goals.content
        }
        self.regions = {layer: index_regions(job.masks, shapes[layer]) for layer in self.style_layers}
        self.walk = tiles.TiledStatistics(backbone, size, tile, self.regions, shapes, self.layers) if tile else None

    def backward(self, image: Tensor) -> dict[str, float]:
        """Add the loss's gradient to `image.grad`; the values of its terms, weighted."""
        if self.walk is not None:
            return self._backward_in_tiles(image, self.walk)
        terms = self.terms(image)
        torch.stack(list(terms.values())).sum().backward()
        return {name: float(value.detach()) for name, value in terms.items()}

    def value(self, image: Tensor) -> float:
        """The loss alone."""
        with torch.no_grad():
            if self.walk is None:
                return sum(float(v) for v in self.terms(image).values())
            content = self._ContentSum(self)
            found = self.walk.statistics(self.walk.total(image, content.add), self.kind)
            terms = {"style": self._style(found), **self._pixel_terms(image)}
            return sum(float(v) for v in terms.values()) + content.value

    @property
    def kind(self) -> str:
        """Which statistics are matched."""
        return "gram" if self.settings.formulation == "gatys" else self.settings.statistics

    def terms(self, image: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the loss at `image`."""
        features = self.backbone(image, self.layers)
        found = {layer: statistics(features[layer], self.regions[layer], self.kind) for layer in self.style_layers}
        terms = {"style": self._style(found)}
        if self.goals.content:
            parts = [self._content(k, features[k], goal, self.trust[k]) for k, goal in self.goals.content.items()]
            terms["content"] = torch.stack(parts).sum()
        return {**terms, **self._pixel_terms(image)}

    def _style(self, found: Mapping[str, Statistics]) -> Tensor:
        total = next(iter(found.values())).second.new_zeros(())
        loss = gatys_style_loss if self.settings.formulation == "gatys" else style_loss
        for layer, ours in found.items():
            for target, weights in self.goals.styles[layer]:
                total = total + loss(ours, target, weights)
        return self.settings.style_weight * total / len(self.style_layers)

    def _content(self, layer: str, features: Tensor, goal: Tensor, trust: Tensor | None) -> Tensor:
        """One layer's share of the content term; of a tile, its share of that."""
        weight = self.settings.content_weight / len(self.goals.content)
        if self.settings.formulation == "gatys":
            return weight * gatys_content_loss(features, goal)
        whole = self.goals.content[layer]
        return weight * content_loss(features, goal, trust, whole) * (goal.numel() / whole.numel())

    def _pixel_terms(self, image: Tensor) -> dict[str, Tensor]:
        s = self.settings
        terms: dict[str, Tensor] = {}
        if s.tv_weight:
            terms["tv"] = s.tv_weight * total_variation(image)
        if s.pull_weight:
            terms["pull"] = s.pull_weight * pull_to_mean(image)
        if self.held is not None:
            terms["anchor"] = s.anchor_weight * anchor(image, self.held)
        terms["box"] = BOX_WEIGHT * box_penalty(image)
        return terms

    def _content_of_tile(self, features: tiles.Placed) -> Tensor | None:
        parts = []
        for layer, goal in self.goals.content.items():
            f, rows, columns = features[layer]
            trust = self.trust[layer]
            part = None if trust is None else trust[..., rows, columns]
            parts.append(self._content(layer, f, goal[..., rows, columns], part))
        return torch.stack(parts).sum() if parts else None

    class _ContentSum:
        """The content term, added up over tiles."""

        def __init__(self, objective: Objective) -> None:
            self.objective, self.value = objective, 0.0

        def add(self, features: tiles.Placed) -> None:
            part = self.objective._content_of_tile(features)
            self.value += 0.0 if part is None else float(part)

    def _backward_in_tiles(self, image: Tensor, walk: tiles.TiledStatistics) -> dict[str, float]:
        if image.grad is None:
            image.grad = torch.zeros_like(image)
        content = self._ContentSum(self)
        sums = walk.total(image.detach(), content.add)
        leaves = {layer: tuple(t.requires_grad_(True) for t in pair) for layer, pair in sums.items()}
        style = self._style(walk.statistics({k: (a, b) for k, (a, b) in leaves.items()}, self.kind))
        style.backward()
        for tile in walk.tiles:
            own = tiles.seen(image, tile)
            features = walk.features(own, tile)
            loss = own.new_zeros(())
            for layer, pair in walk.sums(features).items():
                for part, leaf in zip(pair, leaves[layer], strict=True):
                    if leaf.grad is not None:
                        loss = loss + (part * leaf.grad).sum()
            held = self._content_of_tile(features)
            (gradient,) = torch.autograd.grad(loss if held is None else loss + held, own)
            tiles.add_gradient(image, tile, gradient)
        rest = self._pixel_terms(image)
        torch.stack(list(rest.values())).sum().backward()
        values = {"style": float(style.detach())}
        if self.goals.content:
            values["content"] = content.value
        return {**values, **{name: float(value.detach()) for name, value in rest.items()}}
