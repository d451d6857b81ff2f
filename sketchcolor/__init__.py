"""SketchColor colours a line sketch from your own pictures.

The public names are imported when first used, so that `import sketchcolor` is instant and loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sketchcolor.errors import SketchColorError
    from sketchcolor.images import read_image, save_image
    from sketchcolor.pipeline import Colorizer, segment_photo, segment_sketch
    from sketchcolor.retrieval.library import Library
    from sketchcolor.settings import ColorSettings, StyleSettings
    from sketchcolor.styling import stylize

__version__ = "0.1.0"

_HOMES = {
    "Colorizer": "pipeline",
    "Library": "retrieval.library",
    "ColorSettings": "settings",
    "StyleSettings": "settings",
    "stylize": "styling",
    "segment_sketch": "pipeline",
    "segment_photo": "pipeline",
    "read_image": "images",
    "save_image": "images",
    "SketchColorError": "errors",
}

__all__ = [
    "ColorSettings",
    "Colorizer",
    "Library",
    "SketchColorError",
    "StyleSettings",
    "read_image",
    "save_image",
    "segment_photo",
    "segment_sketch",
    "stylize",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sketchcolor' has no attribute {name!r}")
    value = getattr(import_module(f"sketchcolor.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
