"""Style transfer in little memory and in rounder numbers: tiles, sparing plans and bfloat16 against the plain way."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest import photo_of_disc

from sketchcolor.errors import SettingsError
from sketchcolor.settings import StyleSettings
from sketchcolor.style.backbones import load_backbone
from sketchcolor.style.memory import PICTURES, WHOLE, bytes_per_pixel, make_plan
from sketchcolor.style.objective import Job, Objective, Style, find_goals
from sketchcolor.style.statistics import index_regions, statistics
from sketchcolor.styling import stylize

FAST = StyleSettings(size=48, steps=12, backbone="filters", scales=1)


@pytest.mark.parametrize(
    ("name", "size"), [*((n, s) for n in ("compact", "filters") for s in ((150, 203), (256, 97))), ("vgg19", (720, 41))]
)
def test_tiled_losses_and_gradients_are_the_untiled_ones(name, size):
    torch.manual_seed(2)
    backbone = load_backbone(name, random=name == "vgg19")
    image, content, style = (torch.rand(1, 3, *size), torch.rand(1, 3, *size), torch.rand(1, 3, 190, 120))
    masks = torch.zeros(2, *size)
    masks[0, :, : size[1] // 3], masks[1, :, size[1] // 3 :] = 1, 1
    given = torch.ones(2, 190, 120)
    given[0, 60:] = 0
    job = Job(content, masks, [Style(style, given)], [0.4, 0.6], [content], torch.rand(1, 1, *size))
    settings = StyleSettings(content_weight=0.3, anchor_weight=2.0, pull_weight=0.1)
    layers = backbone.style_layers, backbone.content_layers
    values, gradients = [], []
    for tile in (None, 64):
        goals = find_goals(job, backbone, settings, size, layers, tile)
        objective = Objective(job, backbone, settings, goals, layers, size, tile)
        x = image.clone().requires_grad_(True)
        values.append(objective.backward(x))
        gradients.append(x.grad)
        assert objective.value(image) == pytest.approx(sum(values[-1].values()), rel=1e-4)
    assert set(values[0]) == set(values[1])
    for term, value in values[0].items():
        assert values[1][term] == pytest.approx(value, rel=1e-4), term
    assert torch.allclose(gradients[0], gradients[1], atol=1e-3 * float(gradients[0].abs().max()))


def test_a_memory_limit_makes_a_plan_or_says_what_is_needed():
    backbone = load_backbone("filters")
    layers = backbone.style_layers
    assert make_plan(backbone, layers, (512, 512), 64.0, "cpu").tile is None
    each = bytes_per_pixel(backbone, layers, "cpu")
    enough = (2048 * 2048 * PICTURES + 600 * 600 * WHOLE * each) / 2**30
    side = make_plan(backbone, layers, (2048, 2048), enough, "cpu").tile
    assert side is not None and side % 16 == 0 and 400 < side < 600
    with pytest.raises(SettingsError, match="GiB"):
        make_plan(backbone, layers, (4096, 4096), 0.5, "cpu")
    with pytest.raises(SettingsError, match="cannot work in tiles"):
        make_plan(load_backbone("resnet50", random=True), ("stage2",), (4096, 4096), 1.0, "cpu")
    seen = []
    settings = dataclasses.replace(
        FAST, size=300, steps=2, max_memory=(300**2 * PICTURES + 170**2 * WHOLE * each) / 2**30
    )
    stylize(photo_of_disc(300), photo_of_disc(300, seed=4), settings=settings, progress=lambda p: seen.append(p.stage))
    assert seen[0].startswith("tiles of")


@pytest.mark.parametrize("name", ["compact", "vgg19"])
def test_a_sparing_plan_keeps_less_and_gives_the_same_gradient(name):
    backbone = load_backbone(name, random=True)
    layers = backbone.style_layers
    each = bytes_per_pixel(backbone, layers, "cpu")
    plan = make_plan(backbone, layers, (1024, 1024), 1024**2 * WHOLE * each / 2**30, "cpu")
    assert plan.sparing and plan.tile is None and plan.text
    assert bytes_per_pixel(plan.backbone, layers, "cpu") < 0.8 * each
    picture = torch.rand(1, 3, 96, 80)
    gradients = []
    for network in (backbone, plan.backbone):
        x = picture.clone().requires_grad_(True)
        sum(f.square().mean() for f in network(x, layers).values()).backward()
        gradients.append(x.grad)
    assert torch.equal(*gradients)


def test_bfloat16_features_are_those_of_float32_but_for_rounding():
    x, masks = torch.rand(1, 3, 64, 80), torch.ones(1, 64, 80)
    found = {}
    for precision in ("float32", "bfloat16"):
        backbone = load_backbone("compact", precision=precision)
        features = backbone(x, backbone.style_layers)
        found[precision] = {k: statistics(f, index_regions(masks, f.shape[-2:])) for k, f in features.items()}
    for layer, exact in found["float32"].items():
        rounded = found["bfloat16"][layer]
        assert rounded.second.dtype == torch.float32
        assert float((rounded.second - exact.second).norm() / exact.second.norm()) < 0.05


@pytest.mark.parametrize("regions", [1, 3])
def test_statistics_of_rounded_features_are_exact_but_for_the_sums_rounding(regions):
    torch.manual_seed(4)
    rows = torch.arange(47) * regions // 47
    masks = torch.stack([(rows == r).float()[:, None].expand(47, 61) for r in range(regions)])
    values = torch.rand(1, 24, 47, 61).bfloat16()  # more pixels than BUNCH, and not a multiple of it
    pull = torch.randn(24, 24)
    found = []
    for kind in (torch.float32, torch.bfloat16):
        features = values.to(kind).requires_grad_(True)
        made = statistics(features, index_regions(masks, (47, 61)))
        (made.mean.sum() + (made.second * (pull + pull.T)).sum()).backward()
        found.append((made.mean.detach(), made.second.detach(), features.grad.float()))
    # Covariances of channels that have nothing to do with each other are what is left of far larger products.
    for (exact, rounded), most in zip(zip(*found, strict=True), (1e-3, 2e-2, 1e-2), strict=True):
        assert float((rounded - exact).norm() / exact.norm()) < most


@pytest.mark.parametrize("quick", [True, False])
def test_automatic_precision_follows_the_processor(quick, monkeypatch):
    monkeypatch.setattr("sketchcolor.style.backbones.bfloat16_is_quick", lambda device: quick)
    for precision, kind in (("auto", torch.bfloat16 if quick else torch.float32), ("float32", torch.float32)):
        backbone = load_backbone("filters", precision=precision)
        assert {f.dtype for f in backbone(torch.rand(1, 3, 32, 32), backbone.layers).values()} == {kind}
