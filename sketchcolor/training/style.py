"""How `models/style.safetensors` was made: `python -m sketchcolor.training.style --photos DIR... --teacher FILE`.

The fire modules start as the teacher's own. Two phases, one loss, the relative squared error at each layer: all layers
from stride 4 on learn to give the teacher's feature maps, and the one at stride 2 to predict them through a 1x1
projection.

1. *Given pictures*: clean crops, and crops as they might look in the middle of an optimisation: noisy, blurred,
   warped, recoloured.
2. *Own pictures*: half of each batch are pictures that the encoder's own style transfer is working on. Pixels move to
   wherever the encoder is wrong about its teacher, so that is where it has to learn (the idea of DAgger, Ross et al.
   2011).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sketchcolor.style.compact import CompactEncoder
from sketchcolor.training import common
from sketchcolor.training.teacher import PROJECTED, SHARED, Teacher, graft, resample
from sketchcolor.weights import load_file as load_weights

DEEP_RATE = 0.3  # the grafted modules learn more slowly than the stem
STYLE_COMPACT = ("relu2_1", "relu3_3", "relu3_4", "relu4_1", "relu4_4", "relu5_1")


def degrade(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A crop as it looks in the middle of an optimisation."""
    x: NDArray[Any] = image.astype(np.float32)
    side = x.shape[0]
    if rng.random() < 0.5:  # warped, as an underpainting is
        flow = cv2.GaussianBlur(rng.normal(0, 1, (side, side, 2)).astype(np.float32), (0, 0), 6) * 60
        rows, columns = np.mgrid[0:side, 0:side].astype(np.float32)
        x = cv2.remap(x, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if rng.random() < 0.5:  # flat or blurred
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.7, 6)))
    if rng.random() < 0.5:  # other colours
        x = (x - 128) * rng.uniform(0.5, 1.3, 3) + 128 + rng.normal(0, 25, 3)
    if rng.random() < 0.7:  # noise of any coarseness
        cell = int(rng.choice([1, 1, 2, 4, 8]))
        noise = rng.normal(0, rng.uniform(2, 40), (-(-side // cell), -(-side // cell), 3)).astype(np.float32)
        x = x + cv2.resize(noise, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(x, 0, 255).astype(np.uint8))


def feature_errors(
    network: CompactEncoder,
    projections: nn.ModuleDict,
    teacher: Teacher,
    image: Tensor,
    scale: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Squared error of each picture (B,) at each layer, relative to the layer's variance."""
    with common.mixed_precision():
        with torch.no_grad():
            targets = teacher(image, {**PROJECTED, **SHARED})
        ours = network(image, sorted({*(entry[2] for entry in PROJECTED.values()), *SHARED.values()}))
        predicted = {n: projections[n.replace(".", "_")](ours[source]) for n, (_, _, source) in PROJECTED.items()}
    errors = {}
    for name, (stride, centre, _) in PROJECTED.items():
        prediction = predicted[name].float()
        target = resample(targets[name].float(), centre, stride, (prediction.shape[-2], prediction.shape[-1]))
        errors[name] = (prediction - target).square().mean((1, 2, 3)) / scale[name]
    for name, source in SHARED.items():
        errors[name] = (ours[source].float() - targets[name].float()).square().mean((1, 2, 3)) / scale[name]
    return errors


def batch_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, C) and covariance (B, C, C) of each picture of a batch."""
    flat = features.float().flatten(2)
    mean = flat.mean(-1)
    centred = flat - mean[..., None]
    return mean, centred @ centred.transpose(1, 2) / flat.shape[-1]


def style_distance(features: Mapping[str, Tensor], goals: Mapping[str, Tensor]) -> Tensor:
    """Sum over the batch of the relative distance of moments, mean over layers."""
    total = torch.zeros(())
    for name, f in features.items():
        for ours, goal in zip(batch_moments(f), batch_moments(goals[name]), strict=True):
            gap = (ours - goal).flatten(1).square().sum(1) / (goal.flatten(1).square().sum(1) + 1e-8)
            total = total + gap.sum() / len(features)
    return total


class OwnPictures:
    """Pictures on which the encoder's own style transfer is at work: (N, 3, S, S), each with a goal of its own."""

    RATE, BETA1, BETA2 = 0.03, 0.9, 0.99
    STEPS_A_TURN = 2
    RENEWED = 0.04  # share that starts anew each turn: a picture is worked on for 50 steps on average

    def __init__(self, fresh: Callable[[np.random.Generator], tuple[Tensor, Tensor]], count: int, seed: int) -> None:
        """`fresh` gives a start and a goal, (3, S, S) each."""
        self.fresh, self.rng = fresh, np.random.default_rng(seed)
        first = [fresh(self.rng) for _ in range(count)]
        self.image, self.goal = (torch.stack([pair[i] for pair in first]) for i in (0, 1))
        self.first, self.second = torch.zeros_like(self.image), torch.zeros_like(self.image)
        self.age = torch.zeros(count)
        self.smooth = torch.tensor(self.rng.choice([0.0, 0.2, 1.0], count), dtype=torch.float32)

    def turn(self, network: CompactEncoder, count: int) -> Tensor:
        """Move `count` of the pictures on and return them, (count, 3, S, S)."""
        chosen = torch.from_numpy(self.rng.permutation(len(self.image))[:count])
        for index in chosen[torch.from_numpy(self.rng.random(count) < self.RENEWED)].tolist():
            self.image[index], self.goal[index] = self.fresh(self.rng)
            self.first[index], self.second[index], self.age[index] = 0, 0, 0
        x = self.image[chosen].contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), common.mixed_precision():
            goals = network(self.goal[chosen].contiguous(memory_format=torch.channels_last), STYLE_COMPACT)
        for _ in range(self.STEPS_A_TURN):
            x.requires_grad_(True)
            rough = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3)) + (x[:, :, 1:] - x[:, :, :-1]).square().mean(
                (1, 2, 3)
            )
            with common.mixed_precision():
                features = network(x, STYLE_COMPACT)
            loss = style_distance(features, goals) + 3 * (self.smooth[chosen] * rough).sum()
            (gradient,) = torch.autograd.grad(loss, x)
            self.age[chosen] += 1
            age = self.age[chosen].view(-1, 1, 1, 1)
            self.first[chosen] = self.BETA1 * self.first[chosen] + (1 - self.BETA1) * gradient
            self.second[chosen] = self.BETA2 * self.second[chosen] + (1 - self.BETA2) * gradient.square()
            step = self.first[chosen] / (1 - self.BETA1**age)
            step = step / ((self.second[chosen] / (1 - self.BETA2**age)).sqrt() + 1e-8)
            x = (x.detach() - self.RATE * step).clamp(0, 1)
        self.image[chosen] = x
        return x.contiguous(memory_format=torch.channels_last)


