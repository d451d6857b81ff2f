"""How `models/retrieval.safetensors` was made: `python -m sketchcolor.training.retrieval`.

The photo side is a published ImageNet network, left as it is: what it knows of things that no sketch here shows must
not be forgotten (the aim of Liu et al. 2019, "Semantic-aware knowledge preservation"). So each photo is looked at only
once, in a few versions, and a drawing can be told apart from thousands of photos at every step. The sketch side begins
as the same network, its scales and offsets measured on drawings; its early blocks, and all its scales and offsets, are
trained.

- Contrast: a drawing is near its own photo and photos of its class, far from all others (temperature TEMPERATURE).
  Photos without a class that the network takes for nearly the same thing are left out, not pushed away.
- Knowledge: from the drawing the network's judgement of its photo (1000 soft classes) must be predictable. Classes
  that no sketch shows are still told apart in this way.
- Halves: a drawing that the page cuts off is shown beside the whole one, and has to find what that finds (as a network
  learns from another's answers, Hinton et al. 2015), besides its own photo and class.
- Variety: thousands of photos without sketches give drawings too, of the figure alone where one is found (its outline
  by an unsteady hand and inner edges; else edges, thinned, warped, broken), and pictures with their line drawing
  (OpenMoji) give pairs of another hand.
"""

from __future__ import annotations

import argparse
import copy
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sketchcolor.retrieval.embedding import completed, even_strokes, photo_page, sketch_page
from sketchcolor.retrieval.network import KIND, PAGE, PHOTO, SKETCH, Conv, TwoTowers
from sketchcolor.training import common, drawings, published
from sketchcolor.training.gallery import SOFTNESS, VERSIONS, Photos, features_of, look_at_photos
from sketchcolor.training.pairs import Data, Picture, draw, find_figures
from sketchcolor.weights import load_file

TEMPERATURE = 0.07
MOVING_AVERAGE = 0.995
INVENTED = 0.2  # share of the drawings of a labelled pair that are made from the photo all the same
COMPLETED = 0.6  # share of the cut drawings that are completed, where that is seen; one asks with both
LIKE_THE_WHOLE = 0.7  # of what a cut drawing has to find is what the whole one finds, the rest its photo and class
OTHERS = 1500  # photos without a class in the gallery of each step
CALIBRATED_ON = 300  # drawings


def found_by(sketches: Tensor, photos: Tensor, ignored: Tensor) -> Tensor:
    """Log of how likely each photo is to be found, (B, P): sketches (B, D), photos (P, D), unit length; bool (B, P)."""
    return F.log_softmax((sketches @ photos.T / TEMPERATURE).masked_fill(ignored, -1e4), 1)


def contrast_loss(sketches: Tensor, photos: Tensor, wanted: Tensor, ignored: Tensor) -> Tensor:
    """Cross-entropy of finding photos by sketches, by likeness (Khosla et al. 2020).

    sketches: (B, D), photos: (P, D), unit length; wanted: (B, P), rows of sum 1; ignored: bool (B, P).
    """
    return -(wanted * found_by(sketches, photos, ignored)).sum(1).mean()


def mean_average_precision(queries: Tensor, gallery: Tensor, wanted: Tensor, classes: Tensor) -> float:
    """mAP@all of queries (Q, D) over a gallery (G, D) by class."""
    order = (queries @ gallery.T).argsort(dim=1, descending=True)
    hits = (classes[order] == wanted[:, None]).float()
    precision = hits.cumsum(1) / torch.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / hits.sum(1)).mean())


def kind_axes(scores: Tensor) -> Tensor:
    """PCA: the axes (classes, KIND) along which class scores (N, classes), centred and of one length, differ most."""
    centred = F.normalize(scores - scores.mean(0), dim=1)
    axes: Tensor = torch.linalg.eigh(centred.T @ centred).eigenvectors
    return axes.flip(1)[:, :KIND]


@torch.no_grad()
def settle(towers: TwoTowers, sketches: Tensor, photos: Tensor) -> None:
    """Measure each side's centre on features of its pictures."""
    for side, features in ((SKETCH, sketches), (PHOTO, photos)):
        towers.centre[side].copy_(torch.cat(towers.answers(features), dim=1).mean(0))


def page_of(drawing: Picture) -> Picture:
    """A drawing as it is asked with."""
    return sketch_page(even_strokes(1 - drawing[..., 0].astype(np.float32) / 255, PAGE[SKETCH]), PAGE[SKETCH])


