"""`style`: the core as a style-transfer tool of its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sketchcolor import __version__
from sketchcolor.cli import Answer, Interrupt, add_command, add_settings, read_settings
from sketchcolor.commands.recipe import RECIPE
from sketchcolor.commands.terminal import Bar, say
from sketchcolor.settings import StyleSettings

if TYPE_CHECKING:
    from sketchcolor.records import Progress


def register(commands: Any) -> None:
    """Add `style`."""
    style = add_command(commands, "style", "paint a content picture in the style of another", run_style)
    style.add_argument("content", type=Path)
    style.add_argument("style", type=Path)
    style.add_argument("-o", "--output", type=Path, help="output file (default: CONTENT-style.png here)")
    style.add_argument("--mode", choices=("global", "segmented", "laplacian"), default="global", help="default global")
    style.add_argument("--content-map", type=Path, help="colour-coded map of the content (segmented mode)")
    style.add_argument("--style-map", type=Path, help="colour-coded map of the style: same colour, same part")
    style.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    add_settings(style, StyleSettings)


def run_style(options: argparse.Namespace) -> Answer:
    """Transfer style."""
    from sketchcolor.images import read_image, save_image
    from sketchcolor.styling import stylize

    settings = read_settings(options, StyleSettings)
    pictures = [None if p is None else read_image(p) for p in (options.content_map, options.style_map)]
    output = options.output or Path(f"{options.content.stem}-style.png")
    with Interrupt() as interrupt:
        bar = Bar(options.content.name)

        def watch(progress: Progress) -> bool:
            bar(progress)
            return not interrupt.stopped

        result = stylize(
            read_image(options.content),
            read_image(options.style),
            mode=options.mode,
            content_map=pictures[0],
            style_map=pictures[1],
            settings=settings,
            progress=watch,
            device=options.device,
        )
        bar.clear()
    recipe = {"version": __version__, "mode": options.mode, "settings": dataclasses.asdict(settings)}
    save_image(output, result.image, text={RECIPE: json.dumps(recipe)})
    for note in result.notes:
        say(f"note: {note}")
    say(f"{output}  in {result.seconds['total']:.1f} s")
    return {
        "output": str(output),
        "mode": options.mode,
        "seconds": dict(result.seconds),
        "final_loss": result.losses[-1] if result.losses else None,
        "stopped": result.stopped,
        "notes": list(result.notes),
        "settings": settings.as_dict(),
    }, 0
