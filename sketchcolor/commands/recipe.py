"""The recipe of a picture: what is written into its PNG so that it can be made again."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sketchcolor import __version__
from sketchcolor.errors import ImageError, SettingsError
from sketchcolor.settings import ColorSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sketchcolor.records import Labels, Overrides, Result

RECIPE = "sketchcolor"
"""Name of the PNG text chunk that says how a picture was made."""


@dataclass(frozen=True)
class Given:
    """Files and pairs by which the user overrules the program."""

    sketch_mask: str | None = None
    reference_mask: str | None = None
    sketch_map: str | None = None
    reference_map: str | None = None
    pairs: tuple[tuple[int, int], ...] = ()
    colors: tuple[tuple[int, tuple[int, int, int]], ...] = ()

    @classmethod
    def from_options(cls, options: argparse.Namespace) -> Given:
        """From the command line. Raises SettingsError for a pair that is none, or one map without the other."""
        pairs = []
        for text in options.match:
            left, _, right = text.partition("=")
            if not (left.strip().isdigit() and right.strip().isdigit()):
                raise SettingsError(f"--match takes SKETCH=REFERENCE, two region numbers, not {text!r}")
            pairs.append((int(left), int(right)))
        colors = []
        for text in options.color:
            left, _, right = text.partition("=")
            if not left.strip().isdigit() or not re.fullmatch(r"#?[0-9a-fA-F]{6}", right.strip()):
                raise SettingsError(f"--color takes REGION=RRGGBB, a region number and a colour, not {text!r}")
            red, green, blue = bytes.fromhex(right.strip().removeprefix("#"))
            colors.append((int(left), (red, green, blue)))
        if (options.sketch_map is None) != (options.reference_map is None):
            raise SettingsError("give both --sketch-map and --reference-map, or neither")
        names = ("sketch_mask", "reference_mask", "sketch_map", "reference_map")
        files = {n: None if getattr(options, n) is None else str(getattr(options, n).absolute()) for n in names}
        return cls(**files, pairs=tuple(pairs), colors=tuple(colors))

    @classmethod
    def from_recipe(cls, recipe: dict[str, Any]) -> Given:
        """From a recipe that `check_recipe` has found sound."""
        stored = dict(recipe.get("given", {}))
        pairs = tuple((int(a), int(b)) for a, b in stored.pop("pairs", ()))
        colors = tuple((int(n), (int(r), int(g), int(b))) for n, (r, g, b) in stored.pop("colors", ()))
        return cls(**stored, pairs=pairs, colors=colors)

    def any(self) -> bool:
        """True where the user overrules anything."""
        return self != Given()

    def files(self) -> list[Path]:
        """The files named."""
        named = (self.sketch_mask, self.reference_mask, self.sketch_map, self.reference_map)
        return [Path(p) for p in named if p is not None]

    def read(self) -> Overrides:
        """Masks, maps and pairs as arrays. Raises ImageError."""
        from sketchcolor.images import read_image
        from sketchcolor.records import Overrides
        from sketchcolor.style.maps import labels_from_colors

        masks = [
            None if p is None else read_image(p).mean(axis=2) > 127 for p in (self.sketch_mask, self.reference_mask)
        ]
        maps: Sequence[Labels | None] = (None, None)
        if self.sketch_map is not None and self.reference_map is not None:
            pictures = [read_image(self.sketch_map), read_image(self.reference_map)]
            maps = labels_from_colors(pictures)
        return Overrides(masks[0], masks[1], maps[0], maps[1], self.pairs, self.colors)


def make_recipe(sketch: Path, result: Result, given: Given) -> dict[str, Any]:
    """All that is needed to make the picture again."""
    from sketchcolor.weights import sha256_of

    reference = Path(str(result.reference)).absolute()
    files = [sketch.absolute(), reference, *given.files()]
    return {
        "version": __version__,
        "sketch": str(sketch.absolute()),
        "reference": str(reference),
        "sha256": {str(path): sha256_of(path) for path in files},
        "given": asdict(given),
        "settings": result.settings.as_dict() if result.settings else {},
        "stopped": result.stopped,
    }


def read_recipe(picture: Path) -> dict[str, Any]:
    """The recipe in a PNG. Raises ImageError where there is none."""
    from sketchcolor.images import read_text

    text = read_text(picture).get(RECIPE)
    if text is None:
        raise ImageError(f"{picture}: holds no recipe; only pictures that `color` wrote as PNG can be replayed")
    try:
        recipe = json.loads(text)
        if not isinstance(recipe, dict) or not {"sketch", "reference", "sha256", "settings"} <= set(recipe):
            raise ValueError
    except ValueError:
        raise ImageError(f"{picture}: its recipe is damaged, or not of `color`") from None
    return recipe


def check_recipe(recipe: dict[str, Any], picture: Path, sketch: Path, reference: Path) -> ColorSettings:
    """Settings of a recipe, once every source is known to be as it was. Raises ImageError."""
    from sketchcolor.weights import sha256_of

    try:
        settings = ColorSettings.from_dict(recipe["settings"])
        known = recipe["sha256"]
        wanted = {sketch: known[recipe["sketch"]], reference: known[recipe["reference"]]}
        wanted |= {path: known[str(path)] for path in Given.from_recipe(recipe).files()}
    except (ValueError, KeyError, TypeError):
        raise ImageError(f"{picture}: its recipe is damaged") from None
    for path, expected in wanted.items():
        if not path.is_file():
            raise ImageError(f"{path}: is gone; name it again as SKETCH or --reference")
        if sha256_of(path) != expected:
            raise ImageError(f"{path}: has changed since; the same picture cannot be made")
    return settings
