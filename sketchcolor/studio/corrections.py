"""What a visitor corrects: figures, matches, colours. The next colouring follows it."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from sketchcolor import regions
from sketchcolor.errors import ImageError
from sketchcolor.plots import tinted
from sketchcolor.records import Image, Labels, Mask, Overrides
from sketchcolor.studio.session import Session

# A scribble: strokes of at least so many pixels, of at least this alpha.
SMALLEST_STROKE, OPAQUE = 12, 127


class Corrections:
    """Corrections of a session's result, all kept in its overrides."""

    def correct_mask(self, session: Session, which: str, added: Mask, removed: Mask) -> None:
        """Paint into the foreground mask of "sketch" or "reference"; masks of any size."""
        result = session.last_result()
        known = result.sketch_mask if which == "sketch" else result.reference_mask
        assert known is not None
        more, less = (regions.sized_mask(m, (known.shape[0], known.shape[1])) for m in (added, removed))
        mask = (known | more) & ~less
        kept = replace(session.overrides, pairs=(), colors=())  # regions get other numbers
        sketch = which == "sketch"
        session.overrides = replace(kept, sketch_mask=mask) if sketch else replace(kept, reference_mask=mask)

    def views(self, session: Session) -> tuple[Image, Image]:
        """Sketch and picture with their regions in flat colours, matched ones in the same; the picked one is lit up."""
        result = session.last_result()
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
        parts = session.last_result().regions
        assert parts is not None
        session.picked = _at(parts.sketch_map, row, column)
        return session.picked

    def pair(self, session: Session, row: float, column: float) -> tuple[int, int]:
        """Match the picked sketch region with the reference region at a place."""
        if session.picked is None:
            raise ImageError("click a region of the sketch first")
        parts = session.last_result().regions
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

    def scribble(self, session: Session, strokes: Image) -> list[int]:
        """Give each region the colour of the strokes in it: RGBA uint8 (H, W, 4) of any size; the regions.

        A stroke that only grazes a region (a fifth of it at most) does not count there. Raises ImageError for none.
        """
        parts = session.last_result().regions
        assert parts is not None
        labels = parts.sketch_map
        strokes = cv2.resize(strokes, (labels.shape[1], labels.shape[0]), interpolation=cv2.INTER_NEAREST)
        colors = strokes[..., :3].astype(np.int64) @ (1 << 16, 1 << 8, 1)
        drawn = strokes[..., 3] > OPAQUE
        wanted: dict[int, tuple[int, int, int]] = {}
        for color in np.unique(colors[drawn]):
            count, pieces = cv2.connectedComponents((drawn & (colors == color)).astype(np.uint8))
            for piece in range(1, count):
                inside = labels[pieces == piece]
                found, pixels = np.unique(inside, return_counts=True)
                for label, number in zip(found.tolist(), pixels.tolist(), strict=True):
                    if len(inside) >= SMALLEST_STROKE and number > len(inside) / 5:
                        wanted[label] = (int(color) >> 16, int(color) >> 8 & 255, int(color) & 255)
        if not wanted:
            raise ImageError("scribble on the drawing first")
        others = tuple(c for c in session.overrides.colors if c[0] not in wanted)
        session.overrides = replace(session.overrides, colors=(*others, *wanted.items()))
        return sorted(wanted)

    def forget_corrections(self, session: Session) -> None:
        """Back to what the program decides."""
        session.overrides, session.picked = Overrides(), None


def _at(labels: Labels, row: float, column: float) -> int:
    height, width = labels.shape
    return int(labels[min(height - 1, max(0, int(row * height))), min(width - 1, max(0, int(column * width)))])
