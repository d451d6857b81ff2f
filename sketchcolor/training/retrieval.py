"""How `models/retrieval.safetensors` was made: `python -m sketchcolor.training.retrieval`.

Both towers start from an ImageNet network (the teacher) and are trained together, after the idea of Liu et al. 2019
("Semantic-aware knowledge preservation"): what a thing *is* comes from the teacher and must not be forgotten, what
it looks like in lines comes from the sketches.

- Contrast: a drawing is near its own photo and photos of its class, far from all others (temperature TEMPERATURE).
- Knowledge: from the drawing as from the photo, the teacher's judgement of the photo (1000 soft classes) must be
  predictable. Classes that no sketch shows are still told apart in this way.
- Variety: thousands of photos without sketches give drawings too, of the figure alone where one is found (its outline
  by an unsteady hand and inner edges; else edges, thinned, warped, broken), and pictures with their line drawing
  (OpenMoji) give pairs of another hand.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchcolor.retrieval.embedding import photo_page, sketch_page
from sketchcolor.retrieval.network import KIND, SIDE, TwoTowers
from sketchcolor.training import common, drawings
from sketchcolor.training.pairs import Data, Picture, draw, find_figures, vary_photo

TEMPERATURE = 0.07
SOFTNESS = 2.0
MOVING_AVERAGE = 0.997
INVENTED = 0.2  # share of the drawings of a labelled pair that are made from the photo all the same


def contrast_loss(sketches: Tensor, photos: Tensor, labels: Tensor) -> Tensor:
    """Supervised contrast (Khosla et al. 2020) between drawings and photos, both ways, own photo counted double."""
    logits = sketches @ photos.T / TEMPERATURE
    positive = (labels[:, None] == labels[None]).float() + torch.eye(len(labels))
    positive = positive / positive.sum(1, keepdim=True)
    ours = -(positive * F.log_softmax(logits, 1)).sum(1).mean()
    theirs = -(positive * F.log_softmax(logits.T, 1)).sum(1).mean()
    return (ours + theirs) / 2


def mean_average_precision(queries: Tensor, gallery: Tensor, wanted: Tensor, classes: Tensor) -> float:
    """mAP@all of queries (Q, D) over a gallery (G, D) by class."""
    order = (queries @ gallery.T).argsort(dim=1, descending=True)
    hits = (classes[order] == wanted[:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / hits.sum(1)).mean())


def teacher_judgements(teacher: nn.Module, photos: list[Picture], cache: Path) -> Tensor:
    """The teacher's logits (N, 1000) for each photo at 192 px, float32; kept in `cache`."""
    if cache.exists():
        kept: Tensor = torch.load(cache, weights_only=True)["logits"]
        return kept
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    found = []
    with torch.inference_mode():
        for start in range(0, len(photos), 32):
            batch = common.to_tensor([cv2.resize(p, (192, 192)) for p in photos[start : start + 32]])
            found.append(teacher((batch - mean) / std))
            common.say(f"\rteacher {start}/{len(photos)}", end="")
    logits = torch.cat(found)
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"logits": logits.clone()}, cache)
    return logits


@torch.inference_mode()
def settle(towers: TwoTowers, pages: list[Picture], photos: list[Picture]) -> None:
    """Measure each tower's centre on training pictures, and the axes along which the photos' classes differ (PCA)."""
    towers.eval()
    for tower, pictures in ((towers.sketch, pages), (towers.photo, photos)):
        looks, kinds = [], []
        for start in range(0, len(pictures), 50):
            features = tower.features(common.to_tensor(pictures[start : start + 50]))
            looks.append(tower.look(features))
            kinds.append(tower.kind(features))
        tower.look_centre.copy_(torch.cat(looks).mean(0))
        tower.kind_centre.copy_(torch.cat(kinds).mean(0))
    centred = torch.cat(kinds) - towers.photo.kind_centre
    _, _, axes = torch.linalg.svd(F.normalize(centred, dim=1), full_matrices=False)
    for tower in (towers.sketch, towers.photo):
        tower.kind_axes.copy_(axes[:KIND].T)


class Evaluation:
    """Sketches and photos of classes that training never sees."""

    def __init__(self, root: Path) -> None:
        data = Data(root, [], None)
        self.sketches = [sketch_page(1 - d[..., 0].astype(np.float32) / 255, SIDE) for d in data.drawings]
        self.photos = [photo_page(p, SIDE) for p in data.photos]
        self.sketch_labels = torch.tensor([p.label for p in data.pairs])
        owner: dict[int, int] = {}
        for pair in data.pairs:
            owner.update(dict.fromkeys(pair.photos, pair.label))
        self.photo_labels = torch.tensor([owner[i] for i in range(len(self.photos))])

    def __call__(self, towers: TwoTowers) -> float:
        towers.eval()
        with torch.inference_mode():
            ours, theirs = (
                torch.cat([tower(common.to_tensor(pages[i : i + 50])) for i in range(0, len(pages), 50)])
                for tower, pages in ((towers.sketch, self.sketches), (towers.photo, self.photos))
            )
        towers.train()
        return mean_average_precision(ours, theirs, self.sketch_labels, self.photo_labels)


