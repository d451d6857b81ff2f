"""A pad to draw on, in the page: strokes on a blank page, on a picture, or on a mask.

Made from Gradio's HTML component. Its own image editor sends its whole drawing several times at each change anywhere on
the page, which kept browser and server busy while pictures were painted.
"""

from __future__ import annotations

import base64
import binascii
import html
import io
import json
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image as PilImage

from sketchcolor.errors import ImageError
from sketchcolor.records import Image
from sketchcolor.studio import MOST_MEGAPIXELS

HERE = Path(__file__).parent
PNG = "data:image/png;base64,"
# Of a drawing as it comes from the page, in megabytes.
MOST_MEGABYTES = 50


def pad(
    label: str, elem_id: str, *, colors: tuple[str, ...] = ("#000000",), width: int = 4, takes: bool = False,
    free: bool = False,
) -> Any:  # fmt: skip
    """The component; give it `shown(...)` and read what comes from it with `given(...)`.

    takes: pictures may be opened, pasted and dropped, and page and strokes are given together; else strokes alone.
    width: of the brush, in pixels of the screen. free: any colour may be chosen beside `colors`.
    """
    settings = {
        "about": label, "colors": colors, "width": width, "takes": takes, "free": free, "most": MOST_MEGAPIXELS
    }  # fmt: skip
    page = (HERE / "pad.html").read_text(encoding="utf-8")
    return gr.HTML(
        None,
        label=label,
        show_label=True,
        container=True,
        elem_id=elem_id,
        html_template=page.replace("SETTINGS", html.escape(json.dumps(settings))),
        css_template=(HERE / "pad.css").read_text(encoding="utf-8"),
        js_on_load=(HERE / "pad.js").read_text(encoding="utf-8"),
        apply_default_css=False,
    )


def shown(picture: Image | None) -> dict[str, str | None]:
    """A value that shows a picture, RGB uint8 (H, W, 3), without strokes; None: a blank page."""
    if picture is None:
        return {"show": None}
    file = io.BytesIO()
    PilImage.fromarray(picture).save(file, "PNG", compress_level=1)
    return {"show": PNG + base64.b64encode(file.getvalue()).decode("ascii")}


def given(value: Any) -> Image | None:
    """What the visitor made, RGBA uint8 (H, W, 4), or None where there is nothing. Raises ImageError."""
    url = value.get("given") if isinstance(value, dict) else None
    if url is None:
        return None
    if not isinstance(url, str) or not url.startswith(PNG):
        raise ImageError("this is not a drawing from the page")
    if len(url) > MOST_MEGABYTES * 2**20:
        raise ImageError(f"drawings of more than {MOST_MEGABYTES} megabytes are not taken here")
    try:
        with PilImage.open(io.BytesIO(base64.b64decode(url[len(PNG) :], validate=True)), formats=("PNG",)) as opened:
            wide, high = opened.size
            if wide * high > MOST_MEGAPIXELS * 1e6:
                raise ImageError(f"pictures of more than {MOST_MEGAPIXELS:g} megapixels are not taken here")
            return np.asarray(opened.convert("RGBA"))
    except (OSError, ValueError, SyntaxError, binascii.Error, PilImage.DecompressionBombError):
        raise ImageError("this drawing from the page is damaged") from None
