"""What a person sees while waiting: a progress bar on standard error, only on a terminal."""

from __future__ import annotations

import sys
import time

from sketchcolor.records import Progress


class Bar:
    """A progress callback that draws one line, at most ten times a second, and may be told to stop."""

    WIDTH = 28

    def __init__(self, title: str = "") -> None:
        """`title` stands before the bar."""
        self.title = title
        self.shown = sys.stderr.isatty()
        self.last = 0.0
        self.began: dict[str, float] = {}

    def __call__(self, progress: Progress) -> None:
        """Draw the record."""
        if not self.shown:
            return
        now = time.monotonic()
        start = self.began.setdefault(progress.stage, now)
        if now - self.last < 0.1 and progress.step < progress.steps:
            return
        self.last = now
        full = round(self.WIDTH * progress.share)
        left = (now - start) * (1 - progress.share) / progress.share if progress.share > 0 else 0
        rest = f" {left:4.0f} s left" if progress.steps > 1 and progress.step < progress.steps else ""
        loss = f" loss {progress.loss:.3f}" if progress.loss is not None else ""
        text = f"{self.title} {progress.stage:10} [{'#' * full}{'.' * (self.WIDTH - full)}]{loss}{rest}"
        sys.stderr.write("\r\x1b[K" + text)
        sys.stderr.flush()

    def clear(self) -> None:
        """Take the line away."""
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def say(text: str) -> None:
    """A line for a person, on standard error."""
    print(text, file=sys.stderr)
