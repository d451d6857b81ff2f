"""The whole way from a sketch to a coloured picture, in Python."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from conftest import draw_disc, photo_of_disc

from sketchcolor import Colorizer, ColorSettings, Library, segment_photo, segment_sketch
from sketchcolor.errors import ImageError, LibraryError, SettingsError
from sketchcolor.records import Overrides

QUICK = ColorSettings(size=96, quality="preview")


@pytest.fixture(scope="module")
def colorizer():
    return Colorizer(settings=QUICK, device="cpu")


def test_a_result_holds_everything_in_the_contract(colorizer, sketch, photo):
    settings = dataclasses.replace(QUICK, quality="normal", backbone="filters")
    seen = []
    result = Colorizer(settings=settings, device="cpu").color(sketch, photo, progress=seen.append)
    assert result.image.shape == sketch.shape and result.image.dtype == np.uint8
    assert result.preview.shape == sketch.shape
    assert result.ink.shape == sketch.shape[:2] and result.ink.dtype == np.float32
    assert result.reference is photo and result.hits == ()
    assert result.sketch_mask.dtype == bool and result.reference_mask.dtype == bool
    assert result.regions.sketch_map.dtype == np.int32 and result.matches and result.losses
    assert result.settings == settings and result.seconds["total"] > 0
    assert any(p.stage == "preview" and p.image is not None for p in seen)
    steps = [p.step for p in seen if p.stage == "paint" and p.step]
    assert steps == sorted(steps) and steps[-1] == len(result.losses)


def test_colour_is_inside_the_lines(colorizer, sketch, photo):
    image = colorizer.color(sketch, photo).image.astype(int)
    rows, columns = np.mgrid[0:128, 0:128]
    far = np.hypot(rows - 64, columns - 64)
    assert image[far < 30][:, 0].mean() > 180 and image[far < 30][:, 2].mean() < 80
    assert image[far > 45][:, 2].mean() > 160 and image[far > 45][:, 0].mean() < 90
    assert image[np.abs(far - 36) < 1].max(1).mean() < 90


@pytest.mark.parametrize("shape", [(60, 128), (300, 40), (128, 128)])
def test_the_result_has_the_sketchs_own_size(colorizer, shape, photo):
    page = np.full((*shape, 3), 255, np.uint8)
    page[shape[0] // 4 : -shape[0] // 4, shape[1] // 4 : -shape[1] // 4] = 0
    page[shape[0] // 4 + 2 : -shape[0] // 4 - 2, shape[1] // 4 + 2 : -shape[1] // 4 - 2] = 255
    assert colorizer.color(page, photo).image.shape == page.shape


@pytest.mark.parametrize("mode", ["segmented", "global", "laplacian"])
def test_same_seed_same_bytes(mode, sketch, photo):
    settings = ColorSettings(size=64, backbone="filters", mode=mode)
    one, two = (Colorizer(settings=settings, device="cpu").color(sketch, photo).image for _ in range(2))
    assert (one == two).all()


def test_stopping_gives_the_best_so_far(sketch, photo):
    settings = ColorSettings(size=64, backbone="filters")
    result = Colorizer(settings=settings, device="cpu").color(
        sketch, photo, progress=lambda p: not (p.stage == "paint" and p.step >= 3)
    )
    assert result.stopped and len(result.losses) == 3 and result.image.shape == sketch.shape


@pytest.mark.parametrize("tone", [255, 0])
def test_an_empty_or_black_sketch_is_said_in_one_line(colorizer, photo, tone):
    with pytest.raises(ImageError, match="no lines"):
        colorizer.color(np.full((64, 64, 3), tone, np.uint8), photo)


def test_a_sketch_of_one_pixel_is_refused(colorizer, photo):
    with pytest.raises(ImageError, match="1 x 1"):
        colorizer.color(np.zeros((1, 1, 3), np.uint8), photo)


def test_a_very_wide_sketch_works(colorizer, photo):
    page = np.full((30, 20_000, 3), 255, np.uint8)
    page[10:20, 5000:15000] = 0
    page[12:18, 5004:14996] = 255
    assert colorizer.color(page, photo).image.shape == page.shape


def test_a_photo_as_sketch_gives_a_picture_and_a_note(colorizer, photo):
    rng = np.random.default_rng(0)
    import cv2

    image = cv2.GaussianBlur(rng.normal(128, 900, (120, 160, 3)), (0, 0), 9)
    result = colorizer.color(np.clip(image, 0, 255).astype(np.uint8), photo)
    assert result.image.shape == (120, 160, 3) and any("photo" in note for note in result.notes)


@pytest.mark.parametrize("tone", [0, 200])
def test_a_flat_reference_gives_a_picture_of_that_colour(colorizer, sketch, tone):
    result = colorizer.color(sketch, np.full((50, 70, 3), tone, np.uint8))
    assert abs(float(np.median(result.image)) - tone) < 6


def test_a_picture_deleted_since_is_left_out_with_a_note(tmp_path, pictures, sketch):
    Library.build(pictures, tmp_path / "lib")
    colorizer = Colorizer(tmp_path / "lib", QUICK, "cpu")
    first = colorizer.color(sketch)
    __import__("pathlib").Path(first.reference).unlink()
    second = colorizer.color(sketch)
    assert second.reference != first.reference and any("left out" in note for note in second.notes)
    for path in pictures.rglob("*.png"):
        path.unlink()
    with pytest.raises(LibraryError, match="index verify"):
        colorizer.color(sketch)


def test_wrong_arrays_and_devices_are_refused(colorizer, sketch, photo):
    with pytest.raises(ImageError, match="uint8"):
        colorizer.color(sketch.astype(float), photo)
    with pytest.raises(ImageError, match="uint8"):
        colorizer.color(sketch[..., 0], photo)
    with pytest.raises(SettingsError, match="device"):
        Colorizer(device="abacus")


def test_segment_functions_give_masks():
    assert segment_sketch(draw_disc()).mean() == pytest.approx(np.pi * 36**2 / 128**2, rel=0.1)
    assert segment_photo(photo_of_disc()).dtype == bool


def test_a_region_takes_the_colour_that_the_user_wants(sketch, photo):
    settings = ColorSettings(size=128, quality="normal", backbone="filters", lines="off")
    colorizer = Colorizer(settings=settings, device="cpu")
    first = colorizer.color(sketch, photo)
    label = next(r.label for r in first.regions.sketch if r.foreground)
    seen = []

    def watch(progress):
        if progress.image is not None:
            seen.append(progress.image.shape)

    again = colorizer.color(sketch, photo, overrides=Overrides(colors=((label, (40, 160, 90)),)), progress=watch)
    inside = again.regions.sketch_map == label
    assert np.abs(again.image[inside].mean(0) - (40, 160, 90)).max() < 14
    assert np.abs(first.image[inside].mean(0) - (40, 160, 90)).max() > 60
    assert set(seen) == {sketch.shape}  # intermediate pictures are pages too
    with pytest.raises(SettingsError, match="region 99"):
        colorizer.color(sketch, photo, overrides=Overrides(colors=((99, (1, 2, 3)),)))
