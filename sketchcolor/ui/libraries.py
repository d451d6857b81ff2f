"""The tab where libraries are made."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from sketchcolor.records import Progress
from sketchcolor.studio import Studio
from sketchcolor.ui.controls import HEAVY, LIGHT, PRIVATE, spoken


def tab(studio: Studio, chooser: Any) -> None:
    """Lay the tab out; `chooser` is the list of libraries on the first tab."""
    gr.Markdown("A library is a set of pictures to paint with. Make one from your own; give a known name to add to it.")
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            name = gr.Textbox(label="Name", placeholder="my pictures", elem_id="library-name")
            folder = gr.Textbox(
                label="A folder on this computer", placeholder="/home/me/Pictures", visible=studio.shelf.folders
            )
            files = gr.File(label="Or upload pictures", file_count="multiple", file_types=["image"])
            with gr.Row():
                go = gr.Button("Make or extend", variant="primary", scale=3, elem_id="library-build")
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=80)
            status = gr.Markdown("", elem_id="library-status")
        with gr.Column(min_width=300):
            about = gr.JSON(label="The library chosen on the first tab")
            refresh = gr.Button("Tell about it")
            remove = gr.Button("Remove it from here", variant="stop")

    def build(name: str, folder: str, files: list[str] | None, request: gr.Request) -> Iterator[Any]:
        session = studio.session(request.session_hash)
        session.stop = threading.Event()
        sources = [Path(folder.strip())] if folder.strip() else []
        sources += [Path(f) for f in files or []]
        for step in studio.shelf.build(name, sources, session.stop):
            if isinstance(step, Progress):
                yield f"{step.step} of {step.steps} pictures …", gr.skip()
            else:
                yield step, gr.Dropdown(studio.shelf.libraries(), value=step.partition(":")[0])

    def halt(request: gr.Request) -> None:
        studio.session(request.session_hash).stop.set()

    def tell(library: str) -> dict[str, Any]:
        info = studio.shelf.colorizer(library).library.info()
        return {k: v for k, v in info.items() if k != "folder"}

    def forget(library: str) -> tuple[str, Any]:
        return studio.shelf.remove(library), gr.Dropdown(studio.shelf.libraries(), value=studio.shelf.libraries()[0])

    go.click(spoken(build), [name, folder, files], [status, chooser], show_progress="hidden", **HEAVY)
    stop.click(halt, None, None, **PRIVATE)
    refresh.click(spoken(tell), chooser, about, **LIGHT)
    remove.click(spoken(forget), chooser, [status, chooser], **LIGHT)
