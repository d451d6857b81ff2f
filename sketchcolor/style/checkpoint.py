"""A run that can be taken up again: all of the loop's state in one safetensors file. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sketchcolor.errors import ImageError
from sketchcolor.files import replacing

EVERY = 25


class Checkpoint:
    """Where a run keeps its state.

    path: the file written every `every` steps and when the run is stopped (None: none is written). resume: a file to
    go on from (None: from the start). `kept` holds further tensors of the run's own, saved along.
    """

    def __init__(self, path: Path | None = None, resume: Path | None = None, *, every: int = EVERY) -> None:
        """Reads `resume`. Raises ImageError with one line where it is no checkpoint."""
        self.path, self.every = path, every
        self.kept: dict[str, Tensor] = {}
        self._state: dict[str, Any] = {}
        self._tensors: dict[str, Tensor] = {}
        if resume is not None:
            self._read(resume)

    def _read(self, path: Path) -> None:
        from safetensors import safe_open

        try:
            with safe_open(str(path), framework="pt") as file:
                self._state = json.loads(file.metadata()["sketchcolor"])
                self._tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.kept = {k[5:]: v for k, v in self._tensors.items() if k.startswith("kept.")}
            self._digest = str(self._state["digest"])
        except FileNotFoundError:
            raise ImageError(f"{path}: no such checkpoint") from None
        except Exception:  # the reader raises its own kinds for damage
            raise ImageError(f"{path}: no checkpoint of this program, or damaged") from None
        self._source = path

    def load(self, digest: str) -> dict[str, Any] | None:
        """The state to go on from, or None for a run from the start. Raises ImageError for another run's state."""
        if not self._state:
            return None
        if self._digest != digest:
            raise ImageError(f"{self._source}: was made from other pictures or settings; give the same ones to go on")
        state: dict[str, Any] = _fill(self._state["state"], self._tensors)
        self._state = {}
        return state

    def save(self, digest: str, state: Mapping[str, Any]) -> None:
        """Write beside, then rename. Raises ImageError where it cannot be written."""
        from safetensors.torch import save_file

        if self.path is None:
            return
        tensors: dict[str, Tensor] = {f"kept.{k}": v.detach().cpu().contiguous().clone() for k, v in self.kept.items()}
        skeleton = _empty(state, tensors)
        with replacing(self.path) as beside:
            save_file(tensors, beside, metadata={"sketchcolor": json.dumps({"digest": digest, "state": skeleton})})


def digest(settings: Mapping[str, Any], tensors: list[Tensor]) -> str:
    """sha256 of settings and pictures: what a run is."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for tensor in tensors:
        found.update(repr(tuple(tensor.shape)).encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _empty(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A JSON skeleton of nested dicts, lists and plain values; tensors go into `tensors` under a number."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"items": [[key, _empty(entry, tensors)] for key, entry in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"list": [_empty(entry, tensors) for entry in value], "tuple": isinstance(value, tuple)}
    return value


def _fill(skeleton: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_empty`."""
    if not isinstance(skeleton, dict):
        return skeleton
    if "tensor" in skeleton:
        # A copy in memory of its own: sums come out differently where a tensor begins at an odd place in a file.
        return tensors[skeleton["tensor"]].clone()
    if "items" in skeleton:
        return {key: _fill(entry, tensors) for key, entry in skeleton["items"]}
    found = [_fill(entry, tensors) for entry in skeleton["list"]]
    return tuple(found) if skeleton["tuple"] else found
