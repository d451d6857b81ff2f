"""The tab for style transfer between any pictures."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import gradio as gr

from sketchcolor.errors import ImageError
from sketchcolor.plots import draw_curves
from sketchcolor.records import Image, Result
from sketchcolor.settings import STYLE_MODES, StyleSettings
from sketchcolor.studio import Studio, check_size
from sketchcolor.ui.controls import (
    HEAVY,
    PRIVATE,
    SAY_EVERY,
    address_of,
    all_controls,
    settings_from,
    spoken,
    status_line,
)

FIRST_KNOBS = ("size", "steps", "style_weight", "content_weight", "colors")
ABOUT = """**global**: one style for all · **segmented**: part by part, by colour-coded maps (same colour, same part),
or figure and ground without maps · **laplacian**: keeps the layout · **doodle**: no content, only a target map"""


def tab(studio: Studio) -> None:
    """Lay the tab out."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            with gr.Row():
                plain: dict[str, Any] = {"type": "numpy", "sources": ["upload", "clipboard"], "height": 220}
                content = gr.Image(label="Content", elem_id="style-content", **plain)
                style = gr.Image(label="Style", elem_id="style-style", **plain)
            mode = gr.Radio(list(STYLE_MODES), value="global", label="mode")
            gr.Markdown(ABOUT)
            with gr.Accordion("A second style", open=False), gr.Row():
                second = gr.Image(label="Second style", **plain)
                share = gr.Slider(0, 1, 0.5, label="share of the second style", info="0: only the first; 1: only it")
            with gr.Accordion("Maps", open=False), gr.Row():
                content_map = gr.Image(label="Map of the content (doodle: the target)", **plain)
                style_map = gr.Image(label="Map of the style", **plain)
                second_map = gr.Image(label="Map of the second style", **plain)
            with gr.Accordion("Settings", open=False):
                knobs = all_controls(StyleSettings, FIRST_KNOBS)
        with gr.Column(min_width=300):
            slider = gr.ImageSlider(label="Content and painting", interactive=False, format="png", max_height=460)
            status = gr.Markdown("Give a content and a style.")
            with gr.Row():
                go = gr.Button("Paint", variant="primary", scale=3)
                stop = gr.Button("Stop", variant="stop", scale=1, min_width=80)
            curve = gr.Image(label="Loss", interactive=False, height=240, alt_text="Loss curves of the run")
    names, values = list(knobs), list(knobs.values())

    def run(
        content: Image | None,
        style: Image | None,
        mode: str,
        second: Image | None,
        share: float,
        content_map: Image | None,
        style_map: Image | None,
        second_map: Image | None,
        request: gr.Request,
        *given: Any,
    ) -> Iterator[Any]:
        if style is None or (content is None and mode != "doodle"):
            raise ImageError("give a content and a style picture first")
        studio.turnstile.enter(address_of(request))
        pictures = [content, style, second, content_map, style_map, second_map]
        for picture in pictures:
            if picture is not None:
                check_size(picture)
        settings = settings_from(StyleSettings, names, given)
        session = studio.session(request.session_hash)
        maps = [m for m in (style_map, second_map if second is not None else None) if m is not None]
        began = said = time.monotonic()
        before = content if content is not None and mode != "doodle" else content_map
        for step in studio.stylize(
            session,
            settings,
            content=None if mode == "doodle" else content,
            style=[style] if second is None else [style, second],
            weights=[] if second is None else [1 - share, share],
            mode=mode,
            content_map=content_map,
            style_map=maps or None,
        ):
            if isinstance(step, Result):
                lines = [f"{len(step.losses)} steps, {step.seconds['total']:.1f} s", *step.notes]
                yield (before, step.image), "  \n".join(lines), draw_curves(step.losses)
                return
            line = status_line(step, time.monotonic() - began)
            if step.image is not None or time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                yield (gr.skip() if step.image is None else (before, step.image)), line, gr.skip()

    def halt(request: gr.Request) -> None:
        studio.session(request.session_hash).stop.set()

    inputs = [content, style, mode, second, share, content_map, style_map, second_map]
    go.click(spoken(run), [*inputs, *values], [slider, status, curve], show_progress="hidden", **HEAVY)
    stop.click(halt, None, None, **PRIVATE)
