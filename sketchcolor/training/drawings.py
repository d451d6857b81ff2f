"""Line drawings made from masks, pictures and other drawings: training data without limit."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def place(mask: Array, picture: Array, side: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Figure and picture turned, scaled and shifted on a page of `side` px; the figure may run off it."""
    rows, columns = np.nonzero(mask > 127)
    extent = max(int(np.ptp(rows)), int(np.ptp(columns)), 8)
    scale = side * rng.uniform(0.35, 0.9) / extent
    if rng.random() < 0.15:
        scale *= rng.uniform(1.1, 1.6)
    angle = rng.normal(0, 10)
    matrix = cv2.getRotationMatrix2D((float(columns.mean()), float(rows.mean())), angle, scale)
    matrix[:, :2] = matrix[:, :2] @ np.diag(rng.uniform(0.85, 1.18, 2))
    centre = matrix[:, :2] @ np.array([columns.mean(), rows.mean()])
    matrix[:, 2] = side / 2 + rng.normal(0, 0.08, 2) * side - centre
    if rng.random() < 0.5:
        matrix[0] = -matrix[0] + np.array([0, 0, side - 1])
    size = (side, side)
    moved = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR, borderValue=0)
    shown = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved, shown


def simplify(mask: Array, rng: np.random.Generator) -> Array:
    """The figure as a person simplifies it: smoothed outline."""
    blur = rng.uniform(0.8, 4.0)
    return np.asarray((cv2.GaussianBlur(mask, (0, 0), blur) > 127).astype(np.uint8))


def cut_off(figure: Array, rng: np.random.Generator) -> tuple[Array, int]:
    """The figure (uint8 0/1) ended by a straight base inside the page, as busts are; and the row where it ends."""
    rows = np.flatnonzero(figure.any(1))
    base = int(rows[0] + rng.uniform(0.45, 0.95) * (rows[-1] - rows[0])) + 1
    kept = figure.copy()
    kept[base:] = 0
    return kept, base


