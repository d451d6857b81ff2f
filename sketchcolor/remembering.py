"""Keeping what was found in a picture for as long as it may be asked for again."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Found = TypeVar("Found")


def remembered(megabytes: float) -> Callable[[Callable[..., Found]], Callable[..., Found]]:
    """Decorator: the last answers of a function of arrays and plain values are kept, up to so many MB of arrays.

    The function must depend on its arguments alone. Arrays in its answer (itself, or in tuples and dataclasses) can no
    longer be written to, since others may hold them too. May be called from several threads.
    """

    def decorate(function: Callable[..., Found]) -> Callable[..., Found]:
        kept: OrderedDict[str, tuple[Found, int]] = OrderedDict()
        lock = threading.Lock()

        @functools.wraps(function)
        def ask(*values: Any, **named: Any) -> Found:
            key = _key([*values, *sorted(named.items())])
            with lock:
                if key in kept:
                    kept.move_to_end(key)
                    return kept[key][0]
            found = function(*values, **named)
            size = 0
            for array in _arrays(found):
                array.flags.writeable = False
                size += array.nbytes
            with lock:
                kept[key] = found, size
                while sum(bytes_of for _, bytes_of in kept.values()) > megabytes * 1e6:
                    kept.popitem(last=False)
            return found

        return ask

    return decorate


def _key(values: list[Any]) -> str:
    digest = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.shape}{value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _arrays(value: Any) -> Iterator[NDArray[Any]]:
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _arrays(part)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _arrays(getattr(value, field.name))
