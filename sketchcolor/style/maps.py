"""Colour-coded maps: same colour, same part. And region masks from label maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sketchcolor.errors import ImageError
from sketchcolor.records import Image, Labels

# Colours nearer than this (Euclidean, 0-255 a channel) are one part: JPEG noise and anti-aliased edges.
SAME_COLOR = 60.0
# A colour must cover this share of one of the maps to be a part of its own.
SMALLEST_SHARE = 0.002
MOST_PARTS = 64


def labels_from_colors(maps: Sequence[Image]) -> list[Labels]:
    """Label maps of colour-coded maps, RGB uint8 each, with one numbering: same colour, same label, from 1.

    Colours are told apart with a tolerance, so that JPEG noise and anti-aliased borders make no parts of their own;
    every pixel takes the nearest part's label. Raises ImageError for more than 64 parts (a photo is no map).
    """
    centres: list[NDArray[Any]] = []
    shares: list[tuple[float, NDArray[Any]]] = []
    for picture in maps:
        coarse = cv2.medianBlur(picture, 3)[:: max(1, picture.shape[0] // 256), :: max(1, picture.shape[1] // 256)]
        colors = coarse.reshape(-1, 3)
        keys = (colors // 16).astype(np.int64) @ np.array([256, 16, 1])
        _, where, counts = np.unique(keys, return_inverse=True, return_counts=True)
        for index in np.flatnonzero(counts >= SMALLEST_SHARE * len(colors)):
            shares.append((counts[index] / len(colors), np.median(colors[where.ravel() == index], axis=0)))
    for _, color in sorted(shares, key=lambda entry: -entry[0]):
        if all(np.linalg.norm(color - c) > SAME_COLOR for c in centres):
            centres.append(color)
    if len(centres) > MOST_PARTS:
        raise ImageError(f"a map has more than {MOST_PARTS} colours; use flat colours, one for each part")
    palette = np.array(centres, dtype=np.float32)
    found = []
    for picture in maps:
        distance = ((picture[:, :, None].astype(np.float32) - palette) ** 2).sum(-1)
        found.append((distance.argmin(-1) + 1).astype(np.int32))
    return found


def unsure_pixels(picture: Image, labels: Labels) -> int:
    """How many pixels of a map have a colour that is none of its parts' (they took the nearest part's label).

    picture: RGB uint8 (H, W, 3), labels: what `labels_from_colors` made of it.
    """
    count = 0
    for label in np.unique(labels):
        inside = picture[labels == label].astype(np.float32)
        count += int((np.linalg.norm(inside - np.median(inside, axis=0), axis=1) > SAME_COLOR).sum())
    return count


def region_masks(labels: Labels, groups: Sequence[Sequence[int]], device: str = "cpu") -> Tensor:
    """float32 (R, H, W): mask r is 1 where the label is in group r."""
    return torch.from_numpy(np.stack([np.isin(labels, list(g)) for g in groups]).astype(np.float32)).to(device)
