"""The tab where a sketch becomes a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from sketchcolor import images
from sketchcolor.errors import ImageError
from sketchcolor.records import Image, Result
from sketchcolor.settings import ColorSettings
from sketchcolor.studio import Session, Studio
from sketchcolor.ui.controls import (
    HEAVY,
    LIGHT,
    PRIVATE,
    SAY_EVERY,
    address_of,
    all_controls,
    painted,
    report,
    rgb_of,
    settings_from,
    spoken,
    status_line,
)
from sketchcolor.ui.pad import given, pad, shown
from sketchcolor.weights import data_folder

FIRST_KNOBS = ("quality", "size", "lines", "hold")
ADD, REMOVE = "#22c55e", "#ef4444"
PAINTS = ("#c2410c", "#f59e0b", "#facc15", "#65a30d", "#0d9488", "#2563eb", "#7c3aed", "#db2777", "#78350f", "#f5f5f4")


def tab(studio: Studio) -> Any:
    """Lay the tab out and return its library chooser."""
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            canvas = pad("Sketch: draw, paste, drop or upload", "sketch", takes=True)
            examples = _examples()
            with gr.Accordion("Ink: what is taken for lines", open=False):
                ink = gr.Image(label="Ink", interactive=False, show_label=False, height=240, alt_text="The lines found")
        with gr.Column(min_width=300):
            slider = gr.ImageSlider(
                label="Drawing and painting", interactive=False, format="png", max_height=460, elem_id="result"
            )
            status = gr.Markdown("Draw something, or take an example.", elem_id="status")
            with gr.Row():
                go = gr.Button("Colour", variant="primary", elem_id="go", scale=3)
                stop = gr.Button("Stop", variant="stop", elem_id="stop", scale=1, min_width=80)
            with gr.Row():
                picture_file = gr.DownloadButton("Picture (PNG)", interactive=False, elem_id="download")
                layers_file = gr.DownloadButton("Layers (zip)", interactive=False, elem_id="layers")
    candidates = gr.Gallery(
        label="Pictures that fit: ★ paints, or click another",
        columns=8,
        height="auto",
        allow_preview=False,
        object_fit="cover",
        interactive=False,
        elem_id="candidates",
    )
    with gr.Row():
        chooser = gr.Dropdown(
            studio.shelf.libraries(), value=studio.shelf.first, label="Library", scale=2, elem_id="library"
        )
        own = gr.Image(label="Or your own picture", type="numpy", sources=["upload", "clipboard"], height=160, scale=3)
    with gr.Accordion("Settings", open=False):
        controls = all_controls(ColorSettings, FIRST_KNOBS)
    names, knobs = list(controls), list(controls.values())
    correct = Corrections(studio)
    results = [slider, status, picture_file, layers_file, *correct.views]

    def look(drawn: Any, library: str, request: gr.Request, *values: Any) -> Iterator[Any]:
        strokes = given(drawn)
        page = None if strokes is None else images.flatten(strokes, drawing=True)
        yield from show(studio.session(request.session_hash), page, library, values)

    def show(session: Session, page: Image | None, library: str, values: tuple[Any, ...]) -> Iterator[Any]:
        """Ink, candidates, a line, and the reference's colours: each as soon as it is there."""
        if page is None:
            studio.drop_sketch(session)
            yield None, [], "Draw something, or take an example.", gr.skip()
            return
        try:
            ink_page = studio.take_sketch(session, page)
        except ImageError as error:
            yield None, [], str(error), gr.skip()
            return
        for found, notes in studio.candidates(session, library, ColorSettings()):
            line = "  \n".join(["**Colour** paints with the starred one; or click another.", *notes])
            yield ink_page, found, line, gr.skip()
            ink_page = gr.skip()
        settings = settings_from(ColorSettings, names, values)
        preview = studio.glance(session, library, settings)
        if preview is not None:
            yield gr.skip(), gr.skip(), gr.skip(), session.before_and_after(preview, exact=False)
        studio.foresee(session, library, settings)

    def take_example(library: str, request: gr.Request, event: gr.SelectData, *values: Any) -> Iterator[Any]:
        page = images.read_image(_example_files()[int(event.index)], drawing=True)
        laid: Any = shown(page)
        for step in show(studio.session(request.session_hash), page, library, values):
            yield [*step, laid]
            laid = gr.skip()

    def again(library: str, request: gr.Request, *values: Any) -> Iterator[Any]:
        session = studio.session(request.session_hash)
        session.reference_name = ""
        yield from show(session, session.sketch, library, values)

    def choose(request: gr.Request, event: gr.SelectData) -> None:
        session = studio.session(request.session_hash)
        session.stop.set()
        studio.choose(session, int(event.index))

    def take_own(picture: Image | None, request: gr.Request) -> None:
        session = studio.session(request.session_hash)
        session.stop.set()
        if picture is not None:
            studio.take_reference(session, picture, "own picture")
        else:
            session.reference_name = ""
            if session.hits:
                studio.choose(session, session.best)

    def run(library: str, request: gr.Request, *values: Any) -> Iterator[Any]:
        studio.turnstile.enter(address_of(request))
        session = studio.session(request.session_hash)
        settings = settings_from(ColorSettings, names, values)
        rest = [gr.skip()] * (len(results) - 2)
        painting_since, said = 0.0, time.monotonic()
        for step in studio.color(session, library, settings):
            if isinstance(step, Result):
                line = report(step, session.reference_name)
                yield [session.before_and_after(step.image), line, *rest]
                files = [gr.DownloadButton(value=str(p), interactive=True) for p in studio.downloads(session)]
                yield [gr.skip(), line, *files, *correct.show(session)]
                return
            if step.stage == "paint":
                painting_since = painting_since or time.monotonic()
            line = status_line(step, time.monotonic() - painting_since)
            pictures = gr.skip() if step.image is None else session.before_and_after(step.image, exact=False)
            if step.image is not None or time.monotonic() - said > SAY_EVERY:
                said = time.monotonic()
                yield [pictures, line, *rest]

    def halt(request: gr.Request) -> None:
        studio.session(request.session_hash).stop.set()

    start: dict[str, Any] = {
        "fn": spoken(run), "inputs": [chooser, *knobs], "outputs": results, "show_progress": "hidden", **HEAVY
    }  # fmt: skip
    seen = [ink, candidates, status, slider]
    latest: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", **LIGHT}
    canvas.input(spoken(look), [canvas, chooser, *knobs], seen, **latest)
    chooser.change(spoken(again), [chooser, *knobs], seen, **latest)
    if examples is not None:
        examples.select(spoken(take_example), [chooser, *knobs], [*seen, canvas], **latest)
    candidates.select(spoken(choose), None, None, **PRIVATE).success(**start)
    own.upload(spoken(take_own), own, None, **PRIVATE).success(**start)
    own.clear(spoken(take_own), own, None, **PRIVATE)
    go.click(**start)
    stop.click(halt, None, None, **PRIVATE)
    correct.connect(start)
    return chooser


