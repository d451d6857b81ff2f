"""Drawings and the photos that they show: read, varied, and made from photos where nobody drew them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sketchcolor.regions.networks import PHOTO_SIDE, PhotoNet
from sketchcolor.retrieval.embedding import photo_page
from sketchcolor.training import common, drawings
from sketchcolor.weights import load_shipped

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Pair:
    """A drawing (None: to be made from the photo) and photos that show it; the first is its own."""

    drawing: int | None
    photos: tuple[int, ...]
    label: int


class Data:
    """All pictures in memory, and pairs of them."""

    def __init__(self, sketches: Path | None, photos: list[Path], lineart: Path | None) -> None:
        self.drawings: list[Picture] = []
        self.photos: list[Picture] = []
        self.photo_paths: list[Path] = []
        self.pairs: list[Pair] = []
        self.loose: list[Pair] = []
        label = 0
        if sketches is not None:
            for folder in sorted((sketches / "sketch").iterdir()):
                own = self._add(self.photos, sorted((sketches / "photo" / folder.name).glob("*")))
                names = {p.stem: i for p, i in own}
                for path, number in self._add(self.drawings, sorted(folder.glob("*"))):
                    mine = names.get(path.stem.rsplit("-", 1)[0])
                    rest = tuple(i for i in names.values() if i != mine)
                    self.pairs.append(Pair(number, ((mine,) if mine is not None else ()) + rest, label))
                label += 1
        if lineart is not None:
            colored = {p.stem: i for p, i in self._add(self.photos, sorted((lineart / "color").glob("*")))}
            for path, number in self._add(self.drawings, sorted((lineart / "line").glob("*"))):
                if path.stem in colored:
                    self.loose.append(Pair(number, (colored[path.stem],), label))
                    label += 1
        for _, number in self._add(self.photos, common.find_pictures(photos)):
            self.loose.append(Pair(None, (number,), label))
            label += 1

    def _add(self, store: list[Picture], paths: list[Path]) -> list[tuple[Path, int]]:
        found = []
        for path in paths:
            picture = common.load_pictures([path], longest=192, quiet=True)
            if picture:
                found.append((path, len(store)))
                store.append(picture[0])
                if store is self.photos:
                    self.photo_paths.append(path)
        return found


def vary_photo(photo: Picture, rng: np.random.Generator) -> Picture:
    """A photo cropped, mirrored and recoloured."""
    height, width = photo.shape[:2]
    part = rng.uniform(0.75, 1.0, 2)
    rows, columns = int(part[0] * height), int(part[1] * width)
    top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
    photo = photo[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        photo = photo[:, ::-1]
    values: NDArray[Any] = photo.astype(np.float32)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(2, keepdims=True), 3, axis=2)
    values = (values - 128) * rng.uniform(0.7, 1.2) + 128 + rng.normal(0, 12, 3)
    return np.clip(values, 0, 255).astype(np.uint8)


def find_figures(photos: list[Picture], cache: Path) -> list[Picture | None]:
    """Figure mask (uint8 0/255) of each photo by the shipped foreground network, None where none stands out; cached."""
    if cache.exists():
        kept = np.load(cache)
        packed = [kept[str(i)] for i in range(len(photos))]
    else:
        network = PhotoNet()
        network.load_state_dict(load_shipped("foreground-photo"))
        network.eval().to(memory_format=torch.channels_last)
        packed = []
        for start in range(0, len(photos), 16):
            chosen = photos[start : start + 16]
            with torch.inference_mode():
                logits = network(common.to_tensor([photo_page(p, PHOTO_SIDE) for p in chosen]))[:, 0].numpy()
            for photo, likely in zip(chosen, logits, strict=True):
                mask = cv2.resize(likely, (photo.shape[1], photo.shape[0])) > 0
                packed.append(np.packbits(mask) if 0.04 < mask.mean() < 0.75 else np.zeros(0, np.uint8))
            common.say(f"\rfigures {start}/{len(photos)}", end="")
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(cache, **{str(i): bits for i, bits in enumerate(packed)})
    shapes = [p.shape[:2] for p in photos]
    return [
        np.unpackbits(bits, count=h * w).reshape(h, w) * np.uint8(255) if bits.size else None
        for bits, (h, w) in zip(packed, shapes, strict=True)
    ]


def draw(photo: Picture, figure: Picture | None, rng: np.random.Generator) -> NDArray[Any]:
    """Lines that a person might draw of a photo: of its figure alone, more often than not, where one is known."""
    if figure is None or rng.random() < 0.3:
        return drawings.draw_from_photo(photo, rng)
    simple = drawings.simplify(figure, rng)
    if not simple.any():
        return drawings.draw_from_photo(photo, rng)
    return drawings.outline_drawing(simple, photo, rng, open_share=float(rng.uniform(0, 0.2)))[0]
