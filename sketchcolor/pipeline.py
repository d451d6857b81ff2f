"""From a sketch to a coloured picture: the whole way, on one screen.

sketch -> lines -> figure -> search, choosing -> reference -> its figure -> alignment -> parts, matched
-> underpainting -> style transfer over it -> lines on top.
"""

from __future__ import annotations

import dataclasses
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sketchcolor import images, lines, regions
from sketchcolor.choosing import choose
from sketchcolor.errors import ImageError, LibraryError
from sketchcolor.lines import Lines
from sketchcolor.records import Field, Hit, Image, Mask, Match, Overrides, Progress, ProgressCallback, Regions, Result
from sketchcolor.repainting import repaint
from sketchcolor.retrieval.embedding import places
from sketchcolor.retrieval.library import Library
from sketchcolor.settings import ColorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sketchcolor.regions.alignment import Alignment

# Drawings smaller than this have no room for a figure.
SMALLEST_SKETCH = 8
# The working picture is at most this much larger than the sketch, and at least this wide.
MOST_ENLARGED = 2.0
NARROWEST = 16


def segment_sketch(image: Image) -> Mask:
    """Foreground of a line drawing: RGB uint8 (H, W, 3) -> bool (H, W), True = figure. Raises ImageError."""
    found = lines.find_lines(image)
    mask: Mask = regions.sketch_foreground(found.ink, found.width).mask.copy()  # what is remembered stays as it is
    return mask


def segment_photo(image: Image) -> Mask:
    """Foreground of a photo: RGB uint8 (H, W, 3) -> bool (H, W), True = figure. Raises ImageError."""
    mask: Mask = regions.photo_foreground(images.check_image(image, "photo")).mask.copy()
    return mask