def _example_files() -> list[Path]:
    return sorted(data_folder("examples").glob("*.png"))


def _examples() -> Any:
    """Example sketches to begin with, where they are installed."""
    files = [(images.read_image(p, drawing=True), p.stem) for p in _example_files()]
    if not files:
        return None
    return gr.Gallery(
        files, label="Examples", columns=6, height="auto", allow_preview=False, object_fit="contain", interactive=False,
        elem_id="examples",
    )  # fmt: skip


class Corrections:
    """Masks to paint on, regions to click on; what is changed here is coloured anew."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        with gr.Accordion("Correct: figure, regions, colours", open=False):
            gr.Markdown("Green adds to the figure, red takes away. The figure is what is bright.")
            with gr.Row():
                mask: dict[str, Any] = {"colors": (ADD, REMOVE), "width": 18}
                self.sketch_mask = pad("Figure of the sketch", "sketch-mask", **mask)
                self.reference_mask = pad("Figure of the picture", "reference-mask", **mask)
            self.apply = gr.Button("Colour with these figures", elem_id="apply-masks")
            label = "Scribble colours on the drawing: each region takes that of the stroke in it"
            self.scribbles = pad(label, "scribbles", colors=PAINTS, width=10, free=True)
            self.use = gr.Button("Colour with these scribbles", elem_id="apply-scribbles")
            gr.Markdown("Same colour: matched. Click a region of the sketch, then its partner, or give it a colour.")
            with gr.Row():
                view: dict[str, Any] = {"interactive": False, "height": 320, "type": "numpy"}
                self.regions = gr.Image(label="Regions of the sketch", alt_text="Regions of the sketch", **view)
                self.parts = gr.Image(label="Regions of the picture", alt_text="Regions of the picture", **view)
            with gr.Row():
                self.paint = gr.ColorPicker("#c2410c", label="Colour for the clicked region")
                self.lock = gr.Button("Give the region this colour", elem_id="lock-color")
                self.free = gr.Button("Forget all corrections", elem_id="forget")
            self.said = gr.Markdown("")
        self.views = [self.sketch_mask, self.reference_mask, self.scribbles, self.regions, self.parts]

    def show(self, session: Session) -> list[Any]:
        """Values of the five views for what was just coloured."""
        result = session.result
        assert result is not None and result.sketch_mask is not None and result.reference_mask is not None
        page, reference = result.layers["lines"], result.layers["reference"]
        page = page[..., None].repeat(3, 2) if page.ndim == 2 else page
        masks = []
        for picture, mask in ((page, result.sketch_mask), (reference, result.reference_mask)):
            dimmed = picture.copy()
            dimmed[~mask] = dimmed[~mask] // 3
            masks.append(shown(dimmed))
        return [*masks, shown(page), *self.studio.views(session)]

    def connect(self, start: dict[str, Any]) -> None:
        """Events."""
        studio = self.studio

        def masks(sketch: Any, reference: Any, request: gr.Request) -> None:
            session = studio.session(request.session_hash)
            for name, value in (("sketch", sketch), ("reference", reference)):
                strokes = painted(given(value))
                if strokes is not None:
                    studio.correct_mask(session, name, *strokes)

        def scribble(value: Any, request: gr.Request) -> str:
            strokes = given(value)
            if strokes is None:
                raise ImageError("scribble on the drawing first")
            found = studio.scribble(studio.session(request.session_hash), strokes)
            return f"Coloured as scribbled: region {', '.join(map(str, found))}."

        def pick(request: gr.Request, event: gr.SelectData) -> tuple[str, Image]:
            session = studio.session(request.session_hash)
            page = session.last_result().layers["lines"]
            region = studio.pick(session, event.index[1] / page.shape[0], event.index[0] / page.shape[1])
            said = f"Region {region} is chosen: click its partner in the picture, or give it a colour."
            return said, studio.views(session)[0]

        def pair(request: gr.Request, event: gr.SelectData) -> str:
            session = studio.session(request.session_hash)
            page = session.last_result().layers["reference"]
            ours, theirs = studio.pair(session, event.index[1] / page.shape[0], event.index[0] / page.shape[1])
            return f"Region {ours} takes from part {theirs}."

        def lock(color: str, request: gr.Request) -> str:
            region = studio.lock_color(studio.session(request.session_hash), rgb_of(color))
            return f"Region {region} has its colour."

        def forget(request: gr.Request) -> str:
            studio.forget_corrections(studio.session(request.session_hash))
            return "All corrections are forgotten."

        both = [self.sketch_mask, self.reference_mask]
        self.apply.click(spoken(masks), both, None, **PRIVATE).success(**start)
        self.use.click(spoken(scribble), self.scribbles, self.said, **PRIVATE).success(**start)
        self.regions.select(spoken(pick), None, [self.said, self.regions], **PRIVATE)
        self.parts.select(spoken(pair), None, self.said, **PRIVATE).success(**start)
        self.lock.click(spoken(lock), self.paint, self.said, **PRIVATE).success(**start)
        self.free.click(spoken(forget), None, self.said, **PRIVATE).success(**start)
