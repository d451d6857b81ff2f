"""The loop of style transfer: pixels are moved until their regional statistics are the style's.

Coarse to fine: the picture is optimised at a small size first; what changed there is carried to the next size
on top of that size's own detail.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sketchcolor.devices import memory_habit
from sketchcolor.errors import SketchColorError
from sketchcolor.records import Progress, ProgressCallback
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import Backbone
from sketchcolor.style.checkpoint import Checkpoint, digest
from sketchcolor.style.memory import make_plan
from sketchcolor.style.objective import Job, Objective, find_goals
from sketchcolor.style.pixels import resize_tensor, to_image

# Share of the steps that the finest size gets; each coarser size gets the same share of the rest.
FINEST_SHARE = 0.4
# A loss this many times the best one is running away; in the first steps from a good start any rise is natural.
RUN_AWAY = 1e3
SETTLING = 5
SMALL = 1e-12


@dataclass(frozen=True)
class Outcome:
    """image: (1, 3, H, W) in [0, 1], the best of the finest size. losses: terms of every step.

    halvings: how often the loss ran away and the step was halved.
    """

    image: Tensor
    losses: tuple[Mapping[str, float], ...]
    stopped: bool
    halvings: int = 0


def transfer(
    job: Job,
    backbone: Backbone,
    settings: StyleSettings,
    *,
    progress: ProgressCallback | None = None,
    checkpoint: Checkpoint | None = None,
) -> Outcome:
    """Run the optimisation of `settings` and return the best picture found.

    The progress callback hears of every step; returning False stops, and the best so far is returned. With a
    checkpoint the run is saved now and then, and goes on from where it was, to the bit. Raises SketchColorError where
    the loss is not a number from the start.
    """
    style_layers = backbone.choose(settings.style_layers, backbone.style_layers)
    content_layers = backbone.choose(settings.content_layers, backbone.content_layers)
    sizes = _sizes(job.start.shape[-2:], settings.scales, backbone.minimum_side)
    plan = _split_steps(settings.steps, len(sizes))
    run = _Run(settings, progress, checkpoint, job)
    layers = (style_layers, content_layers)
    image = _coarse_to_fine(run, job, backbone, settings, layers, list(zip(sizes, plan, strict=True)))
    return Outcome(image, tuple(run.losses), run.stopped, run.halvings)


def _coarse_to_fine(
    run: _Run,
    job: Job,
    backbone: Backbone,
    settings: StyleSettings,
    layers: tuple[tuple[str, ...], tuple[str, ...]],
    plan: Sequence[tuple[tuple[int, int], int]],
) -> Tensor:
    """Optimise at each (size, steps) of the plan; what a coarser size changed is carried to the next."""
    image = job.start
    coarse: Tensor | None = None
    for scale, (size, steps) in enumerate(plan):
        if scale < run.scale:
            continue
        base = resize_tensor(job.start, size)
        # What the coarser size changed, on top of this size's own detail.
        image = (
            base if coarse is None else (base + resize_tensor(coarse - resize_tensor(base, coarse.shape[-2:]), size))
        )
        image = image.clamp(0, 1)
        if not run.stopped:
            needed = tuple(dict.fromkeys([*layers[0], *layers[1]]))
            way = make_plan(backbone, needed, size, settings.max_memory, job.start.device)
            if way.text and run.progress is not None:
                run.progress(Progress(way.text, 0, 1))
            with memory_habit(str(job.start.device), keep=not way.sparing):
                goals = find_goals(job, way.backbone, settings, size, layers, way.tile)
                loop = Objective(job, way.backbone, settings, goals, layers, size, way.tile)
                run.scale = scale
                image = run.at_size(loop, image, steps)
        coarse = image
    return image


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


class _Run:
    """What goes on through all sizes: the steps so far, and the state that a checkpoint keeps."""

    def __init__(
        self, settings: StyleSettings, progress: ProgressCallback | None, checkpoint: Checkpoint | None, job: Job
    ) -> None:
        self.settings, self.progress, self.checkpoint = settings, progress, checkpoint
        self.losses: list[Mapping[str, float]] = []
        self.stopped = False
        self.scale = self.halvings = 0
        self.name = ""
        self.resumed: dict[str, Any] | None = None
        if checkpoint is not None:
            pictures = [job.start, job.masks, *job.contents]
            for style in job.styles:
                pictures += [style.image, style.masks]
            self.name = digest(settings.as_dict(), pictures)
            self.resumed = checkpoint.load(self.name)
        if self.resumed is not None:
            self.scale, self.halvings = self.resumed["scale"], self.resumed["halvings"]
            self.losses = list(self.resumed["losses"])

    def at_size(self, loop: Objective, start: Tensor, steps: int) -> Tensor:
        """Optimise at one size from `start` and return the best picture met."""
        image = start.detach().clone(memory_format=torch.contiguous_format)
        best, best_loss, first = start, math.inf, 0
        state, self.resumed = self.resumed, None
        if state is not None:
            first, best_loss = state["index"], state["best_loss"]
            best = state["best"].to(start.device)
            image = state["image"].to(start.device).clone()
        image.requires_grad_(True)
        optimizer = self._optimizer(image)
        if state is not None:
            optimizer.load_state_dict(state["optimizer"])
        values: dict[str, float] = {}

        def closure() -> Tensor:
            optimizer.zero_grad(set_to_none=False)
            terms = loop.backward(image)
            values.clear()
            values.update({"total": sum(terms.values()), **terms})
            return torch.tensor(values["total"])

        def keep(index: int) -> None:
            if self.checkpoint is not None:
                self.checkpoint.save(
                    self.name,
                    {
                        "scale": self.scale,
                        "index": index,
                        "image": image,
                        "best": best,
                        "best_loss": best_loss,
                        "losses": self.losses,
                        "halvings": self.halvings,
                        "optimizer": optimizer.state_dict(),
                    },
                )

        for index in range(first, steps):
            before = image.detach().clone()
            optimizer.step(closure)  # type: ignore[arg-type]
            loss = values["total"]
            runs_away = index - first >= SETTLING and loss > RUN_AWAY * max(best_loss, SMALL)
            if runs_away or not math.isfinite(loss):
                if not self.losses:
                    raise SketchColorError("the loss is not a number; lower the weights or the rate")
                self.halvings += 1
                with torch.no_grad():
                    image.copy_(best)
                optimizer = self._optimizer(image)
                continue
            if loss < best_loss:
                best, best_loss = before, loss
            self.losses.append(dict(values))
            if self.progress is not None:
                done = len(self.losses)
                shown = to_image(image.detach()) if done % self.settings.show_every == 0 else None
                if self.progress(Progress("paint", done, self.settings.steps, loss, shown)) is False:
                    self.stopped = True
            for group in optimizer.param_groups:
                group["lr"] = self._rate(index, steps)
            if self.checkpoint is not None and (self.stopped or (index + 1) % self.checkpoint.every == 0):
                keep(index + 1)
            if self.stopped:
                return best.clamp(0, 1)
        if steps and loop.value(image.detach()) < best_loss:
            best = image.detach()
        return best.clamp(0, 1)

    def _rate(self, index: int, steps: int) -> float:
        """The last third of Adam's steps get smaller, so that noise of the step length settles."""
        halved = 0.5**self.halvings
        if self.settings.optimizer == "lbfgs":
            return halved
        done = (index + 1) / steps
        return self.settings.rate * halved * (1.0 if done < 0.66 else max(0.1, (1 - done) / 0.34))

    def _optimizer(self, image: Tensor) -> torch.optim.Optimizer:
        halved = 0.5**self.halvings
        if self.settings.optimizer == "lbfgs":
            return torch.optim.LBFGS([image], lr=halved, max_iter=1, history_size=10)
        return torch.optim.Adam([image], lr=self.settings.rate * halved, betas=(0.9, 0.99))
