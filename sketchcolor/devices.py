"""Which processor the networks run on."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

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


# glibc's names for the settings of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**30


@contextmanager
def keeping_memory(device: str) -> Iterator[None]:
    """Inside, memory that is freed stays with the process, for the next step; at the end it goes back to the system.

    Each step of an optimisation frees and takes the same large arrays. glibc hands such arrays back at once, and the
    system clears every page of them anew. Elsewhere than on glibc, nothing is done.
    """
    libc = None
    if device == "cpu":
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(_ARENA_MAX, 1)  # one heap for all threads: only the main one can hold large arrays
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
            libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1)
        except (OSError, TypeError, AttributeError):
            libc = None
    try:
        yield
    finally:
        if libc is not None:
            libc.malloc_trim(0)