def outline_drawing(
    figure: Array, picture: Array, rng: np.random.Generator, *, open_share: float = 0.0, base: int | None = None
) -> tuple[Array, Array]:
    """Ink float32 in [0, 1] of a figure's outline and some inner edges by an unsteady hand, and what it enclosed.

    figure: uint8 0/1. open_share: share of the outline that is left out, in a few gaps. The enclosed figure (uint8 0/1)
    goes along the middle of the line where there is one. Along the page's border no line is drawn, nor along a `base`:
    the row where the figure was cut off.
    """
    height, across = figure.shape
    end = height if base is None else base
    canvas = np.zeros((height * 2, across * 2), np.uint8)
    width = int(rng.integers(2, 7))
    outlines, _ = cv2.findContours(figure, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    doubled = rng.random() < 0.25
    enclosed = []
    for outline in outlines:
        points = outline[:, 0].astype(np.float32)
        if len(points) < 12:
            continue
        shaken = _shake(points, rng)
        keep = ((points > 0) & (points < np.array([across - 1, end - 1]))).all(1)
        enclosed.append(np.round(shaken * 16).astype(np.int32)[:, None])
        for _ in range(2 if doubled else 1):
            _draw_closed(canvas, shaken, keep, width, rng, open_share)
    drawn = np.zeros_like(figure)
    cv2.fillPoly(drawn, enclosed, 1, cv2.LINE_8, 4)
    inner = _inner_edges(figure, picture, rng)
    ink = cv2.resize(canvas, (across, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    if inner is not None:
        ink = np.maximum(ink, inner)
    if rng.random() < 0.2:  # a line of the ground, or a stray mark
        _draw_stray(canvas, width, rng)
        stray = cv2.resize(canvas, (across, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        ink = np.maximum(ink, stray)
    return np.asarray(np.clip(ink * rng.uniform(1.0, 1.5), 0, 1)), drawn


def _shake(points: Array, rng: np.random.Generator) -> Array:
    """A closed outline (N, 2) as an unsteady hand follows it."""
    count = len(points)
    tremor = rng.normal(0, 1, (count // 15 + 3, 2))
    tremor[-1] = tremor[0]
    at = np.linspace(0, len(tremor) - 1, count)
    shift = np.stack([np.interp(at, np.arange(len(tremor)), tremor[:, i]) for i in range(2)], 1)
    return np.asarray(points + shift * rng.uniform(0.0, 1.6))


def _draw_closed(
    canvas: Array, points: Array, keep: Array, width: int, rng: np.random.Generator, open_share: float
) -> None:
    count = len(points)
    keep = keep.copy()
    if open_share > 0:
        gaps = int(rng.integers(1, 6))
        for _ in range(gaps):
            length = int(count * open_share / gaps)
            start = int(rng.integers(count))
            keep[np.arange(start, start + length) % count] = False
    # Strokes: runs of kept points, each with its own small offset, so that ends do not quite meet.
    breaks = np.sort(rng.choice(count, int(rng.integers(1, 7)), replace=False))
    for run in np.split(np.roll(np.arange(count), -int(breaks[0])), breaks[1:] - breaks[0]):
        run = run[keep[run]]
        for piece in np.split(run, np.flatnonzero(np.abs(np.diff(run)) > 1) + 1):
            if len(piece) < 3:
                continue
            moved = points[piece] + rng.normal(0, 0.7, 2)
            line = np.round(moved * 2 * 16).astype(np.int32)
            cv2.polylines(canvas, [line[:, None]], False, 255, width, cv2.LINE_AA, 4)


def _inner_edges(figure: Array, picture: Array, rng: np.random.Generator) -> Array | None:
    if rng.random() < 0.15:
        return None
    grey = cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (0, 0), rng.uniform(0.8, 2.5))
    edges = cv2.Canny(grey, 30, int(rng.integers(60, 180)))
    edges[cv2.erode(figure, np.ones((5, 5), np.uint8)) == 0] = 0
    count, labels, stats, _ = cv2.connectedComponentsWithStats(edges)
    keep = stats[:, cv2.CC_STAT_AREA] >= rng.integers(8, 60)
    keep[0] = False
    keep &= rng.random(count) < rng.uniform(0.3, 1.0)
    drawn = (keep[labels] * 255).astype(np.uint8)
    if rng.random() < 0.6:
        drawn = cv2.dilate(drawn, np.ones((2, 2), np.uint8))
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 0.5).astype(np.float32) / 255)


def _draw_stray(canvas: Array, width: int, rng: np.random.Generator) -> None:
    side = min(canvas.shape)
    if rng.random() < 0.5:
        y = int(rng.uniform(0.6, 0.95) * canvas.shape[0])
        cv2.line(canvas, (0, y), (canvas.shape[1], y + int(rng.normal(0, 6))), 255, width, cv2.LINE_AA)
        return
    start = rng.integers(0, side, 2)
    end = start + rng.normal(0, side / 8, 2).astype(int)
    cv2.line(canvas, tuple(map(int, start)), tuple(map(int, end)), 255, width, cv2.LINE_AA)


def off_the_page(lines: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """What is left of a drawing where the page ends before it does, on any side, mostly its left or right."""
    turns = 2 * int(rng.integers(2)) + int(rng.random() < 0.75)
    left = np.rot90(lines, turns).copy()
    drawn = np.flatnonzero((left > 0.3).any(1))
    if len(drawn):
        left[int(drawn[0] + rng.uniform(0.4, 0.7) * (drawn[-1] - drawn[0])) + 1 :] = 0
    return np.ascontiguousarray(np.rot90(left, -turns))


def redraw(lines: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """The same drawing by another hand: turned, bent, thicker or thinner, broken."""
    height, width = lines.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 8), rng.uniform(0.85, 1.0))
    matrix[:, :2] *= rng.uniform(0.85, 1.15, (2, 1))
    matrix[:, 1] += rng.normal(0, 0.06, 2)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    bend = [cv2.GaussianBlur(rng.normal(0, 1, lines.shape).astype(np.float32), (0, 0), 9) * 60 for _ in range(2)]
    x = matrix[0, 0] * columns + matrix[0, 1] * rows + matrix[0, 2] + bend[0]
    y = matrix[1, 0] * columns + matrix[1, 1] * rows + matrix[1, 2] + bend[1]
    out = cv2.remap(lines.astype(np.float32), x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        out = cv2.dilate(out, np.ones((int(rng.integers(2, 5)),) * 2, np.uint8))
    if rng.random() < 0.15:  # rough
        out = cv2.GaussianBlur(out, (0, 0), 1.2) * 1.6 + rng.normal(0, 0.06, out.shape)
        out = np.clip((out - 0.15) / 0.85, 0, 1).astype(np.float32)
    for _ in range(int(rng.integers(0, 4))):
        top, left = rng.integers(0, height), rng.integers(0, width)
        out[top : top + rng.integers(6, 30), left : left + rng.integers(6, 30)] = 0
    return np.asarray(out[:, ::-1] if rng.random() < 0.5 else out)


def draw_from_photo(photo: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[Any]:
    """Lines that a person might draw of a photo, roughly: edges at a random coarseness and threshold."""
    blurred = cv2.GaussianBlur(photo, (0, 0), rng.uniform(1.0, 3.0))
    grey = cv2.cvtColor(blurred, cv2.COLOR_RGB2GRAY)
    if rng.random() < 0.5:
        slope = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
        high = float(np.quantile(slope, rng.uniform(0.85, 0.96)))
        edges = cv2.Canny(grey, 0.4 * high, max(high, 10.0)).astype(np.float32) / 255
    else:
        fine = grey.astype(np.float32)
        coarse = cv2.GaussianBlur(fine, (0, 0), 2.0)
        edges = np.clip((coarse - fine) / rng.uniform(3, 10), 0, 1)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((edges > 0.5).astype(np.uint8))
    keep = stats[:, cv2.CC_STAT_AREA] >= rng.integers(8, 40)
    keep[0] = False
    edges = edges * keep[labels]
    return np.asarray(cv2.dilate(edges, np.ones((2, 2), np.uint8)) if count > 1 else edges)
