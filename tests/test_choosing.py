"""Choosing the reference among what the search found."""

from __future__ import annotations

import numpy as np
from conftest import draw_disc, photo_of_disc

from sketchcolor import ColorSettings, segment_sketch
from sketchcolor.choosing import choose, colorfulness, sharpness
from sketchcolor.images import save_image
from sketchcolor.lines import find_lines
from sketchcolor.records import Hit


def test_grey_is_not_colourful_and_blur_is_not_sharp():
    grey = np.repeat(np.random.default_rng(0).integers(0, 255, (64, 64, 1), dtype=np.uint8), 3, axis=2)
    assert colorfulness(grey) == 0 < colorfulness(photo_of_disc())
    assert sharpness(np.full((64, 64, 3), 9, np.uint8)) == 0 < sharpness(grey) <= 1


def test_a_coloured_picture_of_the_right_shape_goes_before_a_grey_one_of_another(tmp_path):
    right = photo_of_disc(160, (80, 80), 46)
    wrong = np.full((160, 160, 3), 200, np.uint8)
    wrong[70:90, 5:155] = 90
    save_image(tmp_path / "wrong.png", wrong)
    save_image(tmp_path / "right.png", right)
    hits = [Hit(str(tmp_path / "wrong.png"), 0.50, 1), Hit(str(tmp_path / "right.png"), 0.45, 2)]
    page = draw_disc(160, (80, 80), 50)
    ordered, picture, notes = choose(hits, find_lines(page).ink, segment_sketch(page), ColorSettings())
    assert [h.rank for h in ordered] == [1, 2] and ordered[0].path.endswith("right.png") and not notes
    assert (picture == right).all()
    assert set(ordered[0].terms) == {"similarity", "overlap", "edges", "colorful", "sharp", "total"}
    assert all(0 <= ordered[0].terms[k] <= 1 for k in ("overlap", "edges", "colorful", "sharp"))


def test_unreadable_hits_are_left_out_with_a_note(tmp_path):
    save_image(tmp_path / "there.png", photo_of_disc())
    hits = [Hit(str(tmp_path / "gone.png"), 0.9, 1), Hit(str(tmp_path / "there.png"), 0.1, 2)]
    page = draw_disc()
    ordered, picture, notes = choose(hits, find_lines(page).ink, segment_sketch(page), ColorSettings(judged=1))
    assert len(ordered) == 1 and ordered[0].rank == 1 and picture is not None and "gone.png" in notes[0]
    assert choose(hits[:1], find_lines(page).ink, segment_sketch(page), ColorSettings())[1] is None


def test_a_sharper_and_nearer_picture_without_colours_comes_after(tmp_path):
    colored = photo_of_disc(160, (80, 80), 46)
    grey = np.repeat(colored.mean(2, keepdims=True).astype(np.uint8), 3, axis=2)
    save_image(tmp_path / "grey.png", grey)
    save_image(tmp_path / "colored.png", np.asarray(0.5 * colored + 0.5 * grey).astype(np.uint8))
    hits = [Hit(str(tmp_path / "grey.png"), 0.6, 1), Hit(str(tmp_path / "colored.png"), 0.4, 2)]
    page = draw_disc(160, (80, 80), 50)
    ink, mask = find_lines(page).ink, segment_sketch(page)
    ordered, _, _ = choose(hits, ink, mask, ColorSettings())
    assert ordered[0].path.endswith("colored.png")
    ordered, _, _ = choose(hits, ink, mask, ColorSettings(grey_weight=0.0, colorful_weight=0.0))
    assert ordered[0].path.endswith("grey.png")


def test_pictures_that_are_only_explained_stay_behind_those_that_are_judged(tmp_path):
    page = draw_disc(160, (80, 80), 50)
    for name in ("near", "far"):
        save_image(tmp_path / f"{name}.png", photo_of_disc(160, (80, 80), 46))
    hits = [Hit(str(tmp_path / "near.png"), 0.1, 1), Hit(str(tmp_path / "far.png"), 0.9, 2)]
    given = hits, find_lines(page).ink, segment_sketch(page), ColorSettings(judged=1)
    assert [h.terms for h in choose(*given)[0]][1] == {}
    settings = ColorSettings(judged=2, overlap_weight=0.0)
    assert choose(*given[:3], settings)[0][0].path.endswith("far.png")
    explained, _, _ = choose(*given[:3], ColorSettings(judged=1), explain=True)
    assert [h.path.rsplit("/", 1)[1] for h in explained] == ["near.png", "far.png"]
    assert explained[1].terms["total"] > 0.9
