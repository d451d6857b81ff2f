"""The photos that drawings are told apart from: looked at once, and which of them a drawing is to find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sketchcolor.retrieval.embedding import photo_page
from sketchcolor.retrieval.network import PAGE, PHOTO, TwoTowers
from sketchcolor.training import common
from sketchcolor.training.pairs import Data, Picture, vary_photo

SOFTNESS = 2.0  # class scores are divided by it: classes that are like the right one count too
OWN_SHARE = 0.3  # of a drawing's target is its own photo, the rest are photos of its class
SAME_THING = 0.5  # cosine of class scores from which on photos without a common label are not told apart
VERSIONS = 4  # of each photo: as it is, and varied
JUDGED_AT = 224  # pixels that the published network was made for


@torch.no_grad()
def features_of(towers: TwoTowers, side: str, count: int, page: Callable[[int], Picture], *, what: str = "") -> Tensor:
    """Features float32 (count, PENULTIMATE) of the pages page(0), page(1) ...; with `what`, progress is told."""
    found = []
    for start in range(0, count, 32):
        with common.mixed_precision():
            batch = common.to_tensor([page(i) for i in range(start, min(start + 32, count))])
            found.append(towers.features(batch, side).float())
        if what:
            common.say(f"\r{what} {start}/{count}", end="")
    return torch.cat(found)


def look_at_photos(towers: TwoTowers, paths: Sequence[Path], cache: Path) -> tuple[Tensor, list[Tensor]]:
    """Features of all photos, float32 (N, PENULTIMATE): for the judgement, and VERSIONS of them; kept in `cache`."""
    if cache.exists():
        kept = torch.load(cache, weights_only=True)
        return kept["judged"].float(), [v.float() for v in kept["versions"]]
    rng = np.random.default_rng(0)

    def look(side: int, change: Callable[[Picture], Picture], what: str) -> Tensor:
        def page(index: int) -> Picture:
            return photo_page(change(common.load_pictures([paths[index]], quiet=True)[0]), side)

        return features_of(towers, PHOTO, len(paths), page, what=what)

    judged = look(JUDGED_AT, lambda photo: photo, "photos judged")
    versions = [look(PAGE[PHOTO], lambda photo: photo, "photos")]
    versions += [look(PAGE[PHOTO], lambda p: vary_photo(p, rng), f"photos, version {n}") for n in range(1, VERSIONS)]
    cache.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"judged": judged.half(), "versions": [v.half() for v in versions]}, cache)
    return judged, versions


class Photos:
    """All photos' features, and which of them are which class."""

    def __init__(self, data: Data, judged: Tensor, versions: list[Tensor], classifier: tuple[Tensor, Tensor]) -> None:
        weight, bias = classifier
        self.versions, self.judgement = versions, F.softmax((judged @ weight.T + bias) / SOFTNESS, dim=1)
        scores = judged @ weight.T
        self.things = F.normalize(scores - scores.mean(0), dim=1)
        self.label = torch.full((len(judged),), -1)
        for pair in data.pairs:
            self.label[list(pair.photos)] = pair.label
        self.known, self.unknown = (torch.nonzero(c)[:, 0] for c in (self.label >= 0, self.label < 0))

    def targets(self, own: Tensor, gallery: Tensor) -> tuple[Tensor, Tensor]:
        """Contrast's `wanted` and `ignored` for drawings of the photos `own` (B,), the first of the gallery (P,)."""
        first = torch.zeros(len(own), len(gallery), dtype=torch.bool)
        first[:, : len(own)] = torch.eye(len(own), dtype=torch.bool)
        again = (own[:, None] == gallery[None]) & ~first
        mates = (self.label[own][:, None] == self.label[gallery][None]) & (self.label[own] >= 0)[:, None] & ~again
        close = (self.things[own] @ self.things[gallery].T > SAME_THING) & ~mates & ~first
        shared = mates.float() / mates.sum(1, keepdim=True).clamp_min(1)
        wanted = torch.where(mates.any(1)[:, None], (1 - OWN_SHARE) * shared + OWN_SHARE * first, first.float())
        return wanted, close | again
