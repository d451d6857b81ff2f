"""No visitor takes all the turns."""

from __future__ import annotations

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable

from sketchcolor.errors import BusyError

MINUTE = 60.0


class Turnstile:
    """Lets so many jobs a minute through for each address; 0: any number."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.clock = rate, clock
        self._passed: defaultdict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def enter(self, address: str | None) -> None:
        """Count a job. Raises BusyError where this address has had its share."""
        if not self.rate:
            return
        with self._lock:
            now = self.clock()
            for other in [k for k, times in self._passed.items() if times[-1] <= now - MINUTE]:
                del self._passed[other]
            times = self._passed[address or ""]
            while times and times[0] <= now - MINUTE:
                times.popleft()
            if len(times) >= self.rate:
                wait = times[0] + MINUTE - now
                raise BusyError(f"{self.rate} jobs a minute are taken from one address; try again in {wait:.0f} s")
            times.append(now)
