"""What all trainings share: pictures in memory, a resumable run with a log and a curve, and release of weights."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sketchcolor.devices import bfloat16_is_quick

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def find_pictures(folders: Iterable[Path]) -> list[Path]:
    """All pictures below the folders, sorted, so that a seed means the same on every machine."""
    return sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def load_pictures(paths: Sequence[Path], *, longest: int = 256, quiet: bool = False) -> list[NDArray[np.uint8]]:
    """RGB uint8 pictures with their longer side at most `longest` px; unreadable files are left out."""
    pictures = []
    for number, path in enumerate(paths, 1):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            continue
        scale = longest / max(picture.shape[:2])
        if scale < 1:
            size = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        pictures.append(np.ascontiguousarray(picture[..., ::-1]))
        if not quiet and (number % 500 == 0 or number == len(paths)):
            say(f"\rreading pictures {number}/{len(paths)}", end="" if number < len(paths) else "\n")
    return pictures


def say(text: str, *, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


def random_crop(
    picture: NDArray[np.uint8],
    side: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float] = (0.4, 1.0),
) -> NDArray[np.uint8]:
    """A square crop of random size and place, resized to `side`, mirrored half the time."""
    height, width = picture.shape[:2]
    span = max(8, int(min(height, width) * rng.uniform(*scale)))
    top, left = rng.integers(0, height - span + 1), rng.integers(0, width - span + 1)
    crop = picture[top : top + span, left : left + span]
    how = cv2.INTER_AREA if span > side else cv2.INTER_LINEAR
    crop = cv2.resize(crop, (side, side), interpolation=how)
    return np.ascontiguousarray(crop[:, ::-1]) if rng.random() < 0.5 else crop


def to_tensor(pictures: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """uint8 (H, W, 3) pictures of one size -> float32 (B, 3, H, W) in [0, 1], channels last."""
    batch = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return batch.contiguous(memory_format=torch.channels_last)


def prefetch(make: Callable[[int], Any], start: int, stop: int, *, workers: int = 1) -> Iterator[tuple[int, Any]]:
    """Yield (step, make(step)) with the next batches made in threads; make(step) must depend on step alone."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        ahead = [pool.submit(make, s) for s in range(start, min(start + workers + 1, stop))]
        for step in range(start, stop):
            value = ahead.pop(0).result()
            if (following := step + workers + 1) < stop:
                ahead.append(pool.submit(make, following))
            yield step, value


def cosine_rate(step: int, steps: int, peak: float, *, warm_up: int = 200, floor: float = 0.01) -> float:
    """Learning rate: linear warm-up, then half a cosine down to `floor` of the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, steps - warm_up)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))


def mixed_precision() -> torch.autocast:
    """Inside, convolutions and products are made in bfloat16, where the processor is quick at it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=bfloat16_is_quick("cpu"))


def seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


class Run:
    """One training: checkpoints that resume, a JSON-lines log, a bar on the terminal and a curve at the end."""

    def __init__(self, folder: Path, name: str, steps: int, parts: dict[str, Any], *, save_every: int = 500) -> None:
        self.folder, self.name, self.steps, self.parts = folder, name, steps, parts
        self.save_every = save_every
        folder.mkdir(parents=True, exist_ok=True)
        self.checkpoint = folder / f"{name}.checkpoint.pt"
        self.log = folder / f"{name}.log.jsonl"
        self.began = time.monotonic()
        self.first = 0

    def resume(self) -> int:
        """The step to go on from: 0, or what the checkpoint says."""
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, weights_only=True)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            self.first = int(state["step"])
            say(f"{self.name}: going on from step {self.first}")
        return self.first

    def save(self, step: int) -> None:
        state: dict[str, Any] = {name: part.state_dict() for name, part in self.parts.items()}
        beside = self.checkpoint.with_suffix(".part")
        torch.save({**state, "step": step}, beside)
        os.replace(beside, self.checkpoint)

    def report(self, step: int, values: dict[str, float], every: int = 50) -> None:
        """Call after each step with running values; writes the log and draws the bar every `every` steps."""
        done = step + 1
        if done % every == 0 or done == self.steps:
            seconds = time.monotonic() - self.began
            left = seconds / max(1, done - self.first) * (self.steps - done)
            line = {"step": done, "seconds": round(seconds, 1), **{k: round(v, 5) for k, v in values.items()}}
            with self.log.open("a") as log:
                log.write(json.dumps(line) + "\n")
            text = " ".join(f"{k} {v:.4f}" for k, v in values.items())
            say(f"\r{self.name} {done}/{self.steps} {text} left {left / 60:.1f} min   ", end="")
        if done % self.save_every == 0 or done == self.steps:
            self.save(done)
        if done == self.steps:
            say("")
            self.plot()

    def plot(self) -> None:
        """Draw the log as a curve into <name>.curve.png."""
        rows = [json.loads(line) for line in self.log.read_text().splitlines()]
        keys = [k for k in rows[-1] if k not in ("step", "seconds")]
        width, height = 640, 160
        canvas = np.full((height * len(keys), width, 3), 255, np.uint8)
        for position, key in enumerate(keys):
            points = [(r["step"], r[key]) for r in rows if key in r]
            xs, ys = np.array([p[0] for p in points], float), np.array([p[1] for p in points], float)
            low, high = float(ys.min()), float(ys.max())
            x = 40 + (xs / max(xs.max(), 1) * (width - 60)).astype(int)
            y = position * height + height - 20 - ((ys - low) / max(high - low, 1e-9) * (height - 50)).astype(int)
            cv2.polylines(canvas, [np.stack([x, y], 1).astype(np.int32)], False, (180, 90, 20), 1, cv2.LINE_AA)
            label = f"{key}: {ys[0]:.4g} -> {ys[-1]:.4g}"
            cv2.putText(canvas, label, (40, position * height + 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1)
        cv2.imwrite(str(self.folder / f"{self.name}.curve.png"), canvas)


def release(network: nn.Module, path: Path, metadata: dict[str, str]) -> str:
    """Write weights, float16 but for vectors, as safetensors (beside, then renamed); return their sha256."""
    import hashlib

    from safetensors.torch import save_file

    def compact(value: torch.Tensor) -> torch.Tensor:
        # Vectors (biases, statistics of normalisation) are few and may lie outside float16's range.
        kept = value.detach().to(torch.float16 if value.ndim > 1 else torch.float32).contiguous()
        if not torch.isfinite(kept).all():
            raise ValueError(f"{path.name}: a weight does not fit into {kept.dtype}")
        return kept

    tensors = {k: compact(v) for k, v in network.state_dict().items()}
    beside = path.with_suffix(".part")
    save_file(tensors, str(beside), metadata=metadata)
    os.replace(beside, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    say(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, sha256 {digest}")
    return digest
