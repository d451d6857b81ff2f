"""Only what changed is painted again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from sketchcolor import Colorizer, ColorSettings
from sketchcolor.records import Overrides, Progress, Regions, Result
from sketchcolor.repainting import MARGIN, SEAM, repaint

SIDE = 300
REFERENCE = np.full((20, 20, 3), 7, np.uint8)
SETTINGS = ColorSettings(size=SIDE)
PARTS = Regions(np.ones((SIDE, SIDE), np.int32), (), np.ones((20, 20), np.int32), ())


def page(value):
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def before(**changes):
    layers = {"underpainting": page(100), "painted": page(50), "reference": REFERENCE}
    return dataclasses.replace(Result(page(50), settings=SETTINGS, layers=layers), **changes)


def run(previous, under, progress=None):
    asked = []

    def paint(cut, trust, parts, watch):
        assert cut.shape[:2] == trust.shape == parts.sketch_map.shape
        asked.append(cut.shape[:2])
        if watch is not None:
            watch(Progress("paint", 1, 1, image=cut * 0 + 200))
        return cut * 0 + 200, ({"total": 1.0},), False

    trust = np.ones((SIDE, SIDE), np.float32)
    image, losses, _ = repaint(previous, under, trust, REFERENCE, PARTS, SETTINGS, paint, progress)
    return image, losses, asked


def test_a_patch_is_painted_and_the_rest_stays_to_the_pixel():
    under = page(100)
    under[100:140, 60:120] = 30
    seen = []
    image, _, asked = run(before(), under, lambda step: seen.append(step.image))
    assert asked == [(40 + 2 * MARGIN, 60 + 2 * MARGIN)]
    assert (image[100:140, 60:120] == 200).all()
    outside = np.ones((SIDE, SIDE), bool)
    outside[100 - SEAM : 140 + SEAM, 60 - SEAM : 120 + SEAM] = False
    assert (image[outside] == 50).all()
    assert seen[0].shape == image.shape and (seen[0] == image).all()


def test_nothing_is_painted_where_nothing_changed():
    image, losses, asked = run(before(), page(100))
    assert (image == 50).all() and losses == () and asked == []


@pytest.mark.parametrize(
    "previous",
    [
        None,
        before(stopped=True),
        before(settings=dataclasses.replace(SETTINGS, seed=1)),
        before(layers={"underpainting": page(100)}),
        before(layers={"underpainting": page(100), "painted": page(50), "reference": REFERENCE + 1}),
    ],
)
def test_all_is_painted_where_the_previous_picture_was_another(previous):
    image, _, asked = run(previous, page(100))
    assert asked == [(SIDE, SIDE)] and (image == 200).all()


def test_a_colour_alone_needs_no_painting(sketch, photo):
    settings = ColorSettings(size=64, backbone="filters")
    colorizer = Colorizer(settings=settings, device="cpu")
    first = colorizer.color(sketch, photo)
    label = next(r.label for r in first.regions.sketch if r.foreground)
    wish = Overrides(colors=((label, (30, 160, 90)),))
    steps = []

    def watch(step):
        steps.append(step.stage == "paint" and step.loss is not None)

    second = colorizer.color(sketch, photo, overrides=wish, previous=first, progress=watch)
    assert not any(steps) and second.losses == ()
    assert (second.image == colorizer.color(sketch, photo, overrides=wish).image).all()
    assert (second.image != first.image).any()
    back = colorizer.color(sketch, photo, previous=second)
    assert (back.image == first.image).all()
