"""The ink map of drawings of every kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from conftest import draw_disc

from sketchcolor.errors import ImageError
from sketchcolor.lines import find_lines, overlay


def overlap(a, b):
    return (a & b).sum() / (a | b).sum()


TRUTH = draw_disc(256, (128, 128), 80, 5)[..., 0] < 128


def clean():
    return draw_disc(256, (128, 128), 80, 5)


def light_on_dark():
    return 255 - clean()


def pencil():
    page = clean().astype(float)
    rng = np.random.default_rng(0)
    return np.clip(235 - (255 - page) * 0.45 + rng.normal(0, 4, page.shape), 0, 255).astype(np.uint8)


def phone_photo():
    rows, columns = np.mgrid[0:256, 0:256]
    light = 0.45 + 0.5 * (rows + 2 * columns) / (3 * 256)
    tint = np.array([1.0, 0.95, 0.85])
    return np.clip(
        clean() * light[..., None] * tint + np.random.default_rng(1).normal(0, 3, (256, 256, 3)), 0, 255
    ).astype(np.uint8)


@pytest.mark.parametrize("make", [clean, light_on_dark, pencil, phone_photo])
def test_ink_is_found_whatever_the_paper(make):
    found = find_lines(make())
    assert found.ink.dtype == np.float32 and found.ink.min() >= 0 and found.ink.max() <= 1
    assert overlap(found.ink > 0.5, TRUTH) > 0.8
    assert 6 < found.width < 9  # OpenCV draws a line of nominal width 5 about 7.4 px wide
    assert found.inverted is (make is light_on_dark)
    assert not found.from_photo


def test_a_photo_gets_its_edges_drawn():
    noise = cv2.GaussianBlur(np.random.default_rng(2).normal(128, 900, (200, 200, 3)), (0, 0), 12)
    found = find_lines(np.clip(noise, 0, 255).astype(np.uint8))
    assert found.from_photo


@pytest.mark.parametrize("tone", [255, 0, 128, 250])
def test_a_page_of_one_tone_has_no_lines(tone):
    with pytest.raises(ImageError, match="no lines"):
        find_lines(np.full((64, 64, 3), tone, np.uint8))


def test_overlay_keeps_the_colour_of_strokes():
    page = np.full((64, 64, 3), 255, np.uint8)
    cv2.line(page, (5, 32), (58, 32), (200, 20, 20), 5)
    found = find_lines(page)
    paint = np.full((64, 64, 3), 240, np.uint8)
    kept = overlay(paint, found, "keep")[32, 32].astype(int)
    assert kept[0] > 150 and kept[1] < 60
    assert overlay(paint, found, "clean")[32, 32].max() < 30
    assert (overlay(paint, found, "off") == paint).all()
    assert (overlay(paint, found, "keep")[5, 5] == 240).all()