class Evaluation:
    """Sketches and photos of classes that training never sees."""

    def __init__(self, root: Path, towers: TwoTowers) -> None:
        data = Data(root, [], None)
        self.pages = [page_of(d) for d in data.drawings]
        pages = [photo_page(common.load_pictures([path], quiet=True)[0], PAGE[PHOTO]) for path in data.photo_paths]
        self.photos = features_of(towers, PHOTO, len(pages), lambda i: pages[i])
        self.sketch_labels = torch.tensor([p.label for p in data.pairs])
        owner: dict[int, int] = {}
        for pair in data.pairs:
            owner.update(dict.fromkeys(pair.photos, pair.label))
        self.photo_labels = torch.tensor([owner[i] for i in range(len(data.photos))])

    @torch.no_grad()
    def __call__(self, towers: TwoTowers) -> float:
        ours = features_of(towers, SKETCH, len(self.pages), lambda i: self.pages[i])
        queries, gallery = towers.join(ours, SKETCH), towers.join(self.photos, PHOTO)
        return mean_average_precision(queries, gallery, self.sketch_labels, self.photo_labels)


def mean_weights(released: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several trainings from the same beginning, float32 (Wortsman et al. 2022)."""
    return {name: torch.stack([one[name].float() for one in released]).mean(0) for name in released[0]}


def trained_parts(towers: TwoTowers, rate: float) -> list[dict[str, Any]]:
    """What is trained, in groups with their highest rates; everything else is frozen."""
    towers.requires_grad_(False)
    side = list(towers.entrance[SKETCH].parameters())
    for conv in (module for module in towers.trunk.modules() if isinstance(module, Conv)):
        side += [conv.scale[SKETCH], conv.offset[SKETCH]]
    groups: list[tuple[list[nn.Parameter], float]] = [(side, rate), (list(towers.look.parameters()), 2 * rate)]
    return [{"params": [p.requires_grad_(True) for p in chosen], "peak": peak} for chosen, peak in groups]


def train(options: argparse.Namespace) -> None:
    common.seed_everything(options.seed)
    data = Data(options.sketches, options.photos, options.lineart)
    common.say(f"{len(data.pairs)} drawn pairs, {len(data.loose)} others")
    weights = load_file(options.network)
    towers = TwoTowers().to(memory_format=torch.channels_last)
    norms = published.fill(towers, weights)
    figures = find_figures(data.photos, options.work / "figures.npz")
    photos = Photos(
        data,
        *look_at_photos(towers, data.photo_paths, options.work / "photos.pt"),
        classifier := published.classes(weights),
    )
    clean = [page_of(d) for d in data.drawings[: len(data.pairs) : 4]]
    published.calibrate(towers, norms, SKETCH, common.to_tensor(clean[:CALIBRATED_ON]))
    known = photos.versions[0][photos.known]
    with torch.no_grad():
        nn.init.orthogonal_(towers.look.weight)
        towers.kind.weight.copy_(kind_axes(known @ classifier[0].T).T @ classifier[0])
    if options.start:
        towers.load_state_dict(mean_weights([load_file(path) for path in options.start]))
    groups = trained_parts(towers, options.rate)
    averaged = copy.deepcopy(towers).eval().requires_grad_(False)
    optimiser = torch.optim.AdamW(groups, weight_decay=0.02)
    parts = {"towers": towers, "averaged": averaged, "optimiser": optimiser}
    run = common.Run(options.work, "retrieval", options.steps, parts, save_every=200)
    by_label = defaultdict(list)
    for pair in data.pairs:
        by_label[pair.label].append(pair)

    # Drawings that are shown cut off too, spread evenly: labelled pairs come first.
    halved = np.linspace(0, options.batch, round(options.off_page * options.batch), endpoint=False).astype(int)

    def make(step: int) -> tuple[Tensor, Tensor, int, Tensor]:
        """Pages, their own photos, the photos' version and the photos to tell them apart from.

        First the whole drawings, then the `halved` ones again, cut off.
        """
        rng = np.random.default_rng((options.seed, step))
        labels = rng.choice(sorted(by_label), round(options.batch * options.labelled / 2), replace=False)
        chosen = [by_label[label][i] for label in labels for i in rng.choice(len(by_label[label]), 2, replace=False)]
        chosen += [data.loose[i] for i in rng.choice(len(data.loose), options.batch - len(chosen), replace=False)]
        whole = []
        for pair in chosen:
            own = pair.photos[0]
            if pair.drawing is None or rng.random() < INVENTED:
                lines = draw(data.photos[own], figures[own], rng)
            else:
                lines = 1 - data.drawings[pair.drawing][..., 0].astype(np.float32) / 255
            whole.append(drawings.redraw(lines, rng))
        cut = [drawings.off_the_page(whole[i], rng) for i in halved]
        cut = [completed(lines) if rng.random() < COMPLETED else lines for lines in cut]
        pages = [sketch_page(lines, PAGE[SKETCH]) for lines in whole + cut]
        others = torch.from_numpy(rng.choice(photos.unknown.numpy(), min(OTHERS, len(photos.unknown)), replace=False))
        shown = torch.tensor([pair.photos[0] for pair in chosen])
        return common.to_tensor(pages), shown, int(rng.integers(VERSIONS)), torch.cat([shown, photos.known, others])

    evaluate = Evaluation(options.validation, towers) if options.validation else None
    average: dict[str, float] = {}
    for step, (pages, own, version, gallery) in common.prefetch(make, run.resume(), options.steps):
        for group in optimiser.param_groups:
            group["lr"] = common.cosine_rate(step, options.steps, group["peak"], warm_up=100)
        seen = towers.features(pages, SKETCH)
        looks, _ = towers.answers(F.dropout(seen, 0.2))
        looks, cut = looks[: len(own)], looks[len(own) :]
        theirs, _ = towers.answers(photos.versions[version][gallery])
        wanted, ignored = photos.targets(own, gallery)
        back, unasked = photos.targets(own, own)
        contrast = contrast_loss(looks, theirs, wanted, ignored)
        contrast = (contrast + contrast_loss(theirs[: len(own)], looks, back, unasked)) / 2
        with torch.no_grad():
            told = found_by(towers.answers(seen[: len(own)])[0], theirs, ignored).exp()
            told = torch.lerp(wanted, told, LIKE_THE_WHOLE)[halved]
        halves = contrast_loss(cut, theirs, told, ignored[halved]) if len(halved) else seen.new_zeros(())
        scores = F.linear(F.dropout(seen, 0.3), *classifier) / SOFTNESS
        judged = photos.judgement[torch.cat([own, own[halved]])]
        knowledge = F.kl_div(F.log_softmax(scores, 1), judged, reduction="batchmean")
        loss = contrast + options.off_page * halves + options.knowledge * knowledge
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            decay = min(MOVING_AVERAGE, (step + 1) / (step + 10))
            for slow, fast in zip(averaged.parameters(), towers.parameters(), strict=True):
                if fast.requires_grad:
                    slow.lerp_(fast, 1 - decay)
        for key, value in (("contrast", contrast.item()), ("halves", halves.item()), ("knowledge", knowledge.item())):
            average[key] = 0.97 * average.get(key, value) + 0.03 * value
        if evaluate is not None and (step + 1) % options.validate_every == 0:
            settle(averaged, features_of(averaged, SKETCH, len(clean), lambda i: clean[i]), known)
            average["unseen_map"] = evaluate(averaged)
        run.report(step, average, every=25)
    settle(averaged, features_of(averaged, SKETCH, len(clean), lambda i: clean[i]), known)
    options.out.mkdir(parents=True, exist_ok=True)
    common.release(averaged, options.out / "retrieval.safetensors", {"name": "retrieval"})


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m sketchcolor.training.retrieval", description=__doc__)
    made.add_argument("--sketches", type=Path, required=True, help="folder with sketch/CLASS and photo/CLASS")
    made.add_argument("--photos", type=Path, nargs="*", default=[], help="folders of pictures without sketches")
    made.add_argument("--lineart", type=Path, help="folder with line/NAME and color/NAME")
    made.add_argument("--network", type=Path, required=True, help="EfficientNet-Lite0 weights (.pth)")
    made.add_argument("--validation", type=Path, help="as --sketches, of other classes: for choosing only")
    made.add_argument("--validate-every", type=int, default=200)
    made.add_argument("--out", type=Path, default=Path("models"))
    made.add_argument("--work", type=Path, default=Path("training-retrieval"))
    made.add_argument("--steps", type=int, default=1700)
    made.add_argument("--batch", type=int, default=40, help="pairs a step")
    made.add_argument("--labelled", type=float, default=0.6, help="share of the pairs whose class is known")
    made.add_argument("--rate", type=float, default=5e-4)
    made.add_argument("--knowledge", type=float, default=0.3, help="weight of the network's judgement")
    made.add_argument("--off-page", type=float, default=0.5, help="share of the drawings that are shown cut off, too")
    made.add_argument("--start", type=Path, nargs="+", help="go on from released weights, of several from their mean")
    made.add_argument("--seed", type=int, default=0)
    return made


if __name__ == "__main__":
    train(parser().parse_args())
