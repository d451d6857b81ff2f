"""Figure and ground, parts, matching, alignment."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from conftest import draw_disc, photo_of_disc

from sketchcolor import regions
from sketchcolor.lines import find_lines
from sketchcolor.records import Region
from sketchcolor.regions import (
    alignment,
    classical,
    completion,
    foreground,
    matching,
    networks,
    partition,
    placement,
    underpainting,
)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def disc(side, centre, radius):
    rows, columns = np.mgrid[0:side, 0:side]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


SEGMENTERS = [classical.sketch_by_closing, foreground.sketch_foreground]


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_a_closed_outline_is_filled(segment):
    found = find_lines(draw_disc(200, (100, 90), 60))
    assert iou(segment(found.ink, found.width).mask, disc(200, (100, 90), 60)) > 0.9


def test_a_closed_outline_ends_in_the_middle_of_its_line():
    found = find_lines(draw_disc(256, (128, 128), 80, 9))
    mask = foreground.sketch_foreground(found.ink, found.width).mask
    assert iou(mask, disc(256, (128, 128), 80)) > 0.985


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_an_outline_with_a_gap_is_closed(segment):
    page = draw_disc(200, (100, 100), 60)
    page[94:106, 150:170] = 255
    found = find_lines(page)
    assert iou(segment(found.ink, found.width).mask, disc(200, (100, 100), 60)) > 0.85


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_an_outline_that_runs_off_the_page_is_closed_along_its_edge(segment):
    found = find_lines(draw_disc(200, (200, 100), 70))
    assert iou(segment(found.ink, found.width).mask, disc(200, (200, 100), 70)) > 0.85


@pytest.mark.parametrize("segment", SEGMENTERS)
def test_a_stick_man_has_a_foreground_round_his_strokes(segment):
    page = np.full((200, 200, 3), 255, np.uint8)
    cv2.line(page, (100, 40), (100, 130), (0, 0, 0), 3)
    cv2.line(page, (60, 70), (140, 70), (0, 0, 0), 3)
    cv2.line(page, (100, 130), (70, 180), (0, 0, 0), 3)
    cv2.line(page, (100, 130), (130, 180), (0, 0, 0), 3)
    found = find_lines(page)
    mask = segment(found.ink, found.width).mask
    assert mask[(found.ink > 0.5)].mean() > 0.9
    assert mask.mean() < 0.4


@pytest.mark.parametrize("segment", [classical.photo_by_grabcut, foreground.photo_foreground])
def test_a_disc_on_a_plain_ground_is_found_in_a_photo(segment):
    image = photo_of_disc(160, (80, 84), 42)
    assert iou(segment(image).mask, disc(160, (80, 84), 42)) > 0.85


@pytest.mark.parametrize("tone", [0, 77, 255])
def test_a_flat_photo_gives_a_mask_without_error(tone):
    found = regions.photo_foreground(np.full((90, 120, 3), tone, np.uint8))
    assert found.mask.shape == (90, 120) and found.mask.dtype == bool


def test_parts_of_a_sketch_cover_everything_once():
    page = draw_disc(200, (100, 100), 70)
    cv2.line(page, (100, 30), (100, 170), (0, 0, 0), 3)
    found = find_lines(page)
    mask = disc(200, (100, 100), 70)
    labels = partition.sketch_parts(found.ink, mask)
    assert labels.dtype == np.int32 and labels.min() == 1
    halves = np.unique(labels[mask])
    assert len(halves) == 2
    left, right = (labels == halves[0]).sum(), (labels == halves[1]).sum()
    assert 0.8 < left / right < 1.25
    assert (labels[~mask] == labels.max()).all() and labels.max() == 3


def test_parts_of_a_photo_keep_to_their_side():
    image = photo_of_disc(128)
    image[40:80, 60:70] = (20, 200, 60)
    mask = disc(128, (60, 70), 30)
    labels = partition.photo_parts(image, mask, parts=4)
    assert labels.min() >= 1 and not set(np.unique(labels[mask])) & set(np.unique(labels[~mask]))
    assert len(np.unique(labels[mask])) <= 4
    green = labels[45:75, 62:68]
    assert np.bincount(green.ravel()).max() > 0.9 * green.size


def test_describe_measures_a_square():
    labels = np.zeros((60, 60), np.int32)
    labels[10:30, 20:40] = 3
    image = np.zeros((60, 60, 3), np.uint8)
    image[10:30, 20:40] = (10, 20, 30)
    (region,) = partition.describe(labels, image, labels > 0)
    assert region.label == 3 and region.foreground and region.area == 400
    assert region.perimeter == pytest.approx(76, abs=1) and region.centroid == (19.5, 29.5)
    assert region.box == (10, 20, 30, 40) and region.color == (10, 20, 30)
    assert 0.7 < region.compactness <= 1.0


def region(label, foreground, area, centroid, box=(0, 0, 100, 100)):
    return Region(label, foreground, area, 4 * area**0.5, 0.8, centroid, box, (0, 0, 0))


def test_matching_pairs_like_with_like_and_never_crosses_sides():
    sketch = [region(1, True, 900, (20, 20)), region(2, True, 100, (80, 80)), region(3, False, 5000, (50, 50))]
    reference = [region(7, True, 110, (78, 82)), region(8, True, 950, (22, 18)), region(9, False, 4000, (50, 50))]
    found = matching.match_regions(sketch, reference)
    assert [(m.sketch, m.reference) for m in found] == [(1, 8), (2, 7), (3, 9)]
    for match in found:
        assert set(match.terms) == {"area", "perimeter", "compactness", "centroid"} and match.reason
        weighted = sum(matching.TERM_WEIGHTS[k] * v for k, v in match.terms.items())
        assert match.cost == pytest.approx(weighted, abs=1e-3)


def test_leftover_sketch_regions_share_the_nearest_partner_of_their_side():
    sketch = [region(i, True, 300, (10 * i, 50)) for i in range(1, 5)]
    reference = [region(7, True, 1200, (50, 50)), region(8, False, 900, (50, 50))]
    found = matching.match_regions(sketch, reference)
    assert len(found) == 4 and {m.reference for m in found} == {7}


@pytest.mark.parametrize("mirror", [False, True])
def test_alignment_lays_figure_on_figure(mirror):
    sketch_mask = disc(200, (110, 90), 50) | disc(200, (60, 130), 25)
    reference_mask = disc(160, (80, 70), 36) | disc(160, (44, 100), 18)
    if mirror:
        reference_mask = reference_mask[:, ::-1].copy()
    reference = np.zeros((160, 160, 3), np.uint8)
    reference[reference_mask] = 200
    found = alignment.align(sketch_mask, reference_mask, np.zeros((200, 200), np.float32), reference)
    assert found.mirrored is mirror
    carried = underpainting.sample(reference_mask.astype(np.float32), found.figure) > 0.5
    assert iou(carried, sketch_mask) > 0.93
    assert found.folded <= alignment.MOST_FOLDED


def test_of_several_figures_the_one_that_suits_the_sketch_is_taken():
    round_one, bar = disc(160, (50, 50), 30), np.zeros((160, 160), bool)
    bar[130:142, 10:150] = True
    reference = np.zeros((160, 160, 3), np.uint8)
    ink = np.zeros((120, 120), np.float32)
    both = round_one | bar
    taken = placement.main_figure(disc(120, (60, 60), 40), both, (), ink, reference)
    assert (taken == round_one).all()
    assert (placement.main_figure(disc(120, (60, 60), 40), both, (round_one,), ink, reference) == round_one).all()
    two = disc(120, (30, 30), 20) | disc(120, (90, 90), 20)
    assert (placement.main_figure(two, both, (), ink, reference) == both).all()


@pytest.mark.parametrize("kind", ["empty", "tiny", "everything"])
def test_alignment_survives_an_unusable_reference_figure(kind):
    mask = np.zeros((80, 100), bool)
    if kind == "tiny":
        mask[3, 3] = True
    if kind == "everything":
        mask[:] = True
    reference = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    sketch_mask = disc(120, (60, 60), 30)
    found = alignment.align(sketch_mask, mask, np.zeros((120, 120), np.float32), reference)
    assert np.isfinite(found.figure).all() and np.isfinite(found.ground).all()


def test_push_pull_fills_smoothly_and_keeps_what_is_known():
    image = np.zeros((64, 64, 3), np.float32)
    image[:, 32:] = 100
    known = np.ones((64, 64), bool)
    known[20:40, 20:30] = False
    image[~known] = 9999
    filled = completion.push_pull(image, known)
    assert (filled[known] == image[known]).all()
    assert filled.max() <= 100.01 and filled.min() >= -0.01


def test_completion_continues_a_texture():
    rows = np.arange(96)[:, None, None]
    stripes = np.where((rows // 6) % 2, 200.0, 50.0) * np.ones((1, 96, 3))
    known = np.ones((96, 96), bool)
    known[30:60, 34:62] = False
    image = np.where(known[..., None], stripes, 0).astype(np.float32)
    filled = completion.complete(image, known)
    assert (filled[known] == image[known]).all()
    smooth = completion.push_pull(image, known)
    error, plain = (np.abs(f - stripes)[~known].mean() for f in (filled, smooth))
    assert error < 0.6 * plain
    assert (completion.complete(image, np.ones((96, 96), bool)) == image).all()


def test_underpainting_shows_the_figure_in_the_sketch_and_ground_outside():
    red, blue = (220, 40, 30), (40, 90, 200)
    reference, reference_mask = photo_of_disc(128, (50, 80), 26, red, blue), disc(128, (50, 80), 26)
    page = draw_disc(128, (70, 50), 40)
    ink, sketch_mask = find_lines(page).ink, disc(128, (70, 50), 40)
    placed = alignment.align(sketch_mask, reference_mask, ink, reference)
    parts = regions.find_parts(page, ink, sketch_mask, reference, reference_mask, most=3)
    matches = regions.match(parts, placed, sketch_mask)
    under, trust = underpainting.underpaint(
        reference, reference_mask, sketch_mask, placed, parts.sketch_map, parts.reference_map, matches
    )
    inside, outside = disc(128, (70, 50), 36), ~disc(128, (70, 50), 44)
    assert np.abs(under[inside].astype(int) - red).max(1).mean() < 12
    assert np.abs(under[outside].astype(int) - blue).max(1).mean() < 12
    assert trust.shape == (128, 128) and trust.min() >= 0 and trust.max() <= 1 and trust[inside].mean() > 0.6


def test_segmentation_does_not_depend_on_small_changes():
    page = draw_disc(200, (100, 100), 60)
    shifted = np.roll(page, 2, axis=1)
    masks = []
    for image in (page, shifted):
        found = find_lines(image)
        masks.append(foreground.sketch_foreground(found.ink, found.width).mask)
    assert iou(np.roll(masks[0], 2, axis=1), masks[1]) > 0.98


def test_a_figure_found_with_its_surroundings_is_told_from_them_by_colour():
    picture = np.full((120, 160, 3), (20, 25, 40), np.uint8)
    cv2.ellipse(picture, (80, 60), (70, 40), 0, 0, 360, (60, 90, 150), -1)
    surroundings = picture[..., 2] > 100
    cv2.rectangle(picture, (72, 25), (88, 95), (240, 220, 180), -1)
    bar = picture[..., 0] > 200
    page = np.full((160, 100, 3), 255, np.uint8)
    cv2.rectangle(page, (38, 20), (62, 140), (0, 0, 0), 2)
    drawing = find_lines(page)
    mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
    chosen = regions.main_figure(mask, surroundings | bar, [], drawing.ink, picture)
    assert (chosen & bar).sum() / (chosen | bar).sum() > 0.9
    fitting = np.zeros_like(bar)  # a figure that fits is left as it is
    fitting[20:100, 64:96] = True
    assert (regions.main_figure(mask, fitting, [], drawing.ink, picture) == fitting).all()


@pytest.mark.parametrize(("drawn", "filled"), [(0, True), (150, True), (300, False)])
def test_a_hole_is_believed_where_a_line_is_drawn_around_it(drawn, filled):
    ink = np.zeros((200, 200), np.uint8)
    cv2.circle(ink, (100, 100), 80, 1, 3)
    if drawn:  # degrees of the inner circle that are drawn: the areas inside and outside it stay one
        cv2.ellipse(ink, (100, 100), (40, 40), 0, 0, drawn, 1, 3)
    likely = (disc(200, (100, 100), 80) & ~disc(200, (100, 100), 40)).astype(np.float32)
    assert foreground._by_areas(ink > 0, likely)[100, 100] == filled


@pytest.mark.parametrize(("fringe", "believed"), [(0, True), (12, True), (40, False)])
def test_closing_is_believed_off_the_page_where_the_network_sees_the_same(fringe, believed):
    closed = disc(160, (100, 140), 50)
    seen = closed.copy()
    seen[90:110, 60 - fringe : 70] = True  # between strokes that stand out, or a limb
    assert foreground._agree(closed, seen) == believed
    assert not foreground._agree(closed, ~closed)  # the other side of the line


@pytest.mark.parametrize("kind", ["photo", "sketch"])
def test_folded_normalisation_gives_the_same_figure(kind):
    torch.manual_seed(1)
    network = (networks.PhotoNet() if kind == "photo" else networks.SketchNet()).train()
    planes = torch.rand(4, 3 if kind == "photo" else 5, 96, 96)
    for _ in range(3):
        network(planes)
    network.eval()
    with torch.no_grad():
        before = network(planes)
        after = networks.without_batch_norm(network)(planes)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    assert torch.allclose(before, after, atol=1e-4 * float(before.abs().max()))
