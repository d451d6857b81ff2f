"""Long work in a thread that shows itself step by step, and stops when nobody looks any more."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

from sketchcolor.records import Progress


def streamed(work: Callable[[Callable[[Progress], bool | None]], Any], stop: threading.Event) -> Iterator[Any]:
    """Run work(progress) in a thread: yields its progress as it comes, and last what it returns.

    Setting `stop`, or leaving the iteration, asks the work to stop. Raises what the work raises.
    """
    steps: queue.Queue[tuple[str, Any]] = queue.Queue()

    def watch(progress: Progress) -> bool:
        steps.put(("progress", progress))
        return not stop.is_set()

    def run() -> None:
        try:
            steps.put(("done", work(watch)))
        except Exception as error:  # also a defect: whoever waits has to hear of it
            steps.put(("error", error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while True:
            kind, value = steps.get()
            if kind == "error":
                raise value
            yield value
            if kind == "done":
                return
    finally:
        stop.set()
        thread.join()
