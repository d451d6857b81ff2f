"""The libraries that the app's visitors choose from: opened once, made, extended and removed here."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sketchcolor.errors import LibraryError
from sketchcolor.pipeline import Colorizer
from sketchcolor.records import Progress
from sketchcolor.retrieval.library import Library
from sketchcolor.retrieval.starter import cache_folder
from sketchcolor.settings import ColorSettings
from sketchcolor.studio.streams import streamed

STARTER = "Starter pictures"
# Files for a library at a time.
MOST_FILES = 500


class Shelf:
    """Libraries by name. Those made here lie in the cache and are there the next time."""

    def __init__(self, library: Path | None, device: str, *, folders: bool) -> None:
        """`library`: the one chosen at first (None: the starter library). folders: server folders may be indexed."""
        self.device, self.folders = device, folders
        self.places: dict[str, Path | None] = {STARTER: None}
        if library is not None:
            self.places[library.name] = library
        self.first = library.name if library is not None else STARTER
        self._open: dict[str, Colorizer] = {}
        self._lock, self._opening = threading.Lock(), threading.Lock()
        if folders:
            for place in sorted((cache_folder() / "libraries").glob("*/library.sqlite")):
                self.places.setdefault(place.parent.name, place.parent)

    def libraries(self) -> list[str]:
        """Names to choose from."""
        return list(self.places)

    def colorizer(self, name: str) -> Colorizer:
        """The colorizer of a library by its name in the list. Raises LibraryError."""
        if name not in self.places:
            raise LibraryError(f"no library named {name!r} here")
        with self._opening:  # two visitors at once must not both index the starter pictures
            if name not in self._open:
                made = Colorizer(self.places[name], ColorSettings(), self.device)
                len(made.library)
                self._open[name] = made
            return self._open[name]

    def build(self, name: str, sources: Sequence[Path], stop: threading.Event) -> Iterator[Progress | str]:
        """Make or extend a library of pictures: files are copied to it, a folder stays where it is."""
        plain = re.sub(r"[^\w\- ]+", "", name).strip()
        if not plain or plain == STARTER:
            raise LibraryError("give the library a name of letters and digits")
        if len(sources) > MOST_FILES:
            raise LibraryError(f"at most {MOST_FILES} files at a time")
        target = self.places.get(plain) or cache_folder() / "libraries" / plain
        folders = [p for p in sources if p.is_dir()]
        if folders and not self.folders:
            raise LibraryError("folders of the server are not open here; upload pictures instead")
        if not sources:
            raise LibraryError("name a folder or upload pictures")
        kept = cache_folder() / "pictures" / plain
        for source in (p for p in sources if not p.is_dir()):
            if not source.is_file():
                raise LibraryError(f"{source.name}: no such folder or file")
            kept.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, kept / source.name)

        def work(progress: Callable[[Progress], bool | None]) -> str:
            every = [*folders, *([kept] if kept.is_dir() else [])]
            reports = [Library.build(folder, target, progress=progress) for folder in every]
            with self._lock:
                self.places[plain] = target
                self._open.pop(plain, None)
            skipped = sum(len(r.skipped) for r in reports)
            return f"{plain}: {reports[-1].total} pictures, {skipped} files skipped"

        yield from streamed(work, stop)

    def remove(self, name: str) -> str:
        """Forget a library of this app's own; its pictures in other folders stay."""
        place = self.places.get(name)
        if place is None or place.parent != cache_folder() / "libraries":
            raise LibraryError("only libraries that were made here can be removed")
        with self._lock:
            self.places.pop(name, None)
            self._open.pop(name, None)
        for folder in (place, cache_folder() / "pictures" / name):
            shutil.rmtree(folder, ignore_errors=True)
        return f"{name} is removed"
