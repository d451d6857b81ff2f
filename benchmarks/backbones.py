"""What a backbone costs: `python -m benchmarks.backbones`.

Forward and backward to the pixels at 512 x 512, random weights (speed does not depend on them), against VGG-19 up to
conv4_1 in the same run; float32 and bfloat16, and the peak memory of a process of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.tables import best_time, in_fresh_process, parser, show
from sketchcolor.style.backbones import load_backbone

REFERENCE = ("vgg19", ("conv1_1", "conv2_1", "conv3_1", "conv4_1"))


def seconds(name: str, layers: tuple[str, ...], side: int, precision: str, repeats: int = 3) -> float:
    """Seconds of one forward and backward pass."""
    backbone = load_backbone(name, random=True, precision=precision)

    def work() -> None:
        image = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last).requires_grad_(True)
        found = backbone(image, layers or backbone.style_layers)
        torch.stack([f.float().square().mean() for f in found.values()]).sum().backward()

    return best_time(work, repeats)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--names", nargs="+", default=["compact", "filters", "squeezenet1_0"])
    made.add_argument("--teacher-weights", type=Path, help="not needed: speed does not depend on weights")
    made.add_argument("--side", type=int, default=512)
    made.add_argument("--one", help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.one:
        name, _, layers = options.one.partition(":")
        seconds(name, tuple(filter(None, layers.split(","))), options.side, "float32", 1)
        return
    rows = []
    unit = {p: seconds(*REFERENCE, options.side, p) for p in ("float32", "bfloat16")}
    for name, layers in ((REFERENCE[0], REFERENCE[1]), *((n, ()) for n in options.names)):
        own = {p: seconds(name, layers, options.side, p) for p in ("float32", "bfloat16")}
        only = f"{name}:{','.join(layers)}"
        _, peak, _ = in_fresh_process(["benchmarks.backbones", "--side", str(options.side), "--one", only])
        rows.append(
            {
                "backbone": name + (" to conv4_1" if layers else ""),
                "float32_s": own["float32"],
                "bfloat16_s": own["bfloat16"],
                "share_of_vgg19": own["float32"] / unit["float32"],
                "peak_MiB": peak,
            }
        )
    show(f"forward and backward at {options.side} px", rows, options.out)


if __name__ == "__main__":
    main()
