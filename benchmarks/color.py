"""How long colouring takes: `python -m benchmarks.color [SKETCH] [--reference PICTURE]`.

Preview, whole call and stages with the library open; a whole process from a cold start; peak memory by size. The
reference of the ratios is one forward and backward pass of VGG-19 (random weights, eager float32) at 512 px.

The sketch is the same each time, so that what the program remembers of a picture (its figure, its completed ground) is
found already, as in the app; only the cold process finds everything anew.
"""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path

import torch

from benchmarks.tables import best_time, in_fresh_process, parser, show
from sketchcolor import Colorizer, ColorSettings, read_image

EXAMPLE = Path(__file__).parent.parent / "examples" / "cat.png"


def vgg_pass() -> float:
    """Seconds of one forward and backward pass of VGG-19 up to conv5_1 at 512 px."""
    from torchvision.models import vgg19

    network = vgg19(weights=None).features[:29].eval().requires_grad_(False)

    def work() -> None:
        image = torch.rand(1, 3, 512, 512, requires_grad=True)
        network(image).square().mean().backward()

    return best_time(work, 2)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("sketch", type=Path, nargs="?", default=EXAMPLE)
    made.add_argument("--reference", type=Path, help="default: searched in the starter library")
    made.add_argument("--backbones", nargs="+", default=["compact", "filters"])
    made.add_argument("--memory-sizes", nargs="*", type=int, default=[512, 2048])
    options = made.parse_args()
    unit = vgg_pass()
    print(f"one VGG-19 pass at 512 px: {unit:.2f} s (the unit of the ratios)")
    sketch = read_image(options.sketch, drawing=True)
    scale = 512 / max(sketch.shape[:2])
    if scale > 1:
        import cv2

        sketch = cv2.resize(sketch, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    rows, stages = [], []
    for backbone in options.backbones:
        colorizer = Colorizer(settings=ColorSettings(backbone=backbone))
        colorizer.color(sketch, options.reference, settings=dataclasses.replace(colorizer.settings, quality="preview"))
        results = [colorizer.color(sketch, options.reference) for _ in range(3)]
        preview = statistics.median(r.seconds["to_preview"] for r in results)
        total = statistics.median(r.seconds["total"] for r in results)
        rows.append(
            {
                "backbone": backbone,
                "preview_s": preview,
                "total_s": total,
                "preview_vgg_passes": preview / unit,
                "total_vgg_passes": total / unit,
            }
        )
        stages.append({"backbone": backbone, **dict(results[-1].seconds)})
    show("512 px, quality normal, library open", rows, options.out)
    show("seconds by stage", stages, options.out)
    cold = []
    extra = ["--reference", str(options.reference)] if options.reference else []
    for size in options.memory_sizes:
        command = [
            "sketchcolor",
            "color",
            str(options.sketch),
            "-o",
            "/dev/shm/benchmark-color.png",
            "--size",
            str(size),
        ]
        seconds, peak, _ = in_fresh_process([*command, *extra])
        cold.append({"size": size, "cold_process_s": seconds, "peak_MiB": peak, "vgg_passes": seconds / unit})
        Path("/dev/shm/benchmark-color.png").unlink(missing_ok=True)
    show("whole process from a cold start, quality normal", cold, options.out)


if __name__ == "__main__":
    main()
