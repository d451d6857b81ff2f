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


def bfloat16_is_quick(device: str) -> bool:
    """Whether a device multiplies bfloat16 numbers itself. Where it must convert them, they are slower than float32."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


# glibc's names for the settings of mallopt(3).
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST = 2**30
_SMALL = 2**20


@contextmanager
def memory_habit(device: str, *, keep: bool) -> Iterator[None]:
    """Inside, memory that is freed stays with the process for the next step (`keep`), or goes back at once.

    Each step of an optimisation frees and takes the same large arrays. Given back, every page of them is cleared anew,
    which takes time; kept, gaps remain between them. At the end, all that is free goes back to the system. Elsewhere
    than on glibc, nothing is done.
    """
    libc = None
    if device == "cpu":
        try:
            libc = ctypes.CDLL(None)
            libc.mallopt(_ARENA_MAX, 1)  # one heap for all threads: only the main one can hold large arrays
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST if keep else _SMALL)
            libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST - 1 if keep else _SMALL)
        except (OSError, TypeError, AttributeError):
            libc = None
    try:
        yield
    finally:
        if libc is not None:
            libc.malloc_trim(0)
