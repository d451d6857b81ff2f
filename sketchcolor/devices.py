"""Which processor the networks run on."""

from __future__ import annotations

from sketchcolor.errors import SettingsError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str) -> str:
    """A torch device that is there; "auto" takes the fastest. torch is loaded only where it is needed.

    Raises SettingsError for one that is unknown or not there.
    """
    if name not in DEVICES:
        raise SettingsError(f"device must be one of {', '.join(DEVICES)}, not {name!r}")
    if name == "cpu":
        return name
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((device for device, ok in there.items() if ok), "cpu")
    if not there[name]:
        raise SettingsError(f"device {name} is not available on this machine; use auto or cpu")
    return name
