"""Trainings start, stop and go on; what they learn is measured by the benchmarks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import draw_disc, photo_of_disc

from sketchcolor.images import save_image
from sketchcolor.retrieval.network import MEAN, PENULTIMATE, PHOTO, SKETCH, STD, TwoTowers
from sketchcolor.style.compact import CompactEncoder
from sketchcolor.training import drawings, gallery, published, retrieval, style
from sketchcolor.training.pairs import Pair
from sketchcolor.weights import load_file


def test_a_style_training_goes_on_from_its_checkpoint(tmp_path):
    from safetensors.torch import save_file
    from torchvision.models import squeezenet1_0

    torch.manual_seed(0)
    save_file(squeezenet1_0().state_dict(), tmp_path / "teacher.safetensors")
    for number in range(3):
        save_image(tmp_path / "photos" / f"{number}.png", photo_of_disc(color=(80 * number, 120, 40)))

    def train(given, own):
        command = ["--photos", tmp_path / "photos", "--teacher", tmp_path / "teacher.safetensors", "--batch", 2]
        command += ["--side", 48, "--work", tmp_path / "work", "--out", tmp_path / "out"]
        style.train(style.parser().parse_args(map(str, [*command, "--feature-steps", given, "--own-steps", own])))
        return load_file(tmp_path / "out" / "style.safetensors")

    first, second = train(2, 0), train(2, 1)
    assert set(first) == set(CompactEncoder().state_dict())
    assert any(not torch.equal(first[name], second[name]) for name in first)
    steps = [json.loads(line)["step"] for line in (tmp_path / "work" / "style.log.jsonl").read_text().splitlines()]
    assert steps == [2, 3]
    assert all(np.isfinite(t.float().numpy()).all() for t in second.values())


def published_network():
    """Tensors of the published names and shapes, random."""
    torch.manual_seed(0)
    towers = TwoTowers()
    found = {"_fc.weight": 0.1 * torch.randn(1000, PENULTIMATE), "_fc.bias": torch.randn(1000)}
    for conv, (name, norm) in zip(towers.convs(PHOTO), published.names(16), strict=True):
        outputs = len(conv.weight)
        found[name + ".weight"] = torch.randn_like(conv.weight) / conv.weight[0].numel() ** 0.5
        for part in ("weight", "running_var"):
            found[f"{norm}.{part}"] = 0.5 + torch.rand(outputs)
        for part in ("bias", "running_mean"):
            found[f"{norm}.{part}"] = 0.1 * torch.randn(outputs)
    return found


def test_the_photo_side_is_the_published_network():
    network, towers = published_network(), TwoTowers()
    published.fill(towers, network)
    stem, image = towers.convs(PHOTO)[0], torch.rand(2, 3, 33, 40)
    x = (image - MEAN) / STD
    # Of 33 px at stride 2, windows of 3 begin one pixel early; of 40, they end one pixel late.
    plain = F.conv2d(F.pad(x, (0, 1, 1, 1)), network["_conv_stem.weight"], stride=2)
    statistics = [network[f"_bn0.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
    expected = F.relu6(F.batch_norm(plain, *statistics, eps=published.EPSILON))
    assert torch.allclose(stem(x, PHOTO), expected, atol=1e-5)
    assert torch.allclose(towers.features(image, PHOTO), towers.features(image, SKETCH), atol=1e-5)


def test_calibrated_channels_have_the_mean_and_deviation_that_they_were_trained_to_have():
    network, towers = published_network(), TwoTowers()
    norms = published.fill(towers, network)
    before = towers.features(pages := torch.rand(4, 3, 64, 64) ** 4, PHOTO)
    published.calibrate(towers, norms, SKETCH, pages)
    stem = towers.convs(SKETCH)[0]
    values = stem.raw((pages - MEAN) / STD, stem.weight * stem.scale[SKETCH], stem.offset[SKETCH])
    deviation, mean = torch.std_mean(values, dim=(0, 2, 3), correction=0)
    assert torch.allclose(mean, network["_bn0.bias"], atol=1e-4)
    assert torch.allclose(deviation, network["_bn0.weight"], rtol=0.02)
    assert torch.equal(towers.features(pages, PHOTO), before)
    assert not torch.allclose(towers.features(pages, SKETCH), before, atol=1e-2)


def test_contrast_wants_the_own_photo_and_its_class_and_ignores_what_is_nearly_the_same():
    class Labelled:
        pairs = (Pair(0, (0, 1), 0), Pair(1, (2,), 1))

    things = torch.eye(5)[[0, 1, 2, 3, 3]]  # the last two photos, which have no class, show the same thing
    photos = gallery.Photos(Labelled(), things, [things], (10 * torch.eye(5), torch.zeros(5)))
    wanted, ignored = photos.targets(torch.tensor([0, 3]), torch.tensor([0, 3, 0, 1, 2, 4]))
    share = gallery.OWN_SHARE
    assert wanted[0].tolist() == pytest.approx([share + (1 - share) / 2, 0, 0, (1 - share) / 2, 0, 0])
    assert wanted[1].tolist() == [0, 1, 0, 0, 0, 0]
    assert ignored.tolist() == [[False, False, True, False, False, False], [False] * 5 + [True]]


def test_a_retrieval_training_trains_the_sketch_side_alone_and_goes_on(tmp_path):
    from safetensors.torch import save_file

    torch.save(network := published_network(), tmp_path / "network.pth")
    for number in range(4):
        name, colour = f"n{number}", (60 * number, 120, 40)
        save_image(tmp_path / "drawn" / "photo" / f"c{number % 2}" / f"{name}.png", photo_of_disc(color=colour))
        drawing = draw_disc(120, (60, 60), 20 + 5 * number, 2)
        save_image(tmp_path / "drawn" / "sketch" / f"c{number % 2}" / f"{name}-1.png", drawing)
        save_image(tmp_path / "loose" / f"{name}.png", photo_of_disc(color=colour[::-1]))

    def train(steps, *more, work="work"):
        command = ["--sketches", tmp_path / "drawn", "--photos", tmp_path / "loose", "--batch", 4, "--labelled", 0.5]
        command += ["--network", tmp_path / "network.pth", "--work", tmp_path / work, "--out", tmp_path / "out"]
        retrieval.train(retrieval.parser().parse_args(map(str, [*command, "--steps", steps, *more])))
        return load_file(tmp_path / "out" / "retrieval.safetensors")

    first, second = train(1), train(2)
    assert set(first) == set(TwoTowers().state_dict())
    assert torch.equal(
        second["trunk.0.convs.0.weight"].float(), network["_blocks.8._expand_conv.weight"].half().float()
    )
    for name in ("entrance.photo.0.weight", "trunk.0.convs.0.scale.photo", "trunk.0.convs.0.weight"):
        assert torch.equal(first[name], second[name])
    for name in ("entrance.sketch.0.weight", "trunk.0.convs.0.offset.sketch", "look.weight", "centre.sketch"):
        assert not torch.equal(first[name], second[name])
    steps = [json.loads(line)["step"] for line in (tmp_path / "work" / "retrieval.log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    for number, weights in enumerate((first, second)):
        save_file(weights, tmp_path / f"{number}.safetensors")
    both = train(0, "--start", tmp_path / "0.safetensors", tmp_path / "1.safetensors", work="mean")
    middle = (first["look.weight"].float() + second["look.weight"].float()) / 2
    assert torch.allclose(both["look.weight"].float(), middle, atol=1e-4)


def test_a_drawing_off_the_page_is_a_part_of_it_that_ends_straight():
    rng = np.random.default_rng(0)
    lines = np.zeros((60, 80), np.float32)
    lines[10:50, 10:70] = rng.random((40, 60)).astype(np.float32)
    for _ in range(8):
        part = drawings.off_the_page(lines, rng)
        assert part.shape == lines.shape and 0.3 * lines.sum() < part.sum() < 0.8 * lines.sum()
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        assert (part[box] == lines[box]).all()
        assert (len(rows), len(columns)) in {(40, len(columns)), (len(rows), 60)}
