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