def fit_projections(
    network: CompactEncoder, projections: nn.ModuleDict, teacher: Teacher, batches: Sequence[Tensor]
) -> None:
    """Least squares: the best projections of the encoder as it is."""
    for name, (stride, centre, source) in PROJECTED.items():
        left: Any = 0
        right: Any = 0
        with torch.no_grad():
            for image in batches:
                ours = network(image, [source])[source]
                wanted = resample(teacher(image, [name])[name], centre, stride, (ours.shape[-2], ours.shape[-1]))
                rows = F.pad(ours.permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0).double()
                left = left + rows.T @ rows
                right = right + rows.T @ wanted.permute(0, 2, 3, 1).flatten(0, 2).double()
            solved = torch.linalg.solve(left + 1e-3 * torch.eye(len(left), dtype=left.dtype), right).float()
            projection: Any = projections[name.replace(".", "_")]
            projection.weight.copy_(solved[:-1].T[..., None, None])
            projection.bias.copy_(solved[-1])


def layer_scales(teacher: Teacher, batches: list[Tensor]) -> dict[str, Tensor]:
    """Variance of each teacher layer over a sample of crops."""
    collected: dict[str, list[Tensor]] = {name: [] for name in (*PROJECTED, *SHARED)}
    with torch.no_grad():
        for batch in batches:
            for name, f in teacher(batch, collected).items():
                collected[name].append(f.permute(1, 0, 2, 3).flatten(1))
    return {name: torch.cat(parts, 1).var(dim=1).mean() for name, parts in collected.items()}


