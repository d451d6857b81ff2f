"""One visitor's work."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sketchcolor.errors import ImageError
from sketchcolor.records import Hit, Image, Overrides, Result


@dataclass
class Session:
    """One visitor's work. Nothing of it is ever seen by another."""

    sketch: Image | None = None
    reference: Image | None = None
    reference_name: str = ""
    hits: tuple[Hit, ...] = ()
    result: Result | None = None
    overrides: Overrides = field(default_factory=Overrides)
    picked: int | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    searching: threading.Lock = field(default_factory=threading.Lock)
    found: tuple[tuple[str, str], tuple[list[tuple[Image, str]], list[str]]] | None = None
    folder: Path | None = None
    seen: float = field(default_factory=time.monotonic)

    def files(self) -> Path:
        """This visitor's own temporary folder."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="sketchcolor-"))
        return self.folder

    def end(self) -> None:
        """Stop what runs and remove what was written."""
        self.stop.set()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def last_result(self) -> Result:
        """What was coloured last. Raises ImageError where nothing was."""
        if self.result is None:
            raise ImageError("colour the sketch first")
        return self.result
