"""Files that are whole or not there: written beside, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sketchcolor.errors import ImageError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file beside `path` to write into; it takes the place of `path` at the end, or is removed where that fails.

    Missing folders are made. Raises ImageError, one line, where it cannot be written.
    """
    beside = None
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder; name a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".part", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(path)
        beside = None
    except OSError as error:
        raise ImageError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
