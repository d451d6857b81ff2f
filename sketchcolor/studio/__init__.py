"""What the web app does, without the page: sessions, libraries, and long work that shows itself and can be stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sketchcolor import __version__, images, regions
from sketchcolor.choosing import choose
from sketchcolor.commands.recipe import RECIPE
from sketchcolor.errors import ImageError, SketchColorError
from sketchcolor.lines import find_lines
from sketchcolor.records import Image, Overrides, Progress, Result
from sketchcolor.settings import ColorSettings, StyleSettings
from sketchcolor.studio.bench import Bench
from sketchcolor.studio.corrections import Corrections
from sketchcolor.studio.session import Session
from sketchcolor.studio.shelf import Shelf
from sketchcolor.studio.streams import streamed
from sketchcolor.studio.turnstile import Turnstile
from sketchcolor.styling import stylize

__all__ = ["MOST_MEGAPIXELS", "Session", "Studio", "check_size"]

SHOWN_HITS = 8
Shown = tuple[list[tuple[Image, str]], list[str]]
"""Thumbnails with a word to each, and notes."""
THUMBNAIL = 220
# Pictures that visitors send have no more pixels than this.
MOST_MEGAPIXELS = 40.0
# What a visitor left behind is forgotten after this many seconds.
FORGET_AFTER = 3600
# Who looks while the networks are still loading waits for a preview at most so many seconds.
WARMING = 20.0


class Studio(Corrections):
    """The networks and libraries that all visitors share, and each visitor's session."""

    def __init__(
        self, library: Path | None = None, device: str = "auto", *, folders: bool = True, rate: int = 0
    ) -> None:
        """`library`: the one chosen at first (None: the starter library). folders: server folders may be indexed.

        rate: jobs a minute that are taken from one address (0: any number).
        """
        self.device = device
        self.turnstile = Turnstile(rate)
        self.shelf = Shelf(library, device, folders=folders)
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        self.bench = Bench()
        self.warmed = threading.Event()
        self.warmed.set()

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
        side = ColorSettings.size
        page = np.full((side, side, 3), 255, np.uint8)
        cv2.circle(page, (side // 2, side // 2), side // 3, (0, 0, 0), 3)
        session = Session(sketch=page)
        self.warmed.clear()
        try:
            with contextlib.suppress(SketchColorError):
                for _ in self.candidates(session, self.shelf.first, ColorSettings()):
                    pass
                for settings in (ColorSettings(quality="preview"), ColorSettings(size=96)):
                    for _ in self.color(session, self.shelf.first, settings):
                        pass
        finally:
            self.warmed.set()

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

    def drop_sketch(self, session: Session) -> None:
        """The page is blank again."""
        session.stop.set()
        session.sketch, session.result, session.picked = None, None, None

    def candidates(self, session: Session, library: str, settings: ColorSettings) -> Iterator[Shown]:
        """Thumbnails with a word to each, nearest first, and notes: as soon as they are found, then judged.

        The one that is best to paint with has a star and is chosen. Raises SketchColorError.
        """
        if session.sketch is None:
            raise ImageError("draw or upload a sketch first")
        page = session.sketch
        asked = (library, images.digest(page))
        with session.searching:
            if session.found is None or session.found[0] != asked:
                for shown in self._search(session, page, library, settings):
                    yield shown
                session.found = asked, shown
            else:
                yield session.found[1]

    def _search(self, session: Session, page: Image, library: str, settings: ColorSettings) -> Iterator[Shown]:
        size = images.fit_size(page.shape[0], page.shape[1], min(settings.size, max(page.shape[:2])))
        drawing = find_lines(np.asarray(images.resize(page, size), dtype=np.uint8))
        found = self.shelf.colorizer(library).library.search_ink(drawing.ink, SHOWN_HITS)
        small: dict[str, Image] = {}
        for hit in found:
            with contextlib.suppress(ImageError, OSError):
                small[hit.path] = thumbnail(hit.path, Path(hit.path).stat().st_mtime_ns)
        session.hits = tuple(hit for hit in found if hit.path in small)
        yield [(small[hit.path], f"alike {100 * max(0, hit.score):.0f}%") for hit in session.hits], []
        mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
        judged, _, notes = choose(session.hits, drawing.ink, mask, settings, explain=True)
        # They stay where they were shown: nobody shall click on one and get another.
        by_path = {hit.path: hit for hit in judged}
        session.hits = tuple(by_path.get(hit.path, hit) for hit in session.hits)
        best = next((place for place, hit in enumerate(session.hits) if judged and hit is judged[0]), 0)
        session.best = best
        shown = []
        for place, hit in enumerate(session.hits):
            fit, color = (100 * hit.terms.get(name, 0) for name in ("overlap", "colorful"))
            shown.append((small[hit.path], f"{'★ ' if place == best else ''}fit {fit:.0f}%, colour {color:.0f}%"))
        if session.hits and not session.reference_name.startswith("own"):
            self.choose(session, best)
        yield shown, notes

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

    def glance(self, session: Session, library: str, settings: ColorSettings) -> Image | None:
        """A preview with the chosen reference, before anybody asks for it. Raises SketchColorError.

        None where the device has work (but for `warm`, which is waited for), the painting is there already, or the
        visitor has gone on meanwhile.
        """
        sketch, reference, overrides = session.sketch, session.reference, session.overrides
        if sketch is None or reference is None or session.result is not None:
            return None
        quick = dataclasses.replace(settings, quality="preview")
        self.warmed.wait(WARMING)
        with self.bench.spare() as free:
            if free and session.sketch is sketch and session.reference is reference:
                found = self.shelf.colorizer(library).color(
                    sketch, reference, settings=quick, overrides=overrides, progress=self.bench.make_way
                )
                if session.sketch is sketch and session.reference is reference:
                    return found.image
        return None

    def foresee(self, session: Session, library: str, settings: ColorSettings) -> threading.Thread:
        """Look at the other candidates too, in a thread of its own: what is found in a picture is remembered.

        So a click on one of them shows its preview sooner. Ends where the device has work or the visitor goes on.
        """
        sketch, hits = session.sketch, session.hits
        quick = dataclasses.replace(settings, quality="preview")

        def look() -> None:
            for hit in hits:
                with self.bench.spare() as free, contextlib.suppress(SketchColorError):
                    if not free or sketch is None or session.sketch is not sketch or session.hits is not hits:
                        return
                    self.shelf.colorizer(library).color(sketch, hit.path, settings=quick, progress=self.bench.make_way)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        return thread

    def color(self, session: Session, library: str, settings: ColorSettings) -> Iterator[Progress | Result]:
        """Colour the session's sketch: progress with pictures, then the result. Raises SketchColorError."""
        if session.sketch is None:
            raise ImageError("draw or upload a sketch first")
        colorizer = self.shelf.colorizer(library)
        session.stop = threading.Event()
        sketch, reference, overrides, previous = session.sketch, session.reference, session.overrides, session.result

        def work(progress: Callable[[Progress], bool | None]) -> Result:
            with self.bench.job():
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
            with self.bench.job():
                return stylize(settings=settings, progress=progress, device=self.device, **inputs)

        yield from streamed(work, session.stop)

    # --- taking away

    def downloads(self, session: Session) -> tuple[Path, Path]:
        """(PNG with its settings, zip with layers) in the session's folder."""
        result = session.last_result()
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


@lru_cache(maxsize=512)
def thumbnail(path: str, changed: int) -> Image:
    """A library picture, small; `changed`: when the file was. Raises ImageError."""
    picture = images.read_image(path)
    size = images.fit_size(picture.shape[0], picture.shape[1], THUMBNAIL)
    return np.asarray(images.resize(picture, size), dtype=np.uint8)


def check_size(picture: Image) -> None:
    """Raises ImageError for more pixels than a visitor may send."""
    if picture.shape[0] * picture.shape[1] > MOST_MEGAPIXELS * 1e6:
        raise ImageError(f"pictures of more than {MOST_MEGAPIXELS:g} megapixels are not taken here")
