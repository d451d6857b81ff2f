"""Network weights: found, verified, loaded. Nothing is ever unpickled.

Looked for in this order: the path given, $SKETCHCOLOR_MODELS, the package's own models/, torch's cache, and last,
when online and allowed, torchvision's download.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sketchcolor.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

_PACKAGE = Path(__file__).resolve().parent


def data_folder(name: str) -> Path:
    """A top-level data folder ("models", "index", "examples"): inside an installed package or beside it in a clone."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


@dataclass(frozen=True)
class Card:
    """What models/cards.json says of a file that we ship."""

    name: str
    file: str
    sha256: str
    purpose: str
    license: str


def cards() -> dict[str, Card]:
    """Cards of the shipped networks by name."""
    listing = data_folder("models") / "cards.json"
    if not listing.exists():
        return {}
    return {entry["name"]: Card(**entry) for entry in json.loads(listing.read_text("utf-8"))}


def sha256_of(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_shipped(name: str) -> Path:
    """The verified file of one of our own networks. Raises WeightsError where it is missing or not as shipped."""
    card = cards().get(name)
    if card is None:
        raise WeightsError(f"no network named {name!r} is shipped; see `python -m sketchcolor models list`")
    folders = [Path(os.environ["SKETCHCOLOR_MODELS"])] if os.environ.get("SKETCHCOLOR_MODELS") else []
    for folder in [*folders, data_folder("models")]:
        path = folder / card.file
        if path.is_file():
            if (found := sha256_of(path)) != card.sha256:
                raise WeightsError(f"{path}: damaged or replaced (sha256 {found[:12]}, expected {card.sha256[:12]})")
            return Path(path)
    raise WeightsError(f"{card.file} is missing from {data_folder('models')}; install the package again")


def load_file(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, or of a .pth by torch's restricted loader. Raises WeightsError."""
    import torch

    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file as load

            return dict(load(str(path)))
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(loaded, dict) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
            raise WeightsError(f"{path}: holds no plain table of tensors")
        return dict(loaded)
    except WeightsError:
        raise
    except Exception as error:  # any damage; the loaders raise many kinds
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: cannot be loaded ({reason})") from None


def load_shipped(name: str) -> dict[str, Tensor]:
    """Float32 tensors of one of our own networks, verified."""
    return {key: value.float() for key, value in load_file(find_shipped(name)).items()}


def torchvision_weights(name: str) -> Any:
    """torchvision's default weights entry of a network. Raises WeightsError for an unknown name."""
    from torchvision.models import get_model_weights

    try:
        return get_model_weights(name).DEFAULT if name not in _IMAGENET_V1 else get_model_weights(name).IMAGENET1K_V1
    except ValueError:
        raise WeightsError(f"torchvision has no network named {name!r}") from None


_IMAGENET_V1 = ("vgg16", "vgg19", "alexnet", "resnet50", "squeezenet1_0", "inception_v3", "efficientnet_b0")


def cached_path(name: str) -> Path | None:
    """Where a torchvision network's weights already lie: $SKETCHCOLOR_MODELS, models/ or torch's cache; else None.

    The first eight hexadecimal digits of the sha256, which torchvision writes into the file's name, are checked.
    """
    import torch

    entry = torchvision_weights(name)
    filename = entry.url.rsplit("/", 1)[-1]
    folders = [Path(os.environ["SKETCHCOLOR_MODELS"])] if os.environ.get("SKETCHCOLOR_MODELS") else []
    folders += [data_folder("models"), Path(torch.hub.get_dir()) / "checkpoints"]
    for folder in folders:
        path = folder / filename
        if path.is_file():
            stated = re.search(r"-([0-9a-f]{8,})\.", filename)
            if stated and not sha256_of(path).startswith(stated[1]):
                raise WeightsError(
                    f"{path}: damaged (its sha256 does not begin with {stated[1]}); delete it and fetch again"
                )
            return Path(path)
    return None


def fetch(name: str) -> Path:
    """Download a torchvision network's weights into torch's cache, hash checked by torchvision.

    Raises WeightsError where there is no network; a partial file never remains (torch.hub writes beside, then
    renames).
    """
    import torch

    if (path := cached_path(name)) is not None:
        return path
    entry = torchvision_weights(name)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # torch.hub says on standard output what it downloads
            entry.get_state_dict(progress=False, check_hash=True)
    except Exception as error:  # URLError, HTTPError, timeouts, hash mismatch, disk full
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise WeightsError(
            f"{name}: cannot be downloaded ({reason}). Without a network, put {entry.url.rsplit('/', 1)[-1]} into "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'} by hand"
        ) from None
    found = cached_path(name)
    if found is None:
        raise WeightsError(f"{name}: the download left no file in torch's cache")
    return found