def train(options: argparse.Namespace) -> None:
    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_0

    common.seed_everything(options.seed)
    data = Data(options.sketches, options.photos, options.lineart)
    common.say(f"{len(data.pairs)} drawn pairs, {len(data.loose)} others")
    teacher = squeezenet1_0()
    teacher.load_state_dict({k: v.float() for k, v in load_file(str(options.teacher)).items()})
    teacher.eval().requires_grad_(False)
    judged = teacher_judgements(teacher, data.photos, options.work / "teacher-logits.pt")
    figures = find_figures(data.photos, options.work / "figures.npz")
    towers = TwoTowers()
    for tower in (towers.sketch, towers.photo):
        tower.trunk.load_state_dict(teacher.features.state_dict())
        tower.classifier.load_state_dict(teacher.classifier[1].state_dict())
    towers.to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(towers).eval()
    optimiser = torch.optim.AdamW(
        [
            {"params": towers.sketch.trunk.parameters(), "peak": options.rate},
            {"params": towers.photo.trunk.parameters(), "peak": options.rate * 0.25},
            {
                "params": [*towers.sketch.classifier.parameters(), *towers.photo.classifier.parameters()],
                "peak": options.rate * 0.25,
            },
            {"params": [*towers.sketch.head.parameters(), *towers.photo.head.parameters()], "peak": 4 * options.rate},
        ],
        weight_decay=0.02,
    )
    parts = {"towers": towers, "averaged": averaged, "optimiser": optimiser}
    run = common.Run(options.work, "retrieval", options.steps, parts, save_every=200)
    by_label = defaultdict(list)
    for pair in data.pairs:
        by_label[pair.label].append(pair)

    def make(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((options.seed, step))
        labels = rng.choice(sorted(by_label), round(options.batch * options.labelled / 2), replace=False)
        chosen = [by_label[label][i] for label in labels for i in rng.choice(len(by_label[label]), 2, replace=False)]
        chosen += [data.loose[i] for i in rng.choice(len(data.loose), options.batch - len(chosen), replace=False)]
        pages, photos, targets = [], [], []
        for pair in chosen:
            own = pair.photos[0] if rng.random() < 0.7 else pair.photos[rng.integers(len(pair.photos))]
            if pair.drawing is None or rng.random() < INVENTED:
                lines = draw(data.photos[own], figures[own], rng)
            else:
                lines = 1 - data.drawings[pair.drawing][..., 0].astype(np.float32) / 255
            pages.append(sketch_page(drawings.redraw(lines, rng), SIDE))
            photos.append(photo_page(vary_photo(data.photos[own], rng), SIDE))
            targets.append(own)
        return (
            common.to_tensor(pages),
            common.to_tensor(photos),
            torch.tensor([p.label for p in chosen]),
            judged[targets],
        )

    clean_pages = [sketch_page(1 - d[..., 0].astype(np.float32) / 255, SIDE) for d in data.drawings[::2]]
    clean_photos = [photo_page(p, SIDE) for p in data.photos[::3]]
    evaluate = Evaluation(options.validation) if options.validation else None
    average: dict[str, float] = {}
    for step, (pages, photos, labels, logits) in common.prefetch(make, run.resume(), options.steps):
        for group in optimiser.param_groups:
            group["lr"] = common.cosine_rate(step, options.steps, group["peak"], warm_up=100)
        seen = [towers.sketch.features(pages), towers.photo.features(photos)]
        contrast = contrast_loss(towers.sketch.look(seen[0]), towers.photo.look(seen[1]), labels)
        soft = F.softmax(logits / SOFTNESS, dim=1)
        knowledge = pages.new_zeros(())
        for features, tower in zip(seen, (towers.sketch, towers.photo), strict=True):
            judgement = tower.kind(F.dropout(features, 0.3))
            knowledge = knowledge + F.kl_div(F.log_softmax(judgement / SOFTNESS, 1), soft, reduction="batchmean")
        loss = contrast + options.knowledge * knowledge
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decay = min(MOVING_AVERAGE, (step + 1) / (step + 10))
            for slow, fast in zip(averaged.parameters(), towers.parameters(), strict=True):
                slow.lerp_(fast, 1 - decay)
        for key, value in (("contrast", float(contrast)), ("knowledge", float(knowledge))):
            average[key] = 0.97 * average.get(key, value) + 0.03 * value
        if evaluate is not None and (step + 1) % options.validate_every == 0:
            settle(averaged, clean_pages, clean_photos)
            average["unseen_map"] = evaluate(averaged)
        run.report(step, average, every=25)
    settle(averaged, clean_pages, clean_photos)
    options.out.mkdir(parents=True, exist_ok=True)
    common.release(averaged, options.out / "retrieval.safetensors", {"name": "retrieval"})


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m sketchcolor.training.retrieval", description=__doc__)
    made.add_argument("--sketches", type=Path, required=True, help="folder with sketch/CLASS and photo/CLASS")
    made.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of pictures without sketches")
    made.add_argument("--lineart", type=Path, help="folder with line/NAME and color/NAME")
    made.add_argument("--teacher", type=Path, required=True, help="SqueezeNet v1.0 weights (safetensors)")
    made.add_argument("--validation", type=Path, help="as --sketches, of other classes: for choosing only")
    made.add_argument("--validate-every", type=int, default=200)
    made.add_argument("--out", type=Path, default=Path("models"))
    made.add_argument("--work", type=Path, default=Path("training-retrieval"))
    made.add_argument("--steps", type=int, default=2400)
    made.add_argument("--batch", type=int, default=36, help="pairs a step")
    made.add_argument("--labelled", type=float, default=0.6, help="share of the pairs whose class is known")
    made.add_argument("--rate", type=float, default=4e-4)
    made.add_argument("--knowledge", type=float, default=0.3, help="weight of the teacher's judgement")
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    train(parser().parse_args())
