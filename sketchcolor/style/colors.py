"""Keeping the content's colours, in CIELAB.

Gatys et al. 2016b, "Preserving color in neural artistic style transfer": by matching, or by painting brightness alone.
"""

from __future__ import annotations

import cv2
import numpy as np

from sketchcolor.records import Field, Image

SMALL = 1e-3


def match_colors(image: Image, like: Image) -> Image:
    """`image` with the mean and covariance of `like`'s colours; RGB uint8, sizes may differ.

    The linear map is S^(1/2) of the two covariances, the symmetric form that turns hues least.
    """
    ours, theirs = _lab(image).reshape(-1, 3), _lab(like).reshape(-1, 3)
    moved = (ours - ours.mean(0)) @ (_power(np.cov(ours.T), -0.5) @ _power(np.cov(theirs.T), 0.5))
    return _rgb((moved + theirs.mean(0)).reshape(image.shape))


def grey(image: Image, like: Image | None = None) -> Image:
    """Brightness alone as RGB uint8; with `like`, brought to the mean and spread of that picture's brightness."""
    light = _lab(image)[..., 0]
    if like is not None:
        target = _lab(like)[..., 0]
        light = (light - light.mean()) * (target.std() / (light.std() + SMALL)) + target.mean()
    return _rgb(np.dstack([light, np.zeros_like(light), np.zeros_like(light)]))


def with_colors_of(painting: Image, content: Image) -> Image:
    """The painting's brightness with the content's colours; both RGB uint8 of one size."""
    lab = _lab(content)
    lab[..., 0] = _lab(painting)[..., 0]
    return _rgb(lab)


def _lab(image: Image) -> Field:
    return np.asarray(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))


def _rgb(lab: Field) -> Image:
    rgb = cv2.cvtColor(np.clip(lab, (0, -127, -127), (100, 127, 127)).astype(np.float32), cv2.COLOR_LAB2RGB)
    return np.asarray(np.clip(255 * rgb + 0.5, 0, 255).astype(np.uint8))


def _power(covariance: Field, exponent: float) -> Field:
    values, vectors = np.linalg.eigh(covariance + SMALL * np.eye(3))
    return np.asarray((vectors * values**exponent) @ vectors.T)
