"""Statistics, losses, the loop and the modes, against independent oracles; no trained weights are needed."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch
from conftest import photo_of_disc

from sketchcolor.errors import ImageError, SettingsError, WeightsError
from sketchcolor.settings import StyleSettings
from sketchcolor.style import losses, maps, modes
from sketchcolor.style.backbones import load_backbone
from sketchcolor.style.compact import (
    DIRECTIONS,
    MIXED,
    MIXED_FROM,
    CompactEncoder,
    layer_names,
)
from sketchcolor.style.objective import Job, Style
from sketchcolor.style.pixels import to_image, to_tensor
from sketchcolor.style.statistics import index_regions, statistics
from sketchcolor.style.transfer import transfer
from sketchcolor.styling import stylize

FAST = StyleSettings(size=48, steps=12, backbone="filters", scales=1)


def oracle(features, mask, kind):
    """Statistics by the definition, in float64 numpy."""
    f = features[0].detach().double().numpy().reshape(features.shape[1], -1)
    w = mask.double().numpy().ravel()
    w = w / w.sum()
    mean = (f * w).sum(1)
    gram = (f * w) @ f.T
    return (mean, gram - np.outer(mean, mean)) if kind == "moments" else (mean, gram)


@pytest.mark.parametrize("kind", ["moments", "gram"])
def test_statistics_agree_with_the_definition(kind):
    torch.manual_seed(0)
    features = torch.rand(1, 5, 12, 10)
    masks = torch.zeros(2, 12, 10)
    masks[0, :, :4] = 1
    masks[1, :, 4:] = 1
    found = statistics(features, index_regions(masks, (12, 10)), kind)
    for r in range(2):
        mean, second = oracle(features, masks[r], kind)
        assert np.allclose(found.second[r].numpy(), second, atol=1e-5)
        if kind == "moments":
            assert np.allclose(found.mean[r].numpy(), mean, atol=1e-5)


def test_gradient_of_statistics_agrees_with_finite_differences():
    torch.manual_seed(1)
    masks = torch.rand(3, 8, 9)
    region = index_regions(masks, (4, 5), pull=0.2)

    def value(x):
        found = statistics(x, region)
        return (found.mean**2).sum() + (found.second**3).sum()

    x = torch.rand(1, 3, 4, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(value(x), x)
    direction = torch.randn_like(x)
    step = 1e-2
    with torch.no_grad():
        numeric = (value(x + step * direction) - value(x - step * direction)) / (2 * step)
    assert float((gradient * direction).sum()) == pytest.approx(float(numeric), rel=2e-2)


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(("block", "bunch"), [(2**21, 256), (3 * 2**10, 256), (3 * 2**10, 2**10)])
def test_gradient_of_many_pixels_agrees_with_the_plain_sums(apart, block, bunch, monkeypatch):
    """Several bunches and blocks of each region, an empty region, pixels of none, and of more than one."""
    monkeypatch.setattr("sketchcolor.style.statistics.BLOCK", block)
    monkeypatch.setattr("sketchcolor.style.statistics.BUNCH", bunch)
    torch.manual_seed(2)
    masks = torch.zeros(4, 30, 41)
    masks[0, :20, :30], masks[2, 22:, 5:] = 0.9, 1
    masks[3, :3] = torch.rand(3, 41)
    if apart:
        masks[0] *= masks[3] == 0
    region = index_regions(masks, (30, 41), pull=0.0)
    assert region.lengths[1] == 0 and (region.bunches.places is not None) == apart
    x = torch.rand(1, 4, 30, 41, requires_grad=True)
    flat = x[0].flatten(1).T
    parts = zip(region.index.split(region.lengths), region.weight.split(region.lengths), strict=True)
    means, seconds = [], []
    for index, weight in parts:
        rows = flat[index]
        means.append((weight * rows).sum(0))
        seconds.append((weight * rows).T @ rows - torch.outer(means[-1], means[-1]))
    found, gradients = statistics(x, region), []
    assert torch.allclose(found.mean, torch.stack(means), atol=1e-5)
    assert torch.allclose(found.second, torch.stack(seconds), atol=1e-5)
    for mean, second in ((found.mean, found.second), (torch.stack(means), torch.stack(seconds))):
        gradients.append(torch.autograd.grad((mean**3).sum() + (second**2).sum(), x)[0])
    assert torch.allclose(*gradients, atol=1e-3 * float(gradients[1].abs().max()))


def test_regions_do_not_leak_into_each_other():
    masks = torch.zeros(2, 16, 16)
    masks[0, :, :7] = 1
    masks[1, :, 7:] = 1
    region = index_regions(masks, (4, 4))
    shared = set(region.index[: region.lengths[0]].tolist()) & set(region.index[region.lengths[0] :].tolist())
    assert not shared
    ends = np.cumsum([0, *region.lengths])
    sums = [float(region.weight[a:b].sum()) for a, b in zip(ends, ends[1:], strict=False)]
    assert sums == pytest.approx([1, 1])


def test_a_region_without_pixels_is_left_out_of_the_loss():
    masks = torch.zeros(2, 8, 8)
    masks[0] = 1
    found = statistics(torch.rand(1, 3, 8, 8), index_regions(masks, (8, 8)))
    assert found.present == (True, False)
    assert float(losses.style_loss(found, found, [1.0, 1.0])) == 0


def test_a_style_that_is_reached_pulls_nowhere():
    features = torch.rand(1, 8, 6, 6, requires_grad=True)
    whole = index_regions(torch.ones(1, 6, 6), (6, 6))
    losses.style_loss(statistics(features, whole), statistics(features.detach(), whole), [1.0]).backward()
    assert (features.grad == 0).all()


def test_losses_by_hand():
    a, b = torch.full((1, 2, 3, 3), 3.0), torch.full((1, 2, 3, 3), 2.0)
    assert float(losses.content_loss(a, b)) == pytest.approx(1 / 4)
    trust = torch.zeros(1, 1, 3, 3)
    trust[..., 0] = 1
    assert float(losses.content_loss(a, b, trust)) == pytest.approx(1 / 12)
    image = torch.tensor([[0.0, 1.0], [0.0, 1.0]]).expand(1, 3, 2, 2)
    assert float(losses.total_variation(image)) == pytest.approx(3.0)  # grey: no colour differences
    assert float(losses.pull_to_mean(image)) == pytest.approx(0.25)
    assert float(losses.box_penalty(torch.tensor([[[[-1.0, 0.5], [1.5, 1.0]]]]))) == pytest.approx(1.25 / 4)


@pytest.mark.parametrize("size", [(5, 4), (1, 6), (3, 1)])
def test_total_variation_knows_its_own_gradient(size):
    image = torch.rand(1, 3, *size, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses.total_variation, image)
    expected = 0.0
    for dim in (2, 3):
        change = image.detach().diff(dim=dim)
        if change.numel():
            grey = change.mean(dim=1, keepdim=True)
            expected += 3 * grey.square().mean() + losses.CHROMA_WEIGHT * (change - grey).square().mean()
    assert float(losses.total_variation(image).detach()) == pytest.approx(float(expected))


def test_compact_encoder_folds_its_batch_normalisation_exactly():
    torch.manual_seed(3)
    network = CompactEncoder(batch_norm=True)
    network.train()
    for _ in range(3):
        network(torch.rand(4, 3, 32, 32), ["relu3_2"])
    network.eval()
    x = torch.rand(1, 3, 21, 17)
    ours, plain = network(x, layer_names()), network.fold()(x, layer_names())
    assert tuple(ours) == layer_names()
    for name, features in ours.items():
        assert torch.allclose(features, plain[name], atol=1e-3 * float(features.detach().abs().max()))


def test_compact_sees_each_pixel_and_its_values_lie_where_the_teachers_lie():
    network = CompactEncoder()
    torch.nn.init.constant_(network.convs["1_1"].weight, 1.0)  # the values are sums of windows of 3 x 3
    torch.nn.init.zeros_(network.convs["1_1"].bias)
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    values = network(x, ["relu1_1"])["relu1_1"][0, 0]
    (one,) = torch.autograd.grad(values[0, 0], x, retain_graph=True)
    assert one[0, 0].nonzero().tolist() == [[row, column] for row in range(3) for column in range(3)]  # around pixel 1
    (every,) = torch.autograd.grad(values.sum(), x)
    assert (every > 0).all()


def test_a_few_random_directions_tell_covariances_apart_as_all_channels_do():
    torch.manual_seed(5)
    backbone = load_backbone("compact")
    pictures = [torch.nn.functional.interpolate(torch.rand(1, 3, n, n), (96, 96), mode="bicubic") for n in (6, 12, 48)]
    whole = index_regions(torch.ones(1, 12, 12), (12, 12))
    found = [backbone(picture.clamp(0, 1), (MIXED_FROM, MIXED)) for picture in pictures]
    assert found[0][MIXED].shape[1] == DIRECTIONS < found[0][MIXED_FROM].shape[1]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        gaps = {
            layer: float(losses.style_loss(*(statistics(found[n][layer], whole) for n in (one, other)), [1.0]))
            for layer in (MIXED_FROM, MIXED)
        }
        assert 0.6 * gaps[MIXED_FROM] < gaps[MIXED] < 1.6 * gaps[MIXED_FROM]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 49), (21, 35), (4, 4), (3, 9)])
def test_compact_gives_the_same_where_its_first_stages_are_made_in_one_go(size, precision):
    torch.manual_seed(6)
    backbone = load_backbone("compact", precision=precision)
    image = torch.rand(1, 3, *size, requires_grad=True)
    asked = backbone.style_layers
    quick, plain = backbone(image, asked), backbone(image, backbone.layers)  # all layers: one by one
    gradients = []
    for found in (quick, plain):
        loss = sum(
            (found[name] * torch.linspace(0, 1, found[name].numel()).view_as(found[name])).mean() for name in asked
        )
        gradients.append(torch.autograd.grad(loss, image)[0])
    most = 1e-5 if precision == "float32" else 0.03
    for name in asked:
        assert float((quick[name] - plain[name]).detach().norm() / plain[name].detach().norm()) < most
    # Values next to nothing fall on this or that side of it, and the root of squares is steep there.
    assert float((gradients[0] - gradients[1]).norm() / gradients[1].norm()) < (0.01 if most < 0.01 else 0.1)


@pytest.mark.parametrize("side", [1, 16, 33])
def test_compact_takes_any_size(side):
    backbone = load_backbone("compact", random=True)
    found = backbone(torch.rand(1, 3, side, side + 3), backbone.layers)
    assert list(found) == list(backbone.layers)
    assert all(torch.isfinite(f).all() for f in found.values())


NETWORKS = ["vgg19", "vgg16", "alexnet", "resnet50", "squeezenet1_0", "inception_v3", "efficientnet_b0"]


@pytest.mark.parametrize("name", NETWORKS)
def test_torchvision_backbones_give_their_named_layers(name):
    backbone = load_backbone(name, random=True)
    x = torch.rand(1, 3, 96, 96, requires_grad=True)
    found = backbone(x, [*backbone.style_layers, *backbone.content_layers])
    assert set(found) == {*backbone.style_layers, *backbone.content_layers}
    sum(f.square().sum() for f in found.values()).backward()
    assert torch.isfinite(x.grad).all() and x.grad.abs().sum() > 0


def test_unknown_layers_and_missing_weights_are_said_in_one_line(monkeypatch, tmp_path):
    with pytest.raises(SettingsError, match="relu9_9"):
        load_backbone("filters").choose("relu9_9", ())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="models fetch vgg19"):
        load_backbone("vgg19")


def test_damaged_weights_are_refused(tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    with pytest.raises(WeightsError):
        load_backbone("compact", weights=bad)


def test_transfer_moves_each_region_towards_its_own_style():
    red, blue = np.full((48, 48, 3), (200, 40, 40), np.uint8), np.full((48, 48, 3), (40, 40, 200), np.uint8)
    style = np.hstack([red[:, :24], blue[:, :24]])
    content = np.full((48, 48, 3), 120, np.uint8)
    left = np.where(np.arange(48)[None].repeat(48, 0) < 24, 1, 2).astype(np.int32)
    settings = dataclasses.replace(FAST, steps=60, content_weight=0.0)
    outcome = modes.by_region(content, style, left, left, [([1], [2]), ([2], [1])], load_backbone("filters"), settings)
    image = to_image(outcome.image).astype(int)
    assert image[8:40, 4:20, 2].mean() > image[8:40, 4:20, 0].mean() + 40
    assert image[8:40, 28:44, 0].mean() > image[8:40, 28:44, 2].mean() + 40
    assert outcome.losses[-1]["total"] < 0.6 * outcome.losses[0]["total"]


def test_same_seed_same_picture_to_the_byte():
    settings = dataclasses.replace(FAST, init="noise", seed=3)
    pictures = [stylize(photo_of_disc(48), photo_of_disc(48, seed=2), settings=settings).image for _ in range(2)]
    assert (pictures[0] == pictures[1]).all()
    other = dataclasses.replace(settings, seed=4)
    assert (stylize(photo_of_disc(48), photo_of_disc(48, seed=2), settings=other).image != pictures[0]).any()


def test_stopping_keeps_the_best_so_far():
    seen = []

    def watch(progress):
        seen.append(progress)
        return progress.step < 5

    result = stylize(photo_of_disc(48), photo_of_disc(48, seed=2), settings=FAST, progress=watch)
    assert result.stopped and len(result.losses) == 5 and len(seen) == 5
    assert result.image.shape == (48, 48, 3)


def test_the_result_is_the_best_picture_met():
    job = Job(
        to_tensor(photo_of_disc(32)),
        torch.ones(1, 32, 32),
        [Style(to_tensor(photo_of_disc(32, color=(9, 200, 9))), torch.ones(1, 32, 32))],
        [1.0],
    )
    wild = dataclasses.replace(FAST, rate=1.0, steps=6)
    outcome = transfer(job, load_backbone("filters"), wild)
    calm = transfer(
        dataclasses.replace(job, start=outcome.image), load_backbone("filters"), dataclasses.replace(FAST, steps=1)
    )
    assert calm.losses[0]["total"] <= min(entry["total"] for entry in outcome.losses) * 1.05


@pytest.mark.parametrize("mode", ["global", "segmented", "laplacian"])
def test_every_mode_gives_a_picture_of_the_contents_shape(mode):
    result = stylize(photo_of_disc(64)[:40], photo_of_disc(56, seed=1), mode=mode, settings=FAST)
    assert result.image.shape == (30, 48, 3) and result.losses and "style" in result.losses[0]


def test_segmented_with_maps_pairs_same_colours_and_reports_a_part_without_partner():
    content_map = np.zeros((40, 40, 3), np.uint8)
    content_map[:20] = (255, 0, 0)
    content_map[20:, :20] = (0, 255, 0)
    style_map = np.zeros((40, 40, 3), np.uint8)
    style_map[10:] = (250, 6, 3)
    result = stylize(
        photo_of_disc(40),
        photo_of_disc(40),
        mode="segmented",
        content_map=content_map,
        style_map=style_map,
        settings=FAST,
    )
    assert sum("no partner" in note for note in result.notes) == 1
    with pytest.raises(SettingsError, match="both maps"):
        stylize(photo_of_disc(40), photo_of_disc(40), mode="segmented", content_map=content_map, settings=FAST)


def test_maps_tolerate_noise_but_not_hundreds_of_colours(monkeypatch):
    rng = np.random.default_rng(0)
    clean = np.zeros((60, 60, 3), np.uint8)
    clean[:, 30:] = (255, 0, 0)
    noisy = np.clip(clean.astype(int) + rng.normal(0, 8, clean.shape), 0, 255).astype(np.uint8)
    (labels,) = maps.labels_from_colors([noisy])
    assert len(np.unique(labels)) == 2 and len(np.unique(labels[:, :28])) == 1
    steps = np.arange(0, 255, 36)
    many = np.array(np.meshgrid(steps, steps, steps)).reshape(3, -1).T.astype(np.uint8)
    palette = np.repeat(np.repeat(many.reshape(1, -1, 3), 8, axis=1), 40, axis=0)
    monkeypatch.setattr(maps, "SMALLEST_SHARE", 0.0)
    monkeypatch.setattr(maps, "SAME_COLOR", 20.0)
    with pytest.raises(ImageError, match="colours"):
        maps.labels_from_colors([palette])


def test_laplacian_levels_add_up_to_the_picture():
    image = photo_of_disc(64)
    levels = modes.laplacian_levels(image, 3)
    assert len(levels) == 3 and all(level.shape == image.shape for level in levels)
    assert abs(float(levels[0].mean()) - 127.5) < 3 and np.abs(levels[-1].mean() - image.mean()) < 3


def test_gatys_losses_agree_with_the_papers_formulas_in_value_and_gradient():
    torch.manual_seed(5)
    channels, height, width = 4, 6, 5
    pixels = height * width
    f = torch.rand(1, channels, height, width, dtype=torch.float64)
    target, style = torch.rand_like(f), torch.rand_like(f)
    everywhere = index_regions(torch.ones(1, height, width), (height, width))
    x = f.float().requires_grad_(True)
    found = losses.gatys_style_loss(
        statistics(x, everywhere, "gram"), statistics(style.float(), everywhere, "gram"), [1.0]
    )
    (gradient,) = torch.autograd.grad(found, x)
    rows, others = f[0].reshape(channels, -1).numpy(), style[0].reshape(channels, -1).numpy()
    gap = rows @ rows.T - others @ others.T
    scale = 4 * channels**2 * pixels**2
    assert found.item() == pytest.approx((gap**2).sum() / scale, rel=1e-4)
    assert np.allclose(gradient[0].reshape(channels, -1).numpy(), 4 * gap @ rows / scale, rtol=1e-3, atol=1e-7)
    x = f.float().requires_grad_(True)
    found = losses.gatys_content_loss(x, target.float())
    (gradient,) = torch.autograd.grad(found, x)
    assert found.item() == pytest.approx(0.5 * float((f - target).square().sum()), rel=1e-5)
    assert torch.allclose(gradient.double(), f - target, atol=1e-5)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_both_formulations_come_down_with_both_optimisers(optimizer):
    for formulation, weight in (("relative", 1.0), ("gatys", 1e6)):
        settings = dataclasses.replace(
            FAST, steps=25, optimizer=optimizer, formulation=formulation, style_weight=weight, content_weight=1e-3
        )
        found = stylize(photo_of_disc(48), photo_of_disc(48, color=(20, 200, 60)), settings=settings)
        assert found.losses[-1]["style"] < 0.5 * found.losses[0]["style"], (formulation, optimizer)


@pytest.mark.parametrize(("optimizer", "mode"), [("adam", "global"), ("lbfgs", "global"), ("adam", "laplacian")])
@pytest.mark.parametrize("stop", [4, 10, 17])
def test_a_resumed_run_ends_with_the_same_bytes(tmp_path, optimizer, mode, stop):
    settings = dataclasses.replace(FAST, steps=20, scales=2, optimizer=optimizer, statistics="gram")
    pictures = photo_of_disc(48), photo_of_disc(48, color=(20, 200, 60))
    whole = stylize(*pictures, mode=mode, settings=settings)
    kept = tmp_path / "run.safetensors"
    seen = []

    def watch(progress):
        seen.append(progress)
        return len(seen) < stop

    part = stylize(*pictures, mode=mode, settings=settings, progress=watch, checkpoint=kept)
    assert part.stopped
    again = stylize(*pictures, mode=mode, settings=settings, resume=kept)
    assert (again.image == whole.image).all()
    assert [e["total"] for e in again.losses] == [e["total"] for e in whole.losses]
    with pytest.raises(ImageError, match="other pictures or settings"):
        stylize(*pictures, mode=mode, settings=dataclasses.replace(settings, seed=9), resume=kept)
    kept.write_bytes(b"rubbish")
    with pytest.raises(ImageError, match="damaged"):
        stylize(*pictures, mode=mode, settings=settings, resume=kept)


def test_a_loss_that_runs_away_halves_the_step_and_says_so(monkeypatch):
    from sketchcolor.style import transfer as loop

    monkeypatch.setattr(loop, "RUN_AWAY", 1.02)
    wild = dataclasses.replace(FAST, rate=1.0, steps=12)
    found = stylize(photo_of_disc(48), photo_of_disc(48, color=(20, 200, 60)), settings=wild)
    assert any("halved" in note for note in found.notes)
    totals = [entry["total"] for entry in found.losses]
    assert totals[-1] <= 1.02 * min(totals)


def flat(color, side=40):
    return np.full((side, side, 3), color, np.uint8)


def test_several_styles_count_by_their_weights():
    settings = dataclasses.replace(FAST, steps=80, content_weight=0.0, tv_weight=0.0)
    red, blue = flat((220, 30, 30)), flat((30, 30, 220))
    pictures = [
        stylize(flat((120, 120, 120)), [red, blue], weights=w, settings=settings).image.astype(int)
        for w in ((1, 0), (1, 1), (0, 1))
    ]
    warmth = [(p[..., 0] - p[..., 2]).mean() for p in pictures]
    assert warmth[0] > warmth[1] + 20 > warmth[2] + 40
    alone = stylize(flat((120, 120, 120)), red, settings=settings).image
    assert np.abs(alone.astype(int) - pictures[0]).max() <= 1
    with pytest.raises(SettingsError, match="2 weights"):
        stylize(red, [red, blue], weights=[1], settings=settings)


def test_each_part_takes_from_the_style_whose_map_has_it():
    page_map = np.zeros((40, 40, 3), np.uint8)
    page_map[:, 20:] = (255, 0, 0)
    settings = dataclasses.replace(FAST, steps=80, content_weight=0.0, tv_weight=0.0)
    found = stylize(
        flat((120, 120, 120)),
        [flat((30, 200, 30)), flat((30, 30, 220))],
        mode="segmented",
        content_map=page_map,
        style_map=[flat((0, 0, 0)), flat((255, 0, 0))],
        settings=settings,
    )
    image = found.image.astype(int)
    assert image[6:34, 4:16, 1].mean() > image[6:34, 4:16, 2].mean() + 15
    assert image[6:34, 24:36, 2].mean() > image[6:34, 24:36, 1].mean() + 15
    assert not any("partner" in note for note in found.notes)


def test_a_doodle_is_painted_from_the_map_alone():
    style = np.hstack([flat((200, 40, 40))[:, :20], flat((40, 40, 200))[:, :20]])
    style_map = np.hstack([flat((255, 255, 255))[:, :20], flat((0, 0, 0))[:, :20]])
    target = np.vstack([flat((0, 0, 0))[:20], flat((255, 255, 255))[:30]])
    found = stylize(None, style, mode="doodle", content_map=target, style_map=style_map, settings=FAST)
    image = found.image.astype(int)
    assert image.shape[0] / image.shape[1] == pytest.approx(50 / 40, abs=0.06)
    assert (image[2:14, :, 2] - image[2:14, :, 0]).mean() > 35  # black above: blue
    assert (image[-20:, :, 0] - image[-20:, :, 2]).mean() > 35
    assert "content" not in found.losses[0]
    with pytest.raises(SettingsError, match="doodle"):
        stylize(style, style, mode="doodle", settings=FAST)
    with pytest.raises(SettingsError, match="content"):
        stylize(None, style, mode="global", settings=FAST)


def test_colours_of_the_content_can_be_kept():
    rng = np.random.default_rng(0)
    content = np.clip(photo_of_disc(48, color=(40, 160, 60)).astype(int) + rng.normal(0, 9, (48, 48, 3)), 0, 255)
    content, style = content.astype(np.uint8), photo_of_disc(48, color=(230, 20, 20), seed=3)
    from sketchcolor.style.colors import match_colors

    matched = match_colors(style, content).reshape(-1, 3).astype(float)
    assert np.abs(matched.mean(0) - content.reshape(-1, 3).mean(0)).max() < 6
    freely = dataclasses.replace(FAST, steps=150, content_weight=0.0)
    kept = stylize(content, style, settings=dataclasses.replace(freely, colors="luminance")).image
    plain = stylize(content, style, settings=freely).image

    def lab(image):
        return cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    moved = {name: np.abs(lab(image) - lab(content)).mean((0, 1)) for name, image in (("kept", kept), ("plain", plain))}
    assert moved["kept"][1:].max() < 3 < moved["kept"][0]
    assert moved["plain"][1:].max() > 2 * moved["kept"][1:].max()


def test_map_pixels_between_the_parts_are_counted():
    page_map = np.zeros((40, 40, 3), np.uint8)
    page_map[:, 20:] = (250, 0, 0)
    clean = stylize(flat(9), flat(200), mode="segmented", content_map=page_map, style_map=page_map, settings=FAST)
    page_map[0, :1] = (120, 255, 120)
    found = stylize(flat(9), flat(200), mode="segmented", content_map=page_map, style_map=page_map, settings=FAST)
    assert not any("pixels" in note for note in clean.notes)
    assert any("pixels" in note for note in found.notes)


def test_the_lowest_layer_alone_carries_colour_but_little_texture():
    rng = np.random.default_rng(1)
    blocks = np.where(rng.random((8, 8, 1)) < 0.5, (230, 200, 40), (20, 60, 120)).astype(np.uint8)
    blocks = np.repeat(np.repeat(blocks, 8, 0), 8, 1)
    backbone = load_backbone("compact")
    everywhere = torch.ones(1, 64, 64)

    def style_at(image, layer):
        features = backbone(to_tensor(image), [layer])[layer]
        return statistics(features, index_regions(everywhere, features.shape[-2:]))

    distances = {}
    for layers in ("relu1_1", ""):
        settings = StyleSettings(
            size=64, steps=100, scales=1, style_layers=layers, content_weight=0.0, tv_weight=0.0, init="noise"
        )
        image = stylize(flat((128, 128, 128), 64), blocks, settings=settings).image
        assert np.abs(image.mean((0, 1)) - blocks.mean((0, 1))).max() < 30
        for layer in ("relu1_1", "relu4_2"):
            gap = losses.style_loss(style_at(image, layer), style_at(blocks, layer), [1.0])
            distances[layers, layer] = float(gap)
    assert distances["relu1_1", "relu1_1"] < 0.1
    assert distances["relu1_1", "relu4_2"] > 2 * distances["", "relu4_2"]
