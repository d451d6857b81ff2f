"""`make demo`: colours the example sketches into a folder and lays them out on one contact sheet."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from sketchcolor import Colorizer, read_image, save_image
from sketchcolor.commands.terminal import Bar
from sketchcolor.records import Image

TILE = 320


def tile(image: Image) -> Image:
    """A picture on a white square of TILE px."""
    scale = TILE / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    square = np.full((TILE, TILE, 3), 255, np.uint8)
    top, left = (TILE - small.shape[0]) // 2, (TILE - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def main() -> None:
    """Colour every sketch beside this file."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "out")
    colorizer = Colorizer()
    rows = []
    for path in sorted(Path(__file__).parent.glob("*.png")):
        bar = Bar(path.name)
        began = time.perf_counter()
        result = colorizer.color(path, progress=bar)
        bar.clear()
        save_image(folder / path.name, result.image)
        assert result.preview is not None
        reference = read_image(str(result.reference))
        rows.append(np.hstack([tile(p) for p in (read_image(path), reference, result.preview, result.image)]))
        seconds = f"{result.seconds['to_preview']:.1f} s to the preview, {time.perf_counter() - began:.1f} s in all"
        print(f"{folder / path.name}  from {Path(str(result.reference)).name}  ({seconds})")
    sheet = folder / "contact-sheet.png"
    save_image(sheet, np.vstack(rows))
    print(f"contact sheet (sketch, reference, preview, result): {sheet.resolve()}")


if __name__ == "__main__":
    main()
