"""One visitor's work."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from sketchcolor import images
from sketchcolor.errors import ImageError
from sketchcolor.records import Hit, Image, Overrides, Result


@dataclass
class Session:
    """One visitor's work. Nothing of it is ever seen by another."""

    sketch: Image | None = None
    reference: Image | None = None
    reference_name: str = ""
    hits: tuple[Hit, ...] = ()
    best: int = 0  # place of the hit that is best to paint with
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

    def before_and_after(self, picture: Image, *, exact: bool = True) -> tuple[Path, Path]:
        """Files of the sketch and of a picture for the page; what is soon replaced need not be exact.

        Raises ImageError where there is no sketch.
        """
        if self.sketch is None:
            raise ImageError("draw or upload a sketch first")
        before = self.files() / f"{images.digest(self.sketch)}.png"
        if not before.exists():
            images.save_image(before, self.sketch)
        after = self.files() / ("result.png" if exact else "underway.jpg")
        images.save_image(after, picture)
        return before, after

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
