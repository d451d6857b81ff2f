"""Trainings start, stop and go on; what they learn is measured by the benchmarks."""

from __future__ import annotations

import json

import numpy as np
import torch
from conftest import photo_of_disc

from sketchcolor.images import save_image
from sketchcolor.style.compact import CompactEncoder
from sketchcolor.training import style
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
