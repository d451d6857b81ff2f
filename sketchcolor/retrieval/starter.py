"""The starter library: photographs that scikit-image already installs on the user's machine.

No picture is copied; `index/starter.json` lists title, licence and source of each.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from sketchcolor.retrieval.embedding import Embedding
from sketchcolor.weights import data_folder


def manifest() -> list[dict[str, str]]:
    """Entries of the starter library: file, title, licence, source."""
    listing: list[dict[str, str]] = json.loads((data_folder("index") / "starter.json").read_text("utf-8"))
    return listing


def pictures() -> list[Path]:
    """Files of the starter library that are on this machine."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return [folder / entry["file"] for entry in manifest() if (folder / entry["file"]).is_file()]


def cache_folder() -> Path:
    """Where made things are kept: $SKETCHCOLOR_CACHE, else the user's cache, else the temporary folder."""
    if os.environ.get("SKETCHCOLOR_CACHE"):
        return Path(os.environ["SKETCHCOLOR_CACHE"])
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    if os.access(base if base.exists() else base.parent, os.W_OK):
        return base / "sketchcolor"
    return Path(tempfile.gettempdir()) / "sketchcolor"


def folder(embedding: Embedding) -> Path:
    """The starter library's own folder; another one for each embedding and each place of the pictures."""
    import hashlib

    places = "\n".join(str(p) for p in pictures())
    mark = hashlib.sha256(places.encode()).hexdigest()[:8]
    return cache_folder() / f"starter-{embedding.version}-{mark}"
