"""What all benchmarks share: a table on standard output, JSON beside it, time and memory."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def parser(description: str | None) -> argparse.ArgumentParser:
    """An argument parser with --out."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--out", type=Path, help="write the rows as JSON here")
    return made


def show(title: str, rows: Sequence[Mapping[str, Any]], out: Path | None = None) -> None:
    """Print rows as a table; append them to a JSON file."""
    if not rows:
        return
    keys = list(rows[0])
    texts = [[_text(row.get(key)) for key in keys] for row in rows]
    widths = [max(len(key), *(len(line[i]) for line in texts)) for i, key in enumerate(keys)]
    print(f"\n{title}")
    print("  ".join(key.ljust(width) for key, width in zip(keys, widths, strict=True)))
    for line in texts:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    sys.stdout.flush()
    if out is not None:
        known = json.loads(out.read_text()) if out.exists() else {"machine": machine(), "tables": {}}
        known["tables"][title] = [dict(row) for row in rows]
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(known, indent=1, default=float) + "\n")


def plot(title: str, rows: Sequence[Mapping[str, Any]], x: str, y: str, path: Path) -> None:
    """Draw one column of the rows against another, both axes from zero, as PNG."""
    import cv2
    import numpy as np

    width, height, margin = 640, 400, 60
    canvas = np.full((height, width, 3), 255, np.uint8)
    points = np.array([(row[x], row[y]) for row in rows], float)
    most = points.max(axis=0)
    at = points / most * (width - 2 * margin, 2 * margin - height) + (margin, height - margin)
    cv2.polylines(canvas, [np.array([[margin, margin], [margin, height - margin], [width - margin, height - margin]])],
                  False, (90, 90, 90))  # fmt: skip
    cv2.polylines(canvas, [at.round().astype(np.int32)], False, (160, 90, 30), 2, cv2.LINE_AA)
    free = 0
    for (left, top), (value, _) in zip(at.round().astype(int).tolist(), points.tolist(), strict=True):
        cv2.circle(canvas, (left, top), 4, (160, 90, 30), -1, cv2.LINE_AA)
        if left >= free:
            _write(canvas, f"{value:.2g}", left - 10, height - margin + 18)
            free = left + 40
    _write(canvas, title, margin, 26)
    _write(canvas, f"{y}: up to {most[1]:.3g}", margin - 40, margin - 12)
    _write(canvas, x, width // 2, height - margin + 40)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), canvas)


def _write(canvas: Any, text: str, left: int, bottom: int) -> None:
    import cv2

    cv2.putText(canvas, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 1, cv2.LINE_AA)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10 else f"{value:.1f}"
    return "" if value is None else str(value)


def machine() -> dict[str, Any]:
    """What this ran on."""
    import torch

    return {
        "cpu": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def best_time(work: Callable[[], Any], repeats: int = 3) -> float:
    """Shortest of several runs, in seconds, after one that warms up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def in_fresh_process(arguments: Sequence[str]) -> tuple[float, float, str]:
    """(seconds, peak MiB, standard output) of a Python command in a process of its own."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "except SystemExit as e:\n    if e.code: raise\n"
        # ru_maxrss would still show the parent's peak; VmHWM begins anew with the program.
        "finally: print('PEAK', [int(l.split()[1]) / 1024 for l in open('/proc/self/status') if 'VmHWM' in l][0])"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, float(done.stdout.rsplit("PEAK", 1)[1]), done.stdout


def peak_memory() -> float:
    """Peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
