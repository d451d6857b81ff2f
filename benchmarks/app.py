"""How fast the page is, and whether it grows: `python -m benchmarks.app`.

In headless Chromium: from an example clicked to the candidates and to the first preview, from another candidate clicked
to its preview and to the final picture; and the requests that the page makes meanwhile. Then the memory of the server
after 10 and after 100 previews by the API. --shots DIR keeps screenshots.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.tables import parser, show
from sketchcolor.weights import data_folder

# Which examples visitors click, one each, and which of the candidates (none of those with a star).
EXAMPLES, CHOSEN = (0, 1, 4, 3), 2
SIZES = {"desktop": (1280, 1000), "phone": (390, 844)}


def serve(cache: str) -> tuple[subprocess.Popen[str], str]:
    """The app in a process of its own, and its address."""
    environment = {**os.environ, "SKETCHCOLOR_CACHE": cache}
    command = [sys.executable, "-m", "sketchcolor", "serve", "--rate", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if "SketchColor is at" in line:
            return process, line.split()[3]
    raise SystemExit("the app did not start")


def resident(process: subprocess.Popen[str]) -> float:
    """Memory of a process in MiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def visit(address: str, runs: int, shots: Path | None) -> list[dict[str, Any]]:
    """Seconds that a visitor waits, run by run."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    rows = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for run in range(runs):
            device, scheme = list(SIZES)[run % 2], ("light", "dark")[run // 2 % 2]
            width, height = SIZES[device]
            context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector("#sketch canvas")
            page.wait_for_timeout(2000)
            requests: list[str] = []
            page.on("request", lambda request, seen=requests: seen.append(request.url))
            clicked = time.perf_counter()
            page.locator("#examples img").nth(EXAMPLES[run % len(EXAMPLES)]).click()
            page.wait_for_selector("#candidates img", timeout=120_000)
            candidates = time.perf_counter() - clicked
            page.wait_for_selector("#result img", timeout=120_000)
            first = time.perf_counter() - clicked
            page.wait_for_timeout(1500)
            before = page.locator("#result img").last.get_attribute("src")
            clicked = time.perf_counter()
            page.locator("#candidates .grid-container button").nth(CHOSEN).click()
            page.wait_for_function(
                "before => [...document.querySelectorAll('#result img')].at(-1).src !== before",
                arg=before, timeout=120_000,
            )  # fmt: skip
            preview = time.perf_counter() - clicked
            page.wait_for_function(
                "document.querySelector('#status').innerText.includes('Colours from')", timeout=120_000
            )
            final = time.perf_counter() - clicked
            rows.append(
                {
                    "visit": f"{device}, {scheme}", "candidates_s": candidates, "first_preview_s": first,
                    "preview_s": preview, "final_s": final, "requests": len(requests),
                }
            )  # fmt: skip
            if shots is not None:
                shots.mkdir(parents=True, exist_ok=True)
                page.wait_for_timeout(800)
                page.screenshot(path=str(shots / f"{device}-{scheme}.png"), full_page=device == "phone")
            context.close()
        browser.close()
    return rows


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--visits", type=int, default=4)
    made.add_argument("--jobs", type=int, default=100, help="previews for the memory's level")
    made.add_argument("--shots", type=Path, help="folder for screenshots")
    options = made.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        process, address = serve(cache)
        try:
            time.sleep(20)  # the server warms up
            show("a visitor waits", visit(address, options.visits, options.shots), options.out)
            from gradio_client import Client, handle_file

            client = Client(address, verbose=False)
            sketch = next(iter(sorted(data_folder("examples").glob("*.png"))))
            rows = []
            for job in range(1, options.jobs + 1):
                given = {"quality": "preview", "size": 256, "seed": 0, "reference": None, "library": "Starter pictures"}
                client.predict(sketch=handle_file(str(sketch)), **given, api_name="/color")
                if job in (10, options.jobs):
                    rows.append({"after_jobs": job, "MiB": resident(process)})
            show("memory of the server", rows, options.out)
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
