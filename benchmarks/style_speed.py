"""How fast a step of style transfer is: `python -m benchmarks.style_speed`.

Ours against a plain loop written here: VGG-19 (random weights; the speed does not depend on them), eager float32, plain
memory order, Gatys' losses by autograd, gradients to the weights left on, as a first implementation would have it.
Both minimise the same loss from the same start, so that their curves can be compared. Then cost against pixels and
against the number of regions.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.tables import in_fresh_process, parser, plot, show
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import load_backbone
from sketchcolor.style.objective import Job, Style
from sketchcolor.style.transfer import transfer

STYLE = (0, 5, 10, 19, 28)  # conv1_1 ... conv5_1 in torchvision's VGG-19
CONTENT = 21
ALPHA, BETA = 1.0, 1e3


def pictures(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Content and style, smooth enough to be pictures, and the noise that both loops start from (Gatys et al. 2016)."""
    torch.manual_seed(0)
    found = []
    for _ in range(2):
        coarse = torch.rand(1, 3, side // 16, side // 16)
        found.append(nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1))
    return found[0], found[1], torch.rand(1, 3, side, side)


def plain_loop(side: int, steps: int) -> tuple[list[float], float]:
    """(losses, seconds a step) of the reference loop."""
    import torchvision

    torch.manual_seed(0)
    layers = list(torchvision.models.vgg19(weights=None).features.children())[: STYLE[-1] + 1]
    for number, layer in enumerate(layers):
        if isinstance(layer, nn.MaxPool2d):
            layers[number] = nn.AvgPool2d(2)
        elif isinstance(layer, nn.ReLU):
            layer.inplace = False
    mean = torch.tensor((0.485, 0.456, 0.406)).view(1, 3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(1, 3, 1, 1)

    def features(image: Tensor) -> dict[int, Tensor]:
        x, found = (image - mean) / std, {}
        for number, layer in enumerate(layers):
            x = layer(x)
            if number in (*STYLE, CONTENT):
                found[number] = x
        return found

    def gram(f: Tensor) -> Tensor:
        flat = f[0].flatten(1)
        return flat @ flat.T / flat.shape[1]

    content, style, noise = pictures(side)
    with torch.no_grad():
        wanted = {n: gram(f) for n, f in features(style).items() if n in STYLE}
        kept = features(content)[CONTENT]
    image = noise.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=0.03, betas=(0.9, 0.99))
    losses, times = [], []
    for _ in range(steps):
        began = time.perf_counter()
        optimizer.zero_grad()
        found = features(image)
        loss = 0.5 * ALPHA * (found[CONTENT] - kept).square().sum()
        for n in STYLE:
            loss = loss + BETA / len(STYLE) * (gram(found[n]) - wanted[n]).square().sum() / (4 * found[n].shape[1] ** 2)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - began)
    return losses, float(np.median(times))


def our_loop(
    side: int, steps: int, backbone: str = "vgg19", regions: int = 1, **more: Any
) -> tuple[list[float], float]:
    """(losses, seconds a step) of the program's own loop."""
    content, style, noise = pictures(side)
    rows = torch.arange(side) * regions // side
    masks = torch.stack([(rows == r).float()[:, None].expand(side, side) for r in range(regions)])
    plain = {"pull_weight": 0.0, "tv_weight": 0.0, "scales": 1, "statistics": "gram", "formulation": "gatys"}
    settings = StyleSettings(
        size=side, steps=steps, backbone=backbone, style_weight=BETA, content_weight=ALPHA, **{**plain, **more}
    )
    job = Job(noise, masks, [Style(style, masks)], [1.0 / regions] * regions, [content])
    times: list[float] = []
    torch.manual_seed(0)
    network = load_backbone(backbone, random=True, precision=settings.precision)
    outcome = transfer(job, network, settings, progress=lambda _: times.append(time.perf_counter()))
    return [e["total"] for e in outcome.losses], float(np.median(np.diff(times[-steps:])))


# What the memory rows run: the plain loop, ours as it comes, and ours with so many GiB beside the program.
MEMORY: dict[str, dict[str, Any]] = {"plain": {}, "ours": {}, "ours, --max-memory 1.3": {"max_memory": 1.3}}


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--side", type=int, default=512)
    made.add_argument("--steps", type=int, default=6)
    made.add_argument("--large", type=int, default=1024, help="side for the memory of a process of its own")
    made.add_argument("--only", choices=MEMORY, help="run one loop, for its memory")
    made.add_argument("--plots", type=Path, help="folder for the plots of cost against pixels and regions")
    options = made.parse_args()
    if options.only:
        loop = plain_loop if options.only == "plain" else our_loop
        _, seconds = loop(options.side, options.steps, **MEMORY[options.only])
        print("SECONDS", seconds)
        return
    rows = []
    plain, seconds = plain_loop(options.side, options.steps)
    rows.append({"loop": "plain, VGG-19", "s_per_step": seconds, "speed": 1.0, "curve_differs": 0.0})
    # The loop's last third of steps is shorter by design; up to there the curves must be one.
    shared = max(1, round(0.6 * options.steps))
    for precision in ("auto", "float32"):
        ours, own = our_loop(options.side, options.steps, precision=precision)
        gap = max(abs(a - b) / a for a, b in zip(plain[:shared], ours[:shared], strict=True))
        rows.append(
            {"loop": f"ours, VGG-19, {precision}", "s_per_step": own, "speed": seconds / own, "curve_differs": gap}
        )
    relative: dict[str, Any] = {"formulation": "relative", "statistics": "moments"}
    for name in ("compact", "squeezenet1_0"):
        _, each = our_loop(options.side, options.steps, name, **relative)
        rows.append({"loop": f"ours, {name}", "s_per_step": each, "speed": seconds / each})
    show(f"a step at {options.side} px", rows, options.out)
    rows = []
    for name in MEMORY:
        command = ["benchmarks.style_speed", "--only", name, "--side", str(options.large), "--steps", "2"]
        _, peak, said = in_fresh_process(command)
        rows.append({"loop": name, "peak_MiB": peak, "s_per_step": float(said.split("SECONDS")[1].split()[0])})
    show(f"memory of a process at {options.large} px, VGG-19", rows, options.out)
    rows = []
    for side in (128, 256, 512, 1024):
        _, each = our_loop(side, 4, "compact", **relative)
        rows.append({"megapixels": side**2 / 1e6, "s_per_step": each, "ns_per_pixel": 1e9 * each / side**2})
    show("compact: cost against pixels", rows, options.out)
    if options.plots:
        plot("compact: cost against pixels", rows, "megapixels", "s_per_step", options.plots / "pixels.png")
    rows = []
    for count in (1, 2, 4, 8, 16):
        _, each = our_loop(options.side, 4, "compact", regions=count, **relative)
        rows.append({"regions": count, "s_per_step": each})
    show("compact: cost against regions", rows, options.out)
    if options.plots:
        plot("compact: cost against regions", rows, "regions", "s_per_step", options.plots / "regions.png")


if __name__ == "__main__":
    main()
