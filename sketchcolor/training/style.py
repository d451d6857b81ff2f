"""How `models/style.safetensors` was made: `python -m sketchcolor.training.style --photos DIR... --teacher FILE`.

Two phases.

1. *Features.* The compact encoder learns to predict the teacher's feature maps through 1x1 projections (relative
   squared error at each layer), on clean crops and on crops as they look in the middle of an optimisation: noisy,
   blurred, warped, recoloured.
2. *Gradients.* Style transfer never looks at features, it follows the gradient of a style loss with respect to
   pixels. So the angle between the encoder's gradient and the teacher's (smoothed, since the teacher's stride of
   two in its first layer leaves a checkerboard) is made small, with phase 1's loss kept as an anchor.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sketchcolor.style.compact import MEAN, STD, CompactEncoder
from sketchcolor.training import common

# Teacher layer -> (stride, centre in pixels of its first value) with 3 px of padding before the first convolution,
# and the encoder's layer that predicts it.
TEACHER_LAYERS: dict[str, tuple[int, float, str]] = {
    "features.1": (2, 0.0, "relu2_2"),
    "features.3": (4, 2.0, "relu3_1"),
    "features.4": (4, 2.0, "relu3_2"),
    "features.5": (4, 2.0, "relu3_2"),
    "features.7": (8, 6.0, "relu4_2"),
    "features.9": (8, 6.0, "relu4_3"),
    "features.10": (8, 6.0, "relu4_3"),
    "features.12": (16, 14.0, "relu5_2"),
}
STYLE_TEACHER = ("features.1", "features.4", "features.5", "features.7", "features.10", "features.12")
STYLE_COMPACT = ("relu1_2", "relu2_2", "relu3_2", "relu4_3", "relu5_2")


class Teacher(nn.Module):
    """SqueezeNet v1.0 (Iandola et al. 2016) up to its last fire module, frozen."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from safetensors.torch import load_file
        from torchvision.models import squeezenet1_0

        network = squeezenet1_0()
        network.load_state_dict({k: v.float() for k, v in load_file(str(weights)).items()})
        self.features = network.features[:13]
        for module in self.features.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = False
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, layers: Any) -> dict[str, Tensor]:
        x = F.pad((image - self.mean) / self.std, (3, 3, 3, 3), mode="reflect")
        found = {}
        for number, module in enumerate(self.features):
            x = module(x)
            if (name := f"features.{number}") in layers:
                found[name] = x
        return found


def resample(features: Tensor, centre: float, stride: int, size: tuple[int, int]) -> Tensor:
    """Teacher values at the encoder's pixel centres (their grids are shifted by a fraction of a stride)."""
    shift = ((stride - 1) / 2 - centre) / stride
    height, width = features.shape[-2:]
    ys = torch.arange(size[0], dtype=torch.float32, device=features.device) + shift
    xs = torch.arange(size[1], dtype=torch.float32, device=features.device) + shift
    grid = torch.stack(
        torch.broadcast_tensors(2 * xs[None, :] / (width - 1) - 1, 2 * ys[:, None] / (height - 1) - 1), -1
    )
    grid = grid[None].expand(len(features), -1, -1, -1)
    return F.grid_sample(features, grid, align_corners=True, padding_mode="border")


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


