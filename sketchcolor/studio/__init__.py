"""What the web app does, without the page: sessions, libraries, and long work that shows itself and can be stopped."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sketchcolor import __version__, images, regions
from sketchcolor.choosing import choose
from sketchcolor.commands.recipe import RECIPE
from sketchcolor.errors import ImageError, SketchColorError
from sketchcolor.lines import find_lines
from sketchcolor.plots import tinted
from sketchcolor.records import Hit, Image, Labels, Mask, Overrides, Progress, Result
from sketchcolor.settings import ColorSettings, StyleSettings
from sketchcolor.studio.shelf import Shelf
from sketchcolor.studio.streams import streamed
from sketchcolor.styling import stylize

SHOWN_HITS = 8
THUMBNAIL = 220
# Pictures that visitors send have no more pixels than this.
MOST_MEGAPIXELS = 40.0
# What a visitor left behind is forgotten after this many seconds.
FORGET_AFTER = 3600


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


class Studio:
    """The networks and libraries that all visitors share, and each visitor's session."""

    def __init__(self, library: Path | None = None, device: str = "auto", *, folders: bool = True) -> None:
        """`library`: the one chosen at first (None: the starter library). folders: server folders may be indexed."""
        self.device = device
        self.shelf = Shelf(library, device, folders=folders)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def session(self, key: str | None) -> Session:
        """The session of a visitor; those long unseen are forgotten."""
        with self._lock:
            now = time.monotonic()
            for old in [k for k, s in self._sessions.items() if now - s.seen > FORGET_AFTER]:
                self._sessions.pop(old).end()
            found = self._sessions.setdefault(key or "", Session())
            found.seen = now
            return found

    def leave(self, key: str | None) -> None:
        """A visitor has gone."""
        with self._lock:
            gone = self._sessions.pop(key or "", None)
        if gone is not None:
            gone.end()

    def close(self) -> None:
        """Forget all visitors."""
        for key in list(self._sessions):
            self.leave(key)

    def warm(self) -> None:
        """Open the first library and run the networks once, so that the first picture comes as fast as the next."""
        page = np.full((96, 96, 3), 255, np.uint8)
        cv2.circle(page, (48, 48), 30, (0, 0, 0), 3)
        session = Session(sketch=page)
        with contextlib.suppress(SketchColorError):
            self.candidates(session, self.shelf.first, ColorSettings())
            for _ in self.color(session, self.shelf.first, ColorSettings(size=96)):
                pass

    # --- the way from a sketch to a picture

    def take_sketch(self, session: Session, page: Image) -> Image:
        """Keep a sketch and show its ink. Raises ImageError."""
        check_size(page)
        drawing = find_lines(images.check_image(page, "sketch"))
        if session.sketch is None or not np.array_equal(session.sketch, page):
            session.stop.set()  # what is under way belongs to another drawing
            session.sketch, session.result, session.picked = page, None, None
            session.overrides = Overrides()
        return np.asarray(255 * (1 - drawing.ink) + 0.5, dtype=np.uint8)

    def candidates(
        self, session: Session, library: str, settings: ColorSettings
    ) -> tuple[list[tuple[Image, str]], list[str]]:
        """Thumbnails with the reasons for them, best first, and notes. Raises SketchColorError."""
        if session.sketch is None:
            raise ImageError("draw or upload a sketch first")
        with session.searching:
            asked = (library, images.digest(session.sketch))
            if session.found is None or session.found[0] != asked:
                session.found = asked, self._search(session, session.sketch, library, settings)
            return session.found[1]

    def _search(
        self, session: Session, page: Image, library: str, settings: ColorSettings
    ) -> tuple[list[tuple[Image, str]], list[str]]:
        size = images.fit_size(page.shape[0], page.shape[1], min(settings.size, max(page.shape[:2])))
        drawing = find_lines(np.asarray(images.resize(page, size), dtype=np.uint8))
        mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
        found = self.shelf.colorizer(library).library.search_ink(drawing.ink, SHOWN_HITS)
        session.hits, _, notes = choose(found, drawing.ink, mask, replace(settings, judged=SHOWN_HITS))
        shown = []
        for hit in session.hits:
            try:
                picture = images.read_image(hit.path)
            except ImageError:
                continue
            size = images.fit_size(picture.shape[0], picture.shape[1], THUMBNAIL)
            terms = hit.terms
            why = f"fit {100 * terms.get('overlap', 0):.0f} · colour {100 * terms.get('colorful', 0):.0f}"
            shown.append((np.asarray(images.resize(picture, size), dtype=np.uint8), why))
        if session.hits and not session.reference_name.startswith("own"):
            self.choose(session, 0)
        return shown, notes

    def choose(self, session: Session, place: int) -> None:
        """Take one of the candidates as the reference."""
        if not 0 <= place < len(session.hits):
            raise ImageError("no such candidate; search again")
        hit = session.hits[place]
        self.take_reference(session, images.read_image(hit.path), Path(hit.path).name)

    def take_reference(self, session: Session, picture: Image, name: str) -> None:
        """Keep a reference; what was decided about another one is dropped."""
        check_size(picture)
        if session.reference is None or not np.array_equal(session.reference, picture):
            kept = session.overrides.sketch_mask
            session.reference, session.reference_name, session.result = picture, name, None
            session.overrides, session.picked = Overrides(sketch_mask=kept), None

    def color(self, session: Session, library: str, settings: ColorSettings) -> Iterator[Progress | Result]:
        """Colour the session's sketch: progress with pictures, then the result. Raises SketchColorError."""
        if session.sketch is None:
            raise ImageError("draw or upload a sketch first")
        colorizer = self.shelf.colorizer(library)
        session.stop = threading.Event()
        sketch, reference, overrides, previous = session.sketch, session.reference, session.overrides, session.result

        def work(progress: Callable[[Progress], bool | None]) -> Result:
            return colorizer.color(
                sketch, reference, progress=progress, settings=settings, overrides=overrides, previous=previous
            )

        for step in streamed(work, session.stop):
            if isinstance(step, Result):
                session.result = step
            yield step

    def stylize(self, session: Session, settings: StyleSettings, **inputs: Any) -> Iterator[Progress | Result]:
        """Style transfer, streamed. Raises SketchColorError."""
        session.stop = threading.Event()

        def work(progress: Callable[[Progress], bool | None]) -> Result:
            return stylize(settings=settings, progress=progress, device=self.device, **inputs)

        yield from streamed(work, session.stop)

    # --- correcting

    def correct_mask(self, session: Session, which: str, added: Mask, removed: Mask) -> None:
        """Paint into the foreground mask of "sketch" or "reference"; masks of any size."""
        result = self.result_of(session)
        known = result.sketch_mask if which == "sketch" else result.reference_mask
        assert known is not None
        more, less = (regions.sized_mask(m, (known.shape[0], known.shape[1])) for m in (added, removed))
        mask = (known | more) & ~less
        kept = replace(session.overrides, pairs=(), colors=())  # regions get other numbers
        sketch = which == "sketch"
        session.overrides = replace(kept, sketch_mask=mask) if sketch else replace(kept, reference_mask=mask)

    def views(self, session: Session) -> tuple[Image, Image]:
        """Sketch and picture with their regions in flat colours, matched ones in the same; the picked one is lit up."""
        result = self.result_of(session)
        parts = result.regions
        assert parts is not None
        page, reference = result.layers["lines"], result.layers["reference"]
        if page.ndim == 2:
            page = cv2.cvtColor(page, cv2.COLOR_GRAY2RGB)
        partner = np.zeros(int(parts.sketch_map.max()) + 1, np.int32)
        for match in result.matches:
            partner[match.sketch] = match.reference
        chosen = None if session.picked is None else parts.sketch_map == session.picked
        return tinted(page, partner[parts.sketch_map], chosen), tinted(reference, parts.reference_map)

    def pick(self, session: Session, row: float, column: float) -> int:
        """The sketch region at a place (shares of height and width), to be matched or coloured next."""
        parts = self.result_of(session).regions
        assert parts is not None
        session.picked = _at(parts.sketch_map, row, column)
        return session.picked

    def pair(self, session: Session, row: float, column: float) -> tuple[int, int]:
        """Match the picked sketch region with the reference region at a place."""
        if session.picked is None:
            raise ImageError("click a region of the sketch first")
        parts = self.result_of(session).regions
        assert parts is not None
        pair = session.picked, _at(parts.reference_map, row, column)
        others = tuple(p for p in session.overrides.pairs if p[0] != pair[0])
        session.overrides = replace(session.overrides, pairs=(*others, pair))
        return pair

    def lock_color(self, session: Session, rgb: tuple[int, int, int]) -> int:
        """Give the picked sketch region a mean colour."""
        if session.picked is None:
            raise ImageError("click a region of the sketch first")
        others = tuple(c for c in session.overrides.colors if c[0] != session.picked)
        session.overrides = replace(session.overrides, colors=(*others, (session.picked, rgb)))
        return session.picked

    def forget_corrections(self, session: Session) -> None:
        """Back to what the program decides."""
        session.overrides, session.picked = Overrides(), None

    @staticmethod
    def result_of(session: Session) -> Result:
        """What was coloured last. Raises ImageError where nothing was."""
        if session.result is None:
            raise ImageError("colour the sketch first")
        return session.result

    # --- taking away

    def downloads(self, session: Session) -> tuple[Path, Path]:
        """(PNG with its settings, zip with layers) in the session's folder."""
        result = self.result_of(session)
        assert session.sketch is not None and result.preview is not None and result.regions is not None
        assert result.sketch_mask is not None and result.reference_mask is not None
        recipe = {
            "version": __version__,
            "reference": session.reference_name,
            "settings": result.settings.as_dict() if result.settings else {},
            "stopped": result.stopped,
        }
        picture, archive = session.files() / "sketchcolor.png", session.files() / "sketchcolor-layers.zip"
        images.save_image(picture, result.image, text={RECIPE: json.dumps(recipe, ensure_ascii=False)})
        layers = {
            "sketch": session.sketch,
            "preview": result.preview,
            **{name: result.layers[name] for name in ("underpainting", "painting", "lines", "reference")},
            "sketch-mask": result.sketch_mask.astype(np.uint8) * 255,
            "reference-mask": result.reference_mask.astype(np.uint8) * 255,
        }
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            packed.write(picture, "result.png")
            for name, layer in layers.items():
                part = session.files() / f"{name}.png"
                images.save_image(part, layer)
                packed.write(part, part.name)
                part.unlink()
        return picture, archive


def check_size(picture: Image) -> None:
    """Raises ImageError for more pixels than a visitor may send."""
    if picture.shape[0] * picture.shape[1] > MOST_MEGAPIXELS * 1e6:
        raise ImageError(f"pictures of more than {MOST_MEGAPIXELS:g} megapixels are not taken here")


def _at(labels: Labels, row: float, column: float) -> int:
    height, width = labels.shape
    return int(labels[min(height - 1, max(0, int(row * height))), min(width - 1, max(0, int(column * width)))])
