"""Small pictures, drawings and a library that the tests share; nothing here needs a network."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sketchcolor.images import save_image

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """The starter library of the tests lies apart from the user's."""
    os.environ["SKETCHCOLOR_CACHE"] = str(tmp_path_factory.mktemp("cache"))


def draw_disc(side=128, centre=(64, 64), radius=36, thick=3):
    """A circle drawn in ink on white."""
    page = np.full((side, side, 3), 255, np.uint8)
    cv2.circle(page, (centre[1], centre[0]), radius, (0, 0, 0), thick, cv2.LINE_AA)
    return page


def photo_of_disc(side=128, centre=(60, 70), radius=30, color=(220, 40, 30), ground=(40, 90, 200), seed=0):
    """A coloured disc on a coloured ground, with some grain."""
    picture = np.full((side, side, 3), ground, np.uint8)
    cv2.circle(picture, (centre[1], centre[0]), radius, color, -1, cv2.LINE_AA)
    grain = np.random.default_rng(seed).normal(0, 4, picture.shape)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


@pytest.fixture
def sketch():
    return draw_disc()


@pytest.fixture
def photo():
    return photo_of_disc()


@pytest.fixture
def sketch_file(tmp_path, sketch):
    path = tmp_path / "drawing.png"
    save_image(path, sketch)
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder of eight pictures, one in a folder with a space and an umlaut."""
    folder = tmp_path / "pictures"
    rng = np.random.default_rng(5)
    for i in range(8):
        where = folder / "schöne Bilder" if i == 7 else folder
        color = tuple(int(v) for v in rng.integers(30, 255, 3))
        save_image(where / f"p{i}.png", photo_of_disc(color=color, radius=14 + 3 * i, seed=i))
    return folder