def feature_loss(
    network: CompactEncoder,
    projections: nn.ModuleDict,
    teacher: Teacher,
    image: Tensor,
    scale: Mapping[str, Tensor],
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mean over layers of the squared error relative to the layer's variance, and each layer's."""
    with torch.no_grad():
        targets = teacher(image, TEACHER_LAYERS)
    ours = network(image, sorted({entry[2] for entry in TEACHER_LAYERS.values()}))
    errors = {}
    for name, (stride, centre, source) in TEACHER_LAYERS.items():
        prediction = projections[name.replace(".", "_")](ours[source])
        target = resample(targets[name], centre, stride, (prediction.shape[-2], prediction.shape[-1]))
        errors[name] = F.mse_loss(prediction, target) / scale[name]
    return torch.stack(list(errors.values())).mean(), errors


def style_gradient(features: dict[str, Tensor], goals: dict[str, Tensor], image: Tensor, *, create: bool) -> Tensor:
    """Gradient with respect to `image` of the relative moment loss, for each picture of the batch."""
    total = image.new_zeros(())
    for name, f in features.items():
        for ours, goal in zip(batch_moments(f), batch_moments(goals[name]), strict=True):
            goal = goal.detach()
            total = total + ((ours - goal).flatten(1).square().sum(1) / goal.flatten(1).square().sum(1)).sum()
    (gradient,) = torch.autograd.grad(total, image, create_graph=create)
    return gradient


def batch_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, C) and covariance (B, C, C) of each picture of a batch."""
    flat = features.flatten(2)
    mean = flat.mean(-1)
    centred = flat - mean[..., None]
    return mean, centred @ centred.transpose(1, 2) / flat.shape[-1]


def gradient_loss(network: CompactEncoder, teacher: Teacher, image: Tensor, goal: Tensor) -> Tensor:
    """Mean over the batch of 1 - cos(encoder's style gradient, teacher's smoothed style gradient)."""
    x = image.detach().clone().requires_grad_(True)
    with torch.no_grad():
        wanted = teacher(goal, STYLE_TEACHER)
    truth = style_gradient(teacher(x, STYLE_TEACHER), wanted, x, create=False)
    kernel = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    weight = (kernel[:, None] * kernel[None, :]).expand(3, 1, 5, 5).contiguous()
    truth = F.conv2d(F.pad(truth, (2, 2, 2, 2), mode="reflect"), weight, groups=3).flatten(1)
    x = image.detach().clone().requires_grad_(True)
    with torch.no_grad():
        own_goal = network(goal, STYLE_COMPACT)
    ours = style_gradient(network(x, STYLE_COMPACT), own_goal, x, create=True).flatten(1)
    return 1 - F.cosine_similarity(ours, truth, dim=1).mean()


def layer_scales(teacher: Teacher, batches: list[Tensor]) -> dict[str, Tensor]:
    """Variance of each teacher layer over a sample of crops."""
    collected: dict[str, list[Tensor]] = {name: [] for name in TEACHER_LAYERS}
    with torch.no_grad():
        for batch in batches:
            for name, f in teacher(batch, TEACHER_LAYERS).items():
                collected[name].append(f.permute(1, 0, 2, 3).flatten(1))
    return {name: torch.cat(parts, 1).var(dim=1).mean() for name, parts in collected.items()}


def train(options: argparse.Namespace) -> None:
    common.seed_everything(options.seed)
    pictures = common.load_pictures(common.find_pictures(options.photos))
    teacher = Teacher(options.teacher)
    network = CompactEncoder(batch_norm=True).to(memory_format=torch.channels_last)
    channels = {f"relu{n}": c.out_channels for n, c in network.convs.items() if isinstance(c, nn.Conv2d)}
    sizes = {name: f.shape[1] for name, f in teacher(torch.rand(1, 3, 64, 64), TEACHER_LAYERS).items()}
    projections = nn.ModuleDict(
        {n.replace(".", "_"): nn.Conv2d(channels[entry[2]], sizes[n], 1) for n, entry in TEACHER_LAYERS.items()}
    )
    optimiser = torch.optim.AdamW(
        [*network.parameters(), *projections.parameters()], lr=options.rate, weight_decay=1e-4
    )
    parts = {"network": network, "projections": projections, "optimiser": optimiser}

    def batch(step: int, count: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((options.seed, step))
        crops, goals = [], []
        for _ in range(count):
            picture = pictures[rng.integers(len(pictures))]
            crop = common.random_crop(picture, options.side, rng)
            other = picture if rng.random() < 0.5 else pictures[rng.integers(len(pictures))]
            goals.append(common.random_crop(other, options.side, rng))
            crops.append(degrade(crop, rng) if rng.random() < 0.5 else crop)
        return common.to_tensor(crops), common.to_tensor(goals)

    scale = layer_scales(teacher, [batch(10**6 + i, 16)[0] for i in range(12)])
    total = options.feature_steps + options.gradient_steps
    run = common.Run(options.work, "style", total, parts)
    average: dict[str, float] = {}

    def make(step: int) -> tuple[Tensor, Tensor]:
        return batch(step, options.batch if step < options.feature_steps else options.batch // 2)

    network.train()
    for step, (image, goal) in common.prefetch(make, run.resume(), total):
        matching = step >= options.feature_steps
        if matching:
            network.eval()  # batch statistics stand still from here on
            rate = common.cosine_rate(step - options.feature_steps, options.gradient_steps, options.rate / 4)
        else:
            rate = common.cosine_rate(step, options.feature_steps, options.rate)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss, errors = feature_loss(network, projections, teacher, image, scale)
        values = {k.replace("features.", "t"): float(v) for k, v in errors.items()}
        if matching:
            angle = gradient_loss(network, teacher, image, goal)
            loss = loss + options.gradient_weight * angle
            values["angle"] = float(angle)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        for key, value in values.items():
            average[key] = 0.98 * average.get(key, value) + 0.02 * value
        run.report(step, average)
        if step + 1 == options.feature_steps:
            common.release(network.fold(), options.work / "style.features-only.safetensors", {"name": "compact"})
    options.out.mkdir(parents=True, exist_ok=True)
    common.release(network.fold(), options.out / "style.safetensors", {"name": "compact"})


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m sketchcolor.training.style", description=__doc__)
    made.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of pictures, read recursively")
    made.add_argument("--teacher", type=Path, required=True, help="SqueezeNet v1.0 weights (safetensors)")
    made.add_argument("--out", type=Path, default=Path("models"), help="where style.safetensors goes")
    made.add_argument("--work", type=Path, default=Path("training-style"), help="checkpoints, log and curve")
    made.add_argument("--feature-steps", type=int, default=5000)
    made.add_argument("--gradient-steps", type=int, default=0, help="second phase; see the card")
    made.add_argument("--gradient-weight", type=float, default=1.0)
    made.add_argument("--batch", type=int, default=24)
    made.add_argument("--side", type=int, default=96, help="crop size in pixels")
    made.add_argument("--rate", type=float, default=2e-3)
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    train(parser().parse_args())
