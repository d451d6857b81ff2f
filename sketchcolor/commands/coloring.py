"""`color` and `segment`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sketchcolor.cli import Answer, Interrupt, add_command, add_settings, read_settings
from sketchcolor.commands.recipe import RECIPE, Given, check_recipe, make_recipe, read_recipe
from sketchcolor.commands.terminal import Bar, say
from sketchcolor.errors import ImageError, SettingsError, SketchColorError
from sketchcolor.settings import ColorSettings

if TYPE_CHECKING:
    from sketchcolor.pipeline import Colorizer
    from sketchcolor.records import Progress, Result


def register(commands: Any) -> None:
    """Add `color` and `segment`."""
    color = add_command(commands, "color", "colour sketches from a library of pictures", run_color)
    color.add_argument("sketches", nargs="*", type=Path, metavar="SKETCH", help="sketch files, or folders of them")
    color.add_argument(
        "-o",
        "--output",
        type=Path,
        help="output file (one sketch) or folder (default: SKETCH-color.png here)",
    )
    color.add_argument("--library", type=Path, help="library folder (default: the starter library)")
    color.add_argument("--reference", type=Path, help="colour from this picture instead of searching")
    color.add_argument("--layers", type=Path, help="folder for underpainting, painting, lines, masks and label maps")
    color.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    color.add_argument("--replay", type=Path, metavar="PICTURE", help="make a picture again that this program made")
    color.add_argument("--sketch-mask", type=Path, help="your own foreground mask of the sketch: white = figure")
    color.add_argument("--reference-mask", type=Path, help="your own foreground mask of the reference")
    color.add_argument("--sketch-map", type=Path, help="colour-coded regions of the sketch; with --reference-map")
    color.add_argument("--reference-map", type=Path, help="the same colours for the parts of the reference")
    color.add_argument(
        "--match", action="append", default=[], metavar="SKETCH=REFERENCE", help="pair two regions by number (--json)"
    )
    color.add_argument(
        "--color", action="append", default=[], metavar="REGION=RRGGBB", help="the mean colour of a region (--json)"
    )
    add_settings(color, ColorSettings)
    segment = add_command(commands, "segment", "write the foreground mask of a sketch or photo", run_segment)
    segment.add_argument("image", type=Path)
    segment.add_argument("-o", "--output", type=Path, help="mask file (default: IMAGE-mask.png here)")
    segment.add_argument("--kind", choices=("auto", "sketch", "photo"), default="auto", help="default auto")


def run_color(options: argparse.Namespace) -> Answer:
    """Colour one or many sketches; a bad one does not stop the rest."""
    if options.replay is not None:
        return _replay(options)
    settings = read_settings(options, ColorSettings)
    sketches, failures = _collect(options.sketches)
    if not sketches and not failures:
        raise SettingsError("name at least one SKETCH, or --replay PICTURE")
    many = len(sketches) + len(failures) > 1
    if many and options.output is not None and options.output.suffix and not options.output.is_dir():
        raise SettingsError(f"--output must be a folder for several sketches, not {options.output}")
    given = Given.from_options(options)
    if many and given.any():
        raise SettingsError("masks, maps, --match and --color are for one sketch at a time")
    colorizer = _colorizer(options, settings)
    results: list[dict[str, Any]] = [{"sketch": str(path), "error": reason} for path, reason in failures]
    for reason in (r for _, r in failures):
        say(f"sketchcolor: {reason}")
    taken: set[Path] = set()
    with Interrupt() as interrupt:
        for sketch in sketches:
            if interrupt.stopped:
                break
            output = _output(sketch, options.output, many, taken)
            try:
                results.append(
                    _color_one(
                        colorizer,
                        sketch,
                        options.reference,
                        output,
                        options.layers if not many or options.layers is None else options.layers / output.stem,
                        interrupt,
                        given,
                    )
                )
            except SketchColorError as error:
                if not many:
                    raise
                say(f"sketchcolor: {error}")
                results.append({"sketch": str(sketch), "error": str(error)})
    failed = sum("error" in entry for entry in results)
    if many:
        say(f"{len(results) - failed} coloured, {failed} failed" + (", stopped" if interrupt.stopped else ""))
    status = 1 if failed or (interrupt.stopped and len(results) < len(sketches) + len(failures)) else 0
    return {"results": results}, status


def _colorizer(options: argparse.Namespace, settings: ColorSettings) -> Colorizer:
    from sketchcolor.pipeline import Colorizer
    from sketchcolor.style.backbones import load_backbone

    made = Colorizer(options.library, settings, options.device)
    if settings.quality != "preview":
        load_backbone(settings.backbone, device=made.device)  # missing weights are said before any work
    return made


def _collect(named: list[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """(sketch files, (path, reason) of what is none)."""
    from sketchcolor.images import SUFFIXES

    found: list[Path] = []
    failures: list[tuple[Path, str]] = []
    for path in named:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
            if not inside:
                failures.append((path, f"{path}: no pictures in this folder"))
            found += inside
        else:
            found.append(path)
    return found, failures


def _output(sketch: Path, wanted: Path | None, many: bool, taken: set[Path]) -> Path:
    name = f"{sketch.stem}-color.png"
    if wanted is None:
        output = Path(name)
    elif many or wanted.is_dir() or not wanted.suffix:
        output = wanted / name
    else:
        output = wanted
    number = 2
    plain = output
    while output in taken:  # two sketches of the same name from two folders
        output = plain.with_name(f"{plain.stem}-{number}{plain.suffix}")
        number += 1
    taken.add(output)
    return output


def _color_one(
    colorizer: Colorizer,
    sketch: Path,
    reference: Path | None,
    output: Path,
    layers: Path | None,
    interrupt: Interrupt,
    given: Given,
) -> dict[str, Any]:
    from sketchcolor.images import save_image

    _check_writable(output)
    bar = Bar(sketch.name)

    def watch(progress: Progress) -> bool:
        bar(progress)
        return not interrupt.stopped

    result = colorizer.color(sketch, reference, progress=watch, overrides=given.read())
    bar.clear()
    save_image(output, result.image, text={RECIPE: json.dumps(make_recipe(sketch, result, given), ensure_ascii=False)})
    if layers is not None:
        _write_layers(layers, result)
    report = _report(sketch, output, result)
    for note in result.notes:
        say(f"note: {note}")
    stopped = " (stopped early, best so far)" if result.stopped else ""
    say(f"{output}  from {report['reference']}  in {result.seconds['total']:.1f} s{stopped}")
    return report


def _check_writable(output: Path) -> None:
    """Say at once, not after the work, that a picture cannot be written."""
    import os

    folder = output.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ImageError(f"{output}: no permission to write here")


def _report(sketch: Path, output: Path, result: Result) -> dict[str, Any]:
    assert result.regions is not None
    return {
        "sketch": str(sketch),
        "output": str(output),
        "reference": str(result.reference),
        "hits": [{"path": h.path, "score": round(h.score, 4), "rank": h.rank} for h in result.hits],
        "regions": {"sketch": len(result.regions.sketch), "reference": len(result.regions.reference)},
        "matches": [
            {
                "sketch": m.sketch,
                "reference": m.reference,
                "cost": m.cost,
                "terms": dict(m.terms),
                "reason": m.reason,
            }
            for m in result.matches
        ],
        "seconds": dict(result.seconds),
        "final_loss": result.losses[-1] if result.losses else None,
        "stopped": result.stopped,
        "notes": list(result.notes),
        "settings": result.settings.as_dict() if result.settings else {},
    }


def _write_layers(folder: Path, result: Result) -> None:
    import numpy as np

    from sketchcolor.images import save_image
    from sketchcolor.plots import label_colors

    assert result.regions is not None and result.preview is not None
    assert result.sketch_mask is not None and result.reference_mask is not None
    for name in ("underpainting", "painting", "lines", "reference"):
        save_image(folder / f"{name}.png", result.layers[name])
    save_image(folder / "preview.png", result.preview)
    for name, mask in (("sketch-mask", result.sketch_mask), ("reference-mask", result.reference_mask)):
        save_image(folder / f"{name}.png", mask.astype(np.uint8) * 255)
    partner = {m.sketch: m.reference for m in result.matches}
    table = np.array([partner.get(i, 0) for i in range(int(result.regions.sketch_map.max()) + 1)])
    save_image(folder / "sketch-map.png", label_colors(table[result.regions.sketch_map]))
    save_image(folder / "reference-map.png", label_colors(result.regions.reference_map))


def _replay(options: argparse.Namespace) -> Answer:
    recipe = read_recipe(options.replay)
    sketch = options.sketches[0] if options.sketches else Path(recipe["sketch"])
    reference = options.reference or Path(recipe["reference"])
    settings = check_recipe(recipe, options.replay, sketch, reference)
    if recipe.get("stopped"):
        say("note: the picture was stopped early; this run goes to the end")
    output = options.output or Path(f"{options.replay.stem}-replay.png")
    given = Given.from_recipe(recipe)
    with Interrupt() as interrupt:
        colorizer = _colorizer(options, settings)
        report = _color_one(colorizer, sketch, reference, output, options.layers, interrupt, given)
    return {"results": [report]}, 0


def run_segment(options: argparse.Namespace) -> Answer:
    """Write a mask: white = foreground."""
    import numpy as np

    from sketchcolor.images import read_image, save_image
    from sketchcolor.lines import find_lines
    from sketchcolor.pipeline import segment_photo, segment_sketch

    kind = options.kind
    image = read_image(options.image, drawing=kind != "photo")
    if kind == "auto":
        try:
            kind = "photo" if find_lines(image).from_photo else "sketch"
        except ImageError:
            kind = "photo"
    mask = segment_sketch(image) if kind == "sketch" else segment_photo(image)
    output = options.output or Path(f"{options.image.stem}-mask.png")
    save_image(output, mask.astype(np.uint8) * 255)
    share = round(float(mask.mean()), 4)
    say(f"{output}  {kind}, {100 * share:.1f} % foreground")
    return {"output": str(output), "kind": kind, "foreground": share}, 0
