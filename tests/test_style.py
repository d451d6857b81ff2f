"""Statistics, losses, the loop and the modes, against independent oracles; no trained weights are needed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import photo_of_disc

from sketchcolor.errors import ImageError, SettingsError, WeightsError
from sketchcolor.settings import StyleSettings
from sketchcolor.style import losses, maps, modes
from sketchcolor.style.backbones import load_backbone
from sketchcolor.style.compact import CompactEncoder, layer_names
from sketchcolor.style.statistics import index_regions, statistics
from sketchcolor.style.transfer import Job, Style, to_image, to_tensor, transfer
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


def test_compact_encoder_folds_its_batch_normalisation_exactly():
    torch.manual_seed(3)
    network = CompactEncoder((4, 6), (2, 1), batch_norm=True)
    network.train()
    for _ in range(3):
        network(torch.rand(4, 3, 16, 16), ["relu2_1"])
    network.eval()
    x = torch.rand(1, 3, 21, 17)
    ours, plain = network(x, layer_names((2, 1))), network.fold()(x, layer_names((2, 1)))
    for name, features in ours.items():
        assert torch.allclose(features, plain[name], atol=1e-4)


@pytest.mark.parametrize("side", [1, 16, 33])
def test_compact_takes_any_size(side):
    backbone = load_backbone("compact", random=True)
    found = backbone(torch.rand(1, 3, side, side + 3), backbone.layers)
    assert list(found) == list(backbone.layers)
    assert all(torch.isfinite(f).all() for f in found.values())


@pytest.mark.parametrize("name", ["vgg16", "alexnet", "resnet50", "squeezenet1_0", "efficientnet_b0"])
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