def train(options: argparse.Namespace) -> None:
    common.seed_everything(options.seed)
    pictures = common.load_pictures(common.find_pictures(options.photos))
    teacher = Teacher(options.teacher)
    # Going on from a released encoder, whose batch statistics are folded into its weights.
    network = CompactEncoder(batch_norm=options.start is None).to(memory_format=torch.channels_last)
    if options.start is not None:
        network.load_state_dict({k: v.float() for k, v in load_weights(options.start).items()})
    channels = {f"relu{n}": c.out_channels for n, c in network.convs.items() if isinstance(c, nn.Conv2d)}
    sizes = {name: f.shape[1] for name, f in teacher(torch.rand(1, 3, 64, 64), PROJECTED).items()}
    projections = nn.ModuleDict(
        {n.replace(".", "_"): nn.Conv2d(channels[entry[2]], sizes[n], 1) for n, entry in PROJECTED.items()}
    )
    if options.start is None:
        graft(network, teacher)
    deep = list(network.fires.parameters())  # in order: a checkpoint's state goes by it
    rest = [*network.convs.parameters(), *network.norms.parameters(), *projections.parameters()]
    optimiser = torch.optim.AdamW(
        [
            {"params": rest, "peak": options.rate},
            {"params": deep, "peak": options.rate * DEEP_RATE},
        ],
        weight_decay=1e-4,
    )
    parts = {"network": network, "projections": projections, "optimiser": optimiser}

    def one(rng: np.random.Generator) -> NDArray[np.uint8]:
        return common.random_crop(pictures[rng.integers(len(pictures))], options.side, rng)

    def batch(step: int, count: int) -> Tensor:
        rng = np.random.default_rng((options.seed, step))
        return common.to_tensor(
            [degrade(c, rng) if rng.random() < 0.5 else c for c in (one(rng) for _ in range(count))]
        )

    def fresh(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        goal = one(rng)  # half the starts are the goal itself, warped and blurred as an underpainting is
        start = degrade(goal if rng.random() < 0.5 else one(rng), rng)
        pair = common.to_tensor([start, goal])
        return pair[0], pair[1]

    sample = [batch(10**6 + i, 16) for i in range(12)]
    scale = layer_scales(teacher, sample)
    total = options.feature_steps + options.own_steps
    run = common.Run(options.work, "style", total, parts)
    if options.start is not None:
        fit_projections(network.eval(), projections, teacher, sample)
    begin = run.resume()
    own = OwnPictures(fresh, 4 * options.batch, options.seed + begin) if options.own_steps else None
    average: dict[str, float] = {}
    network.train()
    half = options.batch // 2
    sizes_of = [options.batch if step < options.feature_steps else options.batch - half for step in range(total)]
    for step, image in common.prefetch(lambda s: batch(s, sizes_of[s]), begin, total):
        working = step >= options.feature_steps
        first, length = (options.feature_steps, options.own_steps) if working else (0, options.feature_steps)
        for group in optimiser.param_groups:
            group["lr"] = common.cosine_rate(step - first, length, group["peak"] * (0.4 if working else 1.0))
        if working and own is not None:
            network.eval()  # batch statistics stand still from here on
            image = torch.cat([image, own.turn(network, half)])
        errors = feature_errors(network, projections, teacher, image, scale)
        loss = torch.stack([v.mean() for v in errors.values()]).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        values = {k.replace("features.", "t"): float(v[: sizes_of[step]].detach().mean()) for k, v in errors.items()}
        if working:
            values["own"] = float(torch.stack([v[sizes_of[step] :].detach().mean() for v in errors.values()]).mean())
        for key, value in values.items():
            average[key] = 0.98 * average.get(key, value) + 0.02 * value
        run.report(step, average)
    options.out.mkdir(parents=True, exist_ok=True)
    common.release(network.fold(), options.out / "style.safetensors", {"name": "compact"})


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m sketchcolor.training.style", description=__doc__)
    made.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of pictures, read recursively")
    made.add_argument("--teacher", type=Path, required=True, help="SqueezeNet v1.0 weights (safetensors)")
    made.add_argument("--out", type=Path, default=Path("models"), help="where style.safetensors goes")
    made.add_argument("--work", type=Path, default=Path("training-style"), help="checkpoints, log and curve")
    made.add_argument("--feature-steps", type=int, default=2600)
    made.add_argument("--own-steps", type=int, default=2700, help="second phase: on pictures of its own making")
    made.add_argument("--start", type=Path, help="go on from these released weights")
    made.add_argument("--batch", type=int, default=24)
    made.add_argument("--side", type=int, default=96, help="crop size in pixels")
    made.add_argument("--rate", type=float, default=4e-3)
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    train(parser().parse_args())