@dataclass
class _Work:
    """Everything found on the way for one sketch; sizes are the working size."""

    page: Image
    full_lines: Lines
    size: tuple[int, int]
    progress: ProgressCallback | None
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and say that it begins."""
        if self.progress is not None:
            self.progress(Progress(name, 0, 1))
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 4)


class Colorizer:
    """Colours sketches from a library. Networks and index load once; `color` may be called many times."""

    def __init__(
        self,
        library: Library | str | Path | None = None,
        settings: ColorSettings = ColorSettings(),  # noqa: B008 - frozen
        device: str = "auto",
    ) -> None:
        """A library, its folder, or None for the starter library (opened at the first search).

        device: auto, cpu, cuda or mps. Raises SettingsError for a device that is not there.
        """
        from sketchcolor.devices import choose_device

        self._library = library
        self.settings = settings
        self.device = choose_device(device)

    @property
    def library(self) -> Library:
        """The library, opened at first use."""
        if not isinstance(self._library, Library):
            self._library = Library.open(self._library)
        return self._library

    def color(
        self,
        sketch: Image | str | Path,
        reference: Image | str | Path | None = None,
        *,
        progress: ProgressCallback | None = None,
        settings: ColorSettings | None = None,
        overrides: Overrides = Overrides(),  # noqa: B008 - frozen
        previous: Result | None = None,
    ) -> Result:
        """Colour a sketch, RGB uint8 (H, W, 3) or a path, from the library or from a given reference.

        The result has the sketch's own size. `progress` hears of each stage, gets the preview as a picture, and may
        return False to stop the painting and keep the best so far. `overrides` holds masks, maps and pairs that the
        user decides. With a `previous` result of the same sketch, only what comes out otherwise now is painted again.
        Raises ImageError, LibraryError and SettingsError.
        """
        settings = settings or self.settings
        work = self._begin(sketch, settings, progress)
        with work.stage("lines"):
            page = _to_size(work.page, work.size)
            drawing = lines.find_lines(page)
        with work.stage("figure"):
            if overrides.sketch_mask is not None:
                sketch_mask = regions.sized_mask(overrides.sketch_mask, work.size)
            else:
                sketch_mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
        with work.stage("search"):
            hits, used, picture = self._reference(drawing, sketch_mask, reference, settings, work)
            picture = _to_size(picture, images.fit_size(picture.shape[0], picture.shape[1], max(work.size)))
        with work.stage("segment"):
            if overrides.reference_mask is not None:
                reference_mask = regions.sized_mask(overrides.reference_mask, picture.shape[:2])
            else:
                found = regions.photo_foreground(picture)
                reference_mask = regions.main_figure(sketch_mask, found.mask, found.readings, drawing.ink, picture)
            reference_mask = _believed(reference_mask, work)
        with work.stage("align"):
            placed = regions.align(sketch_mask, reference_mask, drawing.ink, picture, see=places)
        with work.stage("match"):
            sides = (sketch_mask, picture, reference_mask)
            if overrides.sketch_map is not None and overrides.reference_map is not None:
                parts = regions.parts_from_maps(overrides, page, *sides)
            else:
                parts = regions.find_parts(page, drawing.ink, *sides, most=settings.parts)
            matches = regions.overrule(regions.match(parts, placed, sketch_mask), parts, overrides)
        with work.stage("underpaint"):
            under, trust = regions.underpaint(
                picture, reference_mask, sketch_mask, placed, parts.sketch_map, parts.reference_map, matches
            )
            preview = _finish(regions.recolor(under, parts.sketch_map, overrides.colors), work, settings)
        work.seconds["to_preview"] = round(time.perf_counter() - work.began, 4)
        if progress is not None:
            progress(Progress("preview", 1, 1, image=preview))
        with work.stage("paint"):
            watch = _showing_pages(progress, work, settings)

            def paint(*what: Any) -> tuple[Image, tuple[dict[str, float], ...], bool]:
                return self._paint(picture, matches, settings, *what)

            painted, losses, stopped = repaint(previous, under, trust, picture, parts, settings, paint, watch)
            painting = regions.recolor(painted, parts.sketch_map, overrides.colors)
        with work.stage("finish"):
            result = _finish(painting, work, settings)
        work.seconds["total"] = round(time.perf_counter() - work.began, 4)
        return Result(
            image=result,
            preview=preview,
            ink=work.full_lines.ink.copy(),  # what is remembered stays as it is
            reference=used,
            hits=hits,
            sketch_mask=sketch_mask.copy(),
            reference_mask=reference_mask.copy(),
            regions=parts,
            matches=matches,
            losses=losses,
            seconds=work.seconds,
            settings=settings,
            layers=_layers(under, painted, painting, drawing, placed, picture),
            stopped=stopped,
            notes=tuple(work.notes),
        )

    def _begin(self, sketch: Image | str | Path, settings: ColorSettings, progress: ProgressCallback | None) -> _Work:
        if isinstance(sketch, (str, Path)):
            page = images.read_image(sketch, max_megapixels=settings.max_megapixels, drawing=True)
        else:
            page = images.check_image(sketch, "sketch")
        height, width = page.shape[:2]
        if min(height, width) < SMALLEST_SKETCH:
            raise ImageError(f"the sketch is {width} x {height} pixels; at least {SMALLEST_SKETCH} a side are needed")
        longest = min(settings.size, round(MOST_ENLARGED * max(height, width)))
        size = images.fit_size(height, width, longest)
        size = (max(NARROWEST, size[0]), max(NARROWEST, size[1]))
        full = lines.find_lines(page)
        work = _Work(page, full, size, progress)
        if full.from_photo:
            work.notes.append("the sketch looks like a photo; its edges were taken for lines")
        return work

    def _reference(
        self,
        drawing: Lines,
        sketch_mask: Mask,
        reference: Image | str | Path | None,
        settings: ColorSettings,
        work: _Work,
    ) -> tuple[tuple[Hit, ...], str | Image, Image]:
        """(hits, reference as used, its pixels)."""
        if isinstance(reference, (str, Path)):
            return (), str(reference), images.read_image(reference, max_megapixels=settings.max_megapixels)
        if reference is not None:
            return (), reference, images.check_image(reference, "reference")
        found = self.library.search_ink(drawing.ink, settings.candidates)
        hits, picture, notes = choose(found, drawing.ink, sketch_mask, settings)
        work.notes.extend(notes)
        if picture is not None:
            return hits, hits[0].path, picture
        raise LibraryError(
            f"none of the {len(found)} nearest pictures can be read any more; run "
            f"`python -m sketchcolor index verify --library {self.library.store.folder}`"
        )

    def _paint(
        self,
        reference: Image,
        matches: tuple[Match, ...],
        settings: ColorSettings,
        under: Image,
        trust: Field,
        parts: Regions,
        progress: ProgressCallback | None,
    ) -> tuple[Image, tuple[dict[str, float], ...], bool]:
        """Style transfer over the underpainting: (painting, losses, stopped)."""
        if settings.quality == "preview":
            return under, (), False
        from sketchcolor.style import paint

        return paint(under, trust, reference, parts, matches, settings, self.device, progress)


def _to_size(image: Image, size: tuple[int, int]) -> Image:
    return np.asarray(images.resize(image, size), dtype=np.uint8)


def _believed(mask: Mask, work: _Work) -> Mask:
    """The reference's figure, or all of it where none was found."""
    if regions.believable(mask):
        return mask
    work.notes.append("no figure was found in the reference; all of it is used")
    return np.ones_like(mask)


def _showing_pages(progress: ProgressCallback | None, work: _Work, settings: ColorSettings) -> ProgressCallback | None:
    """The callback, with intermediate paintings shown as the page will be: at its size, with its lines."""
    if progress is None:
        return None

    def watch(step: Progress) -> bool | None:
        shown = None if step.image is None else _finish(step.image, work, settings)
        return progress(dataclasses.replace(step, image=shown))

    return watch


def _finish(painting: Image, work: _Work, settings: ColorSettings) -> Image:
    """The painting at the sketch's own size, with its lines."""
    return lines.overlay(_to_size(painting, work.page.shape[:2]), work.full_lines, settings.lines)


def _layers(
    under: Image, painted: Image, painting: Image, drawing: Lines, placed: Alignment, reference: Image
) -> dict[str, object]:
    return {
        "underpainting": under,
        "painted": painted,  # before the user's own colours
        "painting": painting,
        "lines": np.asarray(255 * (1 - drawing.ink) + 0.5, dtype=np.uint8),
        "reference": reference,
        "alignment": placed,
    }
