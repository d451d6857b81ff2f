"""How the two foreground networks were made: `python -m sketchcolor.training.foreground --kind photo|sketch`.

photo: pictures with masks, strongly varied; half the figures are pasted on other grounds. The way down starts from an
ImageNet network. sketch: drawings made from masks (`drawings.py`), outlines open, doubled, shaken, off the page.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sketchcolor.regions.classical import sketch_hints
from sketchcolor.regions.networks import PHOTO_SIDE, SKETCH_SIDE, PhotoNet, SketchNet
from sketchcolor.training import common, drawings
from sketchcolor.weights import load_file as load_weights

Sample = tuple[NDArray[Any], NDArray[Any]]
HELD_OUT = {"ecssd": 100, "weizmann": 60, "ccp": 60}
CUT_OFF = 0.2  # share of the drawings whose figure ends inside the page without a line
MOVING_AVERAGE = 0.997


def held_out(names: list[str], count: int) -> set[str]:
    """The fixed list that is never trained on: every n-th name in sorted order."""
    ordered = sorted(names)
    return set(ordered[:: max(1, len(ordered) // count)][:count])


def load_masks(root: Path, *, held: bool) -> dict[str, list[Sample]]:
    """(picture RGB, mask uint8 0/255) of each saliency set below `root`; the held-out part or the rest."""
    found: dict[str, list[Sample]] = {}
    for name, count in HELD_OUT.items():
        folder = root / name
        if not folder.is_dir():
            continue
        masks = {p.stem: p for p in common.find_pictures([folder / ("labels" if name == "ccp" else "mask")])}
        pictures = {p.stem: p for p in common.find_pictures([folder / "image"])}
        both = sorted(set(masks) & set(pictures))
        kept = held_out(both, count)
        found[name] = []
        for stem in both:
            if (stem in kept) is not held:
                continue
            picture: NDArray[Any] = np.asarray(cv2.imread(str(pictures[stem])))[..., ::-1]
            mask: NDArray[Any] = np.asarray(cv2.imread(str(masks[stem]), cv2.IMREAD_UNCHANGED))
            mask = mask[..., 0] if mask.ndim == 3 else mask
            mask = ((mask > 0) if name == "ccp" else (mask > 127)).astype(np.uint8) * 255
            mask = cv2.resize(mask, (picture.shape[1], picture.shape[0]), interpolation=cv2.INTER_NEAREST)
            if 0.01 < (mask > 0).mean() < 0.95:
                found[name].append((np.ascontiguousarray(picture), mask))
    return found


def photo_sample(
    sample: Sample, ground: NDArray[Any] | None, side: int, rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One training picture (RGB uint8) and mask (uint8 0/255) of `side` px."""
    picture, mask = sample
    height, width = mask.shape
    if ground is None:  # a crop of the picture itself
        span = rng.uniform(0.6, 1.0, 2)
        rows, columns = int(span[0] * height), int(span[1] * width)
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        picture, mask = picture[top : top + rows, left : left + columns], mask[top : top + rows, left : left + columns]
        picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
    else:  # the figure on another ground
        moved, shown = drawings.place(mask, picture, side, rng)
        soft = cv2.GaussianBlur(moved, (0, 0), 0.8).astype(np.float32)[..., None] / 255
        other = common.random_crop(ground, side, rng, scale=(0.5, 1.0)).astype(np.float32)
        other = other * rng.uniform(0.7, 1.15)
        picture, mask = np.clip(shown * soft + other * (1 - soft), 0, 255).astype(np.uint8), moved
    values = picture.astype(np.float32)
    if rng.random() < 0.12:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    values = (values - 128) * rng.uniform(0.6, 1.25) + 128 + rng.normal(0, 15) + rng.normal(0, 8, 3)
    if rng.random() < 0.2:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.5, 2))
    if rng.random() < 0.2:
        values = values + rng.normal(0, rng.uniform(2, 12), values.shape)
    picture = np.clip(values, 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        picture, mask = picture[:, ::-1], mask[:, ::-1]
    return np.ascontiguousarray(picture), np.ascontiguousarray(mask)


def sketch_sample(sample: Sample, side: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
    """Network input (side, side, 1 + hints) float32 and figure (side, side) float32."""
    picture, mask = sample
    for _ in range(4):
        moved, shown = drawings.place(mask, picture, side, rng)
        figure = drawings.simplify(moved, rng)
        if 0.02 < figure.mean() < 0.9:
            break
    share = 0.0 if rng.random() < 0.3 else float(rng.uniform(0.02, 0.35))
    base = None
    if rng.random() < CUT_OFF:
        figure, base = drawings.cut_off(figure, rng)
    ink, enclosed = drawings.outline_drawing(figure, shown, rng, open_share=share, base=base)
    return np.dstack([ink, *sketch_hints(ink)]).astype(np.float32), enclosed.astype(np.float32)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Cross-entropy plus soft intersection over union."""
    p = torch.sigmoid(logits)
    both = (p * truth).sum(dim=(1, 2, 3))
    either = (p + truth - p * truth).sum(dim=(1, 2, 3))
    return F.binary_cross_entropy_with_logits(logits, truth) + (1 - (both + 1) / (either + 1)).mean()


def intersection_over_union(ours: NDArray[Any], truth: NDArray[Any]) -> float:
    return float((ours & truth).sum() / max(1, (ours | truth).sum()))


def silhouettes(lineart: Path) -> list[Sample]:
    """OpenMoji pictures with their filled outline: (coloured RGB, mask)."""
    found = []
    for path in common.find_pictures([lineart / "color"]):
        picture = np.asarray(cv2.imread(str(path)))[..., ::-1]
        inked = (picture.min(axis=2) < 245).astype(np.uint8)
        outlines, _ = cv2.findContours(inked, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        mask = cv2.drawContours(np.zeros(inked.shape, np.uint8), outlines, -1, 255, cv2.FILLED)
        if 0.03 < (mask > 0).mean() < 0.9:
            found.append((np.ascontiguousarray(picture), mask))
    return found


def train(options: argparse.Namespace) -> None:
    common.seed_everything(options.seed)
    sets = load_masks(options.masks, held=False)
    samples = [s for part in sets.values() for s in part]
    kind = options.kind
    network: nn.Module
    if kind == "photo":
        grounds = common.load_pictures(common.find_pictures(options.grounds))
        network = PhotoNet()
        if options.teacher is not None:
            from safetensors.torch import load_file

            weights = {k: v.float() for k, v in load_file(str(options.teacher)).items()}
            trunk = {k.removeprefix("features."): v for k, v in weights.items() if k.startswith("features.")}
            network.trunk.load_state_dict(trunk)
        trunk_parameters = list(network.trunk.parameters())
    else:
        samples += silhouettes(options.lineart) if options.lineart is not None else []
        network = SketchNet()
        trunk_parameters = []
    if options.start is not None:
        network.load_state_dict(load_weights(options.start))
    common.say(f"{len(samples)} masks")
    held = [s for part in load_masks(options.masks, held=True).values() for s in part]
    own = {id(p) for p in trunk_parameters}
    optimiser = torch.optim.AdamW(
        [
            {"params": trunk_parameters, "peak": options.rate * 0.2},
            {"params": [p for p in network.parameters() if id(p) not in own], "peak": options.rate},
        ],
        weight_decay=0.01,
    )
    network.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).eval()
    run = common.Run(
        options.work,
        f"foreground-{kind}",
        options.steps,
        {"network": network, "averaged": averaged, "optimiser": optimiser},
        save_every=200,
    )

    def make(step: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((options.seed, step))
        inputs, truths = [], []
        for _ in range(options.batch):
            sample = samples[rng.integers(len(samples))]
            if kind == "photo":
                ground = grounds[rng.integers(len(grounds))] if grounds and rng.random() < 0.35 else None
                x, y = photo_sample(sample, ground, options.side or PHOTO_SIDE, rng)
                inputs.append(x.astype(np.float32) / 255)
                truths.append(y.astype(np.float32) / 255)
            else:
                x, y = sketch_sample(sample, options.side or SKETCH_SIDE, rng)
                inputs.append(x)
                truths.append(y)
        batch = torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2)
        return batch.contiguous(memory_format=torch.channels_last), torch.from_numpy(np.stack(truths))[:, None]

    def evaluate() -> float:
        rng = np.random.default_rng(12345)
        scores = []
        with torch.inference_mode():
            for sample in held[:: max(1, len(held) // 80)]:
                if kind == "photo":
                    picture = cv2.resize(sample[0], (PHOTO_SIDE,) * 2, interpolation=cv2.INTER_AREA)
                    truth = cv2.resize(sample[1], (PHOTO_SIDE,) * 2, interpolation=cv2.INTER_AREA) > 127
                    logits = averaged(common.to_tensor([picture]))
                else:
                    x, y = sketch_sample(sample, SKETCH_SIDE, rng)
                    truth = y > 0.5
                    logits = averaged(torch.from_numpy(x).permute(2, 0, 1)[None])
                scores.append(intersection_over_union(logits[0, 0].numpy() > 0, truth))
        return float(np.mean(scores))

    average: dict[str, float] = {}
    network.train()
    for step, (batch, truth) in common.prefetch(make, run.resume(), options.steps):
        for group in optimiser.param_groups:
            group["lr"] = common.cosine_rate(step, options.steps, group["peak"], warm_up=100)
        with common.mixed_precision():
            logits = network(batch)
        loss = mask_loss(logits.float(), truth)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decay = min(MOVING_AVERAGE, (step + 1) / (step + 10))
            for slow, fast in zip(averaged.parameters(), network.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
            for kept, new in zip(averaged.buffers(), network.buffers(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
        average["loss"] = 0.97 * average.get("loss", float(loss)) + 0.03 * float(loss)
        if (step + 1) % options.validate_every == 0:
            average["held_out_iou"] = evaluate()
        run.report(step, average, every=25)
    options.out.mkdir(parents=True, exist_ok=True)
    common.release(averaged, options.out / f"foreground-{kind}.safetensors", {"name": f"foreground-{kind}"})


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m sketchcolor.training.foreground", description=__doc__)
    made.add_argument("--kind", choices=("photo", "sketch"), required=True)
    made.add_argument("--masks", type=Path, required=True, help="folder with ecssd, weizmann, ccp")
    made.add_argument("--grounds", type=Path, nargs="*", default=[], help="photo: other grounds to paste figures on")
    made.add_argument("--lineart", type=Path, help="sketch: OpenMoji, folder with color/")
    made.add_argument("--teacher", type=Path, help="photo: SqueezeNet v1.0 weights to start from")
    made.add_argument("--start", type=Path, help="go on from these weights, with a fresh schedule")
    made.add_argument("--out", type=Path, default=Path("models"))
    made.add_argument("--work", type=Path, default=Path("training-foreground"))
    made.add_argument("--steps", type=int, default=2400)
    made.add_argument("--batch", type=int, default=16)
    made.add_argument("--side", type=int, help="training size in pixels (default: as used)")
    made.add_argument("--rate", type=float, default=1.5e-3)
    made.add_argument("--validate-every", type=int, default=200)
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    train(parser().parse_args())
