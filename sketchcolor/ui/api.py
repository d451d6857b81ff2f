"""Three calls for programs: /search, /color and /stylize, as `gradio_client` uses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from sketchcolor.errors import ImageError
from sketchcolor.images import read_image, save_image
from sketchcolor.records import Result
from sketchcolor.settings import QUALITIES, STYLE_MODES, ColorSettings, StyleSettings
from sketchcolor.studio import MOST_MEGAPIXELS, Session, Studio
from sketchcolor.ui.controls import address_of, spoken


def calls(studio: Studio) -> None:
    """Add the calls, with controls that nobody sees."""
    lane: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1}

    def search(sketch: str, library: str, k: int, request: gr.Request) -> list[dict[str, Any]]:
        """The pictures of a library that look most like a sketch, nearest first: [{name, score, rank}]."""
        studio.turnstile.enter(address_of(request))
        hits = studio.shelf.colorizer(library).library.search(_read(sketch, drawing=True), int(k))
        return [{"name": Path(h.path).name, "score": round(h.score, 4), "rank": h.rank} for h in hits]

    def color(
        sketch: str, reference: str | None, library: str, quality: str, size: int, seed: int, request: gr.Request
    ) -> tuple[str, dict[str, Any]]:
        """A sketch coloured from a library, or from a given reference: (PNG, report)."""
        studio.turnstile.enter(address_of(request))
        session = Session(sketch=_read(sketch, drawing=True))
        if reference:
            session.reference, session.reference_name = _read(reference), Path(reference).name
        settings = ColorSettings(quality=quality, size=int(size), seed=int(seed))
        result = _last(studio.color(session, library, settings))
        name = session.reference_name or Path(str(result.reference)).name
        about = {"reference": name, "seconds": dict(result.seconds), "notes": list(result.notes)}
        return _kept(studio, request, result), about

    def stylize(
        content: str, style: str, mode: str, size: int, steps: int, seed: int, request: gr.Request
    ) -> tuple[str, dict[str, Any]]:
        """A content picture in the style of another: (PNG, report)."""
        studio.turnstile.enter(address_of(request))
        settings = StyleSettings(size=int(size), steps=int(steps), seed=int(seed))
        run = studio.stylize(Session(), settings, content=_read(content), style=_read(style), mode=mode)
        result = _last(run)
        return _kept(studio, request, result), {"seconds": dict(result.seconds), "notes": list(result.notes)}

    with gr.Row(visible=False):
        names = ("sketch", "reference", "content", "style")
        sketch, reference, content, style = (gr.File(label=f"{n}: picture file") for n in names)
        library = gr.Dropdown(studio.shelf.libraries(), value=studio.shelf.first, allow_custom_value=True)
        quality = gr.Radio(list(QUALITIES), value="normal")
        mode = gr.Radio([m for m in STYLE_MODES if m != "doodle"], value="global")
        k, size, steps, seed = (gr.Number(v, precision=0) for v in (10, 512, StyleSettings.steps, 0))
        found, picture, about = gr.JSON(), gr.Image(type="filepath", format="png"), gr.JSON()
        button = gr.Button()
    gr.on([button.click], spoken(search), [sketch, library, k], found, api_name="search", **lane)
    given = [sketch, reference, library, quality, size, seed]
    gr.on([button.click], spoken(color), given, [picture, about], api_name="color", **lane)
    given = [content, style, mode, size, steps, seed]
    gr.on([button.click], spoken(stylize), given, [picture, about], api_name="stylize", **lane)


def _read(path: str, *, drawing: bool = False) -> Any:
    try:
        return read_image(path, max_megapixels=MOST_MEGAPIXELS, drawing=drawing)
    except ImageError as error:  # the caller knows the file by its name, and no other path is his business
        raise ImageError(str(error).replace(str(path), Path(path).name)) from None


def _last(steps: Any) -> Result:
    result = None
    for step in steps:
        result = step
    assert isinstance(result, Result)
    return result


def _kept(studio: Studio, request: gr.Request, result: Result) -> str:
    path = studio.session(request.session_hash).files() / "result.png"
    save_image(path, result.image)
    return str(path)
