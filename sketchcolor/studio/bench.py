"""The one device that all visitors share: one job at a time, and work done ahead makes way for what is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sketchcolor.records import Progress


class _MadeWayError(Exception):
    """Work done ahead ends here."""


class Bench:
    """Where jobs are done."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0

    @contextmanager
    def job(self) -> Iterator[None]:
        """Somebody asked for it: wait for the turn."""
        with self._count:
            self._waiting += 1
        self._lock.acquire()
        with self._count:
            self._waiting -= 1
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def spare(self) -> Iterator[bool]:
        """Nobody asked for it: whether the turn is free; only then is it taken. Ends quietly where it made way."""
        free = not self._waiting and self._lock.acquire(blocking=False)
        try:
            yield free
        except _MadeWayError:
            pass
        finally:
            if free:
                self._lock.release()

    def make_way(self, _: Progress | None = None) -> None:
        """Called at every stage of spare work: ends it where a job waits."""
        if self._waiting:
            raise _MadeWayError
