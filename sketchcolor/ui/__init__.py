"""The Gradio app: one page with three tabs, and three API calls. What they do stands in studio.py."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

import gradio as gr

from sketchcolor.settings import JOBS_A_MINUTE
from sketchcolor.studio import Studio
from sketchcolor.ui import api, coloring, libraries, styling

UPLOAD_LIMIT = "25mb"
# Visitors in the queue; more are asked to come back.
WAITING = 40
CSS = """
.gradio-container { width: 100% !important; max-width: 1240px !important; margin: 0 auto !important; }
#title h1 { font-size: 1.9rem; letter-spacing: -0.02em; margin: 0.2rem 0 0; }
#title p { opacity: 0.75; margin: 0.1rem 0 0.4rem; }
#candidates .grid-wrap, #examples .grid-wrap {
  padding-top: 1.6rem; height: auto !important; min-height: 0 !important; max-height: none !important;
}
#candidates .grid-wrap { min-height: 176px !important; }
#candidates .caption-label { font-size: 0.68rem; padding: 0.1rem 0.35rem; white-space: normal; max-width: 100%; }
#examples .caption-label { display: none; }
#examples .grid-container { grid-template-columns: repeat(6, minmax(0, 1fr)) !important; }
@media (max-width: 640px) {
  #candidates .grid-container { grid-template-columns: repeat(4, minmax(0, 1fr)) !important; }
  #examples .grid-container { grid-template-columns: repeat(3, minmax(0, 1fr)) !important; }
}
#go, #stop { min-height: 52px; font-size: 1.1rem; }
#status { min-height: 2.2rem; }
footer { display: none !important; }
"""


def theme() -> Any:
    """Warm and quiet, with the visitor's own fonts: nothing is loaded from outside."""
    return gr.themes.Base(
        primary_hue="orange",
        neutral_hue="stone",
        radius_size="lg",
        font=["ui-sans-serif", "system-ui", "Segoe UI", "Roboto", "sans-serif"],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )


def build(studio: Studio) -> gr.Blocks:
    """The whole page."""
    with gr.Blocks(title="SketchColor", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gr.Markdown("# SketchColor\nDraw. A picture that fits is found, and paints your drawing.", elem_id="title")
        with gr.Tab("Colour"):
            chooser = coloring.tab(studio)
        with gr.Tab("Style"):
            styling.tab(studio)
        with gr.Tab("Libraries"):
            libraries.tab(studio, chooser)
        api.calls(studio)

        def leave(request: gr.Request) -> None:
            studio.leave(request.session_hash)

        page.unload(leave)
    return page


def launch(
    *,
    library: Path | None = None,
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    auth: tuple[str, str] | None = None,
    folders: bool = True,
    rate: int = JOBS_A_MINUTE,
    wait: bool = True,
    open_browser: bool = False,
) -> tuple[gr.Blocks, str]:
    """Start the server and return (page, address); with `wait` only when it is stopped.

    Everything that visitors send or get lies in one temporary folder, removed at the end.
    """
    own = tempfile.mkdtemp(prefix="sketchcolor-app-")
    os.environ["GRADIO_TEMP_DIR"] = own
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    studio = Studio(library, device, folders=folders, rate=rate)
    # The first visitor should not wait for the starter pictures to be indexed and the networks to load.
    threading.Thread(target=studio.warm, daemon=True).start()
    page = build(studio).queue(max_size=WAITING, default_concurrency_limit=2)

    def tidy() -> None:
        studio.close()
        shutil.rmtree(own, ignore_errors=True)

    atexit.register(tidy)
    _, address, shared = page.launch(
        server_name=host,
        server_port=port,
        share=share,
        auth=auth,
        max_file_size=UPLOAD_LIMIT,
        inbrowser=open_browser,
        prevent_thread_lock=True,
        quiet=True,
        theme=theme(),
        css=CSS,
        ssr_mode=False,
        footer_links=[],
        enable_monitoring=False,
    )
    if wait:
        page.block_thread()
    return page, shared or address
