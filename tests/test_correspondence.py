"""Places inside figures: the fit of the flow with made-up features, and what the shipped network sees."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sketchcolor.regions import alignment, correspondence
from sketchcolor.retrieval.embedding import default_embedding

PLACES = 24


def features(down, right):
    """Of a drawing and a photo: in the middle places so far apart are alike, at the rim those that lie together."""
    values = np.random.default_rng(0).normal(size=(PLACES // 2, PLACES // 2, 32)).astype(np.float32)
    photo = cv2.resize(values, (PLACES, PLACES), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[0:PLACES, 0:PLACES].astype(np.float32)
    near = np.exp(-((rows - PLACES / 2) ** 2 + (columns - PLACES / 2) ** 2) / (2 * 5.0**2))
    maps = (columns + right * near).astype(np.float32), (rows + down * near).astype(np.float32)
    sketch = np.dstack([cv2.remap(photo[..., n : n + 4], *maps, cv2.INTER_LINEAR) for n in range(0, 32, 4)])
    return {k: v / np.linalg.norm(v, axis=2, keepdims=True) for k, v in (("sketch", sketch), ("photo", photo))}


def test_a_flow_is_distorted_where_it_folds_squeezes_or_stretches():
    rows, columns = np.mgrid[0:20, 0:20].astype(float)
    inside = np.ones((20, 20), bool)
    turned = np.stack([0.3 * columns, -0.3 * rows], axis=-1)
    assert correspondence.distorted(turned, inside) == 0
    for factor in (-2.0, -0.8, 1.5):  # x + flow(x) = -x, 0.2 x, 2.5 x
        assert correspondence.distorted(np.stack([factor * rows, 0 * rows], axis=-1), inside) == 1
    half = np.stack([np.where(columns < 10, 0.0, -2 * rows), 0 * rows], axis=-1)
    assert 0.4 < correspondence.distorted(half, inside) < 0.6
    assert correspondence.distorted(turned, ~inside) == 0


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-2, 3)])
def test_inner_flow_follows_what_is_alike(down, right):
    seen = features(down, right)
    mask = cv2.circle(np.zeros((300, 340), np.uint8), (150, 160), 110, 1, -1) > 0
    ink = np.zeros((300, 340), np.float32)
    asked = []

    def laid(rows, columns):
        asked.append((rows.mean(), columns.mean()))
        return np.zeros((*rows.shape, 3), np.uint8)

    flow = correspondence.inner_flow(mask, ink, laid, lambda page, side: seen[side])
    place = 221 * (1 + 2 * correspondence.MARGIN) / PLACES  # pixels: the figure is 221 px wide
    middle = flow[155:165, 145:155].reshape(-1, 2) / place
    assert np.allclose(middle, (down, right), atol=0.4)
    assert np.abs(flow[159, 2]).max() < 0.5 * place  # beside the figure it comes to rest
    assert np.allclose(asked[0], (160, 150), atol=1)  # the square lies about the figure


def test_what_cannot_be_seen_moves_nothing():
    dot = cv2.circle(np.zeros((300, 300), np.uint8), (150, 150), 8, 1, -1) > 0
    nothing = correspondence.inner_flow(
        dot, np.zeros((300, 300), np.float32), lambda y, x: None, lambda page, side: None
    )
    assert nothing is None


def test_features_of_places_turn_with_the_page():
    ink = np.zeros((192, 192), np.float32)
    cv2.circle(ink, (60, 90), 40, 1, 4)
    cv2.line(ink, (110, 30), (170, 150), 1, 4)
    photo = np.repeat((255 * (1 - ink)).astype(np.uint8)[..., None], 3, axis=2)
    for side, page in (("sketch", ink), ("photo", photo)):
        found = default_embedding().places(page, side)
        assert found.shape[:2] == (12, 12) and found.dtype == np.float32
        assert np.allclose(np.linalg.norm(found, axis=2), 1, atol=1e-4)
        turned = default_embedding().places(np.ascontiguousarray(page[:, ::-1]), side)[:, ::-1]
        assert float((found * turned).sum(axis=2).min()) > 0.97


def test_a_drawn_eye_takes_its_colour_from_an_eye():
    page, photo = np.full((320, 320), 0, np.uint8), np.full((320, 320, 3), (70, 110, 150), np.uint8)
    mask = cv2.circle(np.zeros((320, 320), np.uint8), (160, 160), 130, 1, -1) > 0
    cv2.circle(page, (160, 160), 130, 255, 4)
    photo[mask] = (230, 190, 60)
    for number, x in enumerate((105, 215)):
        cv2.circle(page, (x, 130), 24, 255, 4)
        cv2.circle(photo, (x - 20 + 10 * number, 165), 26, (30, 30, 35), -1)
    cv2.ellipse(page, (160, 210), (50, 25), 0, 0, 180, 255, 4)
    cv2.ellipse(photo, (145, 235), (50, 25), 0, 0, 180, (150, 30, 40), 8)
    photo = cv2.GaussianBlur(photo, (0, 0), 1.5)
    ink = page.astype(np.float32) / 255
    eyes = np.zeros((320, 320), np.uint8)
    for x in (105, 215):
        cv2.circle(eyes, (x, 130), 18, 1, -1)
    brightness = []
    for see in (None, default_embedding().places):
        placed = alignment.align(mask, mask, ink, photo, see=see)
        laid = cv2.remap(photo, placed.figure[..., 1], placed.figure[..., 0], cv2.INTER_LINEAR)
        brightness.append(float(laid[eyes > 0].mean()))
    assert brightness[0] > 100 and brightness[1] < 0.75 * brightness[0]
