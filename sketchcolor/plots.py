"""Tables, curves, label maps and labelled contact sheets."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw, ImageFont

from sketchcolor.files import replacing
from sketchcolor.images import fit_size, resize
from sketchcolor.records import Image, Labels, Mask

_WIDTH, _HEIGHT, _MARGIN = 960, 480, 64
_COLORS = ((31, 97, 141), (176, 58, 46), (35, 155, 86), (183, 149, 11), (125, 60, 152), (93, 109, 126), (186, 74, 0))
_LABEL = 22


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as CSV, beside first, then renamed. Raises ImageError where it cannot be written."""
    path = Path(path)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def draw_curves(curves: Sequence[Mapping[str, float]]) -> Image:
    """Each term against its step, on a logarithmic scale; RGB uint8."""
    canvas = PilImage.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(14)
    names = list(dict.fromkeys(name for row in curves for name in row))
    values = {n: np.array([max(row.get(n, 0.0), 0.0) for row in curves]) for n in names}
    positive = np.concatenate([v[v > 0] for v in values.values()]) if names else np.empty(0)
    if not len(positive):
        draw.text((_MARGIN, _MARGIN), "no steps", "black", font)
        return np.asarray(canvas)
    high = float(np.log10(positive.max()))
    low = max(float(np.log10(positive.min())), high - 6)  # six decades are enough to see
    high, low = high + 0.05, low - 0.05
    right, bottom = _WIDTH - 160, _HEIGHT - 48
    for exponent in range(int(np.ceil(low)), int(np.floor(high)) + 1):
        y = bottom - (exponent - low) / (high - low) * (bottom - 24)
        draw.line([(_MARGIN, y), (right, y)], (225, 225, 225))
        draw.text((8, y - 8), f"1e{exponent}", (90, 90, 90), font)
    draw.line([(_MARGIN, 24), (_MARGIN, bottom), (right, bottom)], (60, 60, 60))
    for share in (0.0, 0.5, 1.0):
        step = round(share * len(curves))
        draw.text((_MARGIN + share * (right - _MARGIN) - 8, bottom + 8), str(step), (90, 90, 90), font)
    draw.text(((_MARGIN + right) / 2 - 16, bottom + 26), "steps", (90, 90, 90), font)
    for number, name in enumerate(names):
        color = _COLORS[number % len(_COLORS)]
        shown = np.flatnonzero(values[name] > 0)
        x = _MARGIN + (shown + 1) / len(curves) * (right - _MARGIN)
        y = bottom - (np.clip(np.log10(values[name][shown]), low, high) - low) / (high - low) * (bottom - 24)
        if len(shown) > 1:
            draw.line(list(zip(x.tolist(), y.tolist(), strict=True)), color, 2)
        draw.text((right + 12, 24 + 22 * number), name, color, font)
    return np.asarray(canvas)


def contact_sheet(tiles: Sequence[tuple[str, Image]], columns: int, *, side: int = 256) -> Image:
    """Pictures with a line of text below each, `columns` to a row; RGB uint8."""
    font = ImageFont.load_default(13)
    rows = -(-len(tiles) // columns)
    canvas = PilImage.new("RGB", (columns * (side + 8) + 8, rows * (side + _LABEL + 8) + 8), "white")
    draw = ImageDraw.Draw(canvas)
    for number, (label, image) in enumerate(tiles):
        size = fit_size(image.shape[0], image.shape[1], side)
        small = np.asarray(resize(image, size), dtype=np.uint8)
        if small.ndim == 2:
            small = cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)
        left, top = 8 + number % columns * (side + 8), 8 + number // columns * (side + _LABEL + 8)
        canvas.paste(PilImage.fromarray(small), (left + (side - size[1]) // 2, top + (side - size[0]) // 2))
        while label and draw.textlength(label, font) > side:
            label = label[:-1]
        draw.text((left, top + side + 3), label, "black", font)
    return np.asarray(canvas)


def label_colors(labels: Labels) -> Image:
    """A label map as flat colours, RGB uint8 (H, W, 3): same label, same colour; 0 is black."""
    # Golden-angle hues keep neighbouring numbers apart.
    hues = (np.arange(256) * 111) % 180
    hsv = np.stack([hues, np.full(256, 150), np.full(256, 235)], 1).astype(np.uint8)[None]
    palette = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]
    palette[0] = 0
    return np.asarray(palette[labels % 256])


def tinted(image: Image, labels: Labels, chosen: Mask | None = None) -> Image:
    """A picture with its regions in flat colours laid over it, `chosen` with a white rim; same label, same colour."""
    size = (image.shape[1], image.shape[0])
    sized = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST).astype(np.int32)
    mixed = image * 0.35 + label_colors(sized) * 0.65
    edges = cv2.morphologyEx(sized.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    mixed[edges] = 30
    if chosen is not None:
        inside = cv2.resize(chosen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        rim = cv2.morphologyEx(inside, cv2.MORPH_GRADIENT, np.ones((7, 7), np.uint8)) > 0
        mixed[rim] = (255, 255, 255)
    return np.asarray(np.clip(mixed, 0, 255).astype(np.uint8))
