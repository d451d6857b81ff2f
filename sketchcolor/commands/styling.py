"""`style`: the core as a style-transfer tool of its own; `style study`: grids and dissections of it."""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from sketchcolor import __version__
from sketchcolor.cli import Answer, Interrupt, add_command, add_settings, read_settings
from sketchcolor.commands.recipe import RECIPE
from sketchcolor.commands.terminal import Bar, say
from sketchcolor.errors import SettingsError
from sketchcolor.settings import STYLE_MODES, StyleSettings

if TYPE_CHECKING:
    from sketchcolor.records import Image, Progress

STUDIES = ("grid", "reconstruct", "evolution")


def register(commands: Any) -> None:
    """Add `style` and the study."""
    style = add_command(
        commands, "style", "paint a content picture in the style of others (`style study`: compare settings)", run_style
    )
    style.add_argument("content", type=Path, help="content picture; with --mode doodle the target map")
    style.add_argument("styles", type=Path, nargs="+", metavar="STYLE")
    style.add_argument("-o", "--output", type=Path, help="output file (default: CONTENT-style.png here)")
    style.add_argument("--mode", choices=STYLE_MODES, default="global", help="default global")
    style.add_argument("--content-map", type=Path, help="colour-coded map of the content (segmented mode)")
    style.add_argument(
        "--style-map", type=Path, action="append", default=[], help="same colour, same part; once for each STYLE"
    )
    style.add_argument("--weights", help="comma-separated, one for each STYLE (default: all alike)")
    style.add_argument("--start", type=Path, help="picture that the pixels begin from")
    style.add_argument("--save-every", type=int, default=0, metavar="N", help="also save the picture every N steps")
    style.add_argument("--checkpoint", type=Path, help="keep the state of the run here")
    style.add_argument("--resume", type=Path, help="go on from a checkpoint, with the same pictures and settings")
    style.add_argument("--plot", type=Path, help="loss curves as PNG, and as CSV beside it")
    style.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    add_settings(style, StyleSettings)
    study = add_command(commands, "study", "the same as `style study`: many runs on one labelled sheet", run_study)
    study.add_argument("content", type=Path)
    study.add_argument("style", type=Path)
    study.add_argument("-o", "--output", type=Path, default=Path("study.png"), help="sheet (default study.png) and CSV")
    study.add_argument("--mode", choices=STYLE_MODES[:3], default="global", help="default global")
    study.add_argument(
        "--vary", action="append", default=[], metavar="NAME=A,B,...", help="a setting and its values; may be repeated"
    )
    study.add_argument(
        "--kind",
        choices=STUDIES,
        default="grid",
        help="grid: all combinations of --vary; reconstruct: content and style from each layer; evolution: over steps",
    )
    study.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")
    add_settings(study, StyleSettings)


def run_style(options: argparse.Namespace) -> Answer:
    """Transfer style."""
    from sketchcolor.images import read_image, save_image
    from sketchcolor.plots import draw_curves, write_table
    from sketchcolor.styling import stylize

    settings = read_settings(options, StyleSettings)
    if options.save_every:
        settings = dataclasses.replace(settings, show_every=options.save_every)
    weights = _numbers(options.weights)
    doodle = options.mode == "doodle"
    content = read_image(options.content)
    given_map = None if options.content_map is None else read_image(options.content_map)
    if doodle and given_map is not None:
        raise SettingsError("in doodle mode the first picture is the target map; leave out --content-map")
    output = options.output or Path(f"{options.content.stem}-style.png")
    with Interrupt() as interrupt:
        bar = Bar(options.content.name)

        def watch(progress: Progress) -> bool:
            bar(progress)
            if options.save_every and progress.image is not None:
                save_image(output.with_name(f"{output.stem}-{progress.step:05}{output.suffix}"), progress.image)
            return not interrupt.stopped

        result = stylize(
            None if doodle else content,
            [read_image(p) for p in options.styles],
            mode=options.mode,
            content_map=content if doodle else given_map,
            style_map=[read_image(p) for p in options.style_map] or None,
            settings=settings,
            progress=watch,
            device=options.device,
            weights=weights,
            start=None if options.start is None else read_image(options.start),
            checkpoint=options.checkpoint,
            resume=options.resume,
        )
        bar.clear()
    recipe = {"version": __version__, "mode": options.mode, "settings": dataclasses.asdict(settings)}
    save_image(output, result.image, text={RECIPE: json.dumps(recipe)})
    if options.plot is not None:
        save_image(options.plot, draw_curves(result.losses))
        write_table(options.plot.with_suffix(".csv"), [{"step": i, **t} for i, t in enumerate(result.losses, 1)])
    for note in result.notes:
        say(f"note: {note}")
    stopped = " (stopped early, best so far)" if result.stopped else ""
    say(f"{output}  in {result.seconds['total']:.1f} s{stopped}")
    return {
        "output": str(output),
        "mode": options.mode,
        "seconds": dict(result.seconds),
        "final_loss": result.losses[-1] if result.losses else None,
        "stopped": result.stopped,
        "notes": list(result.notes),
        "settings": settings.as_dict(),
    }, 0


def _numbers(text: str | None) -> list[float]:
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError:
        raise SettingsError(f"--weights takes numbers such as 0.7,0.3, not {text!r}") from None


def run_study(options: argparse.Namespace) -> Answer:
    """Many runs; one sheet and one table."""
    from sketchcolor.images import read_image, save_image
    from sketchcolor.plots import contact_sheet, write_table
    from sketchcolor.styling import stylize

    base = read_settings(options, StyleSettings)
    content, style = read_image(options.content), read_image(options.style)
    tiles: list[tuple[str, Image]] = [("content", content), ("style", style)]
    rows: list[dict[str, Any]] = []
    if options.kind == "evolution":
        runs: list[tuple[dict[str, Any], StyleSettings]] = [({}, base)]
        columns = 4
    elif options.kind == "reconstruct":
        runs = list(_layer_by_layer(base))
        tiles += [("", content[:1, :1] * 0 + 255)] * max(0, len(runs) // 2 - 2)
        columns = max(2, len(runs) // 2)
    else:
        runs, columns = _grid(base, options.vary)
        tiles += [("", content[:1, :1] * 0 + 255)] * (-2 % columns)
    with Interrupt() as interrupt:
        for number, (varied, settings) in enumerate(runs, 1):
            bar = Bar(f"{number}/{len(runs)}")

            def watch(progress: Progress, bar: Bar = bar) -> bool:
                bar(progress)
                if options.kind == "evolution" and progress.image is not None:
                    tiles.append((f"step {progress.step}", progress.image))
                return not interrupt.stopped

            result = stylize(
                content, style, mode=options.mode, settings=settings, progress=watch, device=options.device
            )
            bar.clear()
            label = ", ".join(f"{k} {v}" for k, v in varied.items()) or "result"
            tiles.append((label, result.image))
            last = result.losses[-1] if result.losses else {}
            rows.append({**varied, **last, "seconds": result.seconds["total"], "stopped": result.stopped})
            if interrupt.stopped:
                break
    save_image(options.output, contact_sheet(tiles, columns))
    write_table(options.output.with_suffix(".csv"), rows)
    say(f"{options.output}  {len(rows)} of {len(runs)} runs")
    return {"output": str(options.output), "runs": rows}, 130 if interrupt.stopped else 0


def _grid(base: StyleSettings, vary: list[str]) -> tuple[list[tuple[dict[str, Any], StyleSettings]], int]:
    """All combinations, and how many the last setting has."""
    hints = get_type_hints(StyleSettings)
    axes: list[tuple[str, list[Any]]] = []
    for text in vary:
        name, _, values = text.partition("=")
        field = name.strip().replace("-", "_")
        if field not in {f.name for f in dataclasses.fields(StyleSettings)} or not values:
            raise SettingsError(f"--vary takes NAME=A,B,... with the name of a setting, not {text!r}")
        try:
            axes.append((field, [hints[field](v.strip()) for v in values.split(",")]))
        except ValueError:
            raise SettingsError(f"--vary {text}: {field} must be {hints[field].__name__}") from None
    if not axes:
        raise SettingsError("name what to vary, as in --vary style-weight=0.3,1,3")
    runs = []
    for chosen in itertools.product(*(a[1] for a in axes)):
        varied: dict[str, Any] = dict(zip([a[0] for a in axes], chosen, strict=True))
        runs.append((varied, dataclasses.replace(base, **varied)))
    return runs, max(2, len(axes[-1][1]))


def _layer_by_layer(base: StyleSettings) -> Iterator[tuple[dict[str, Any], StyleSettings]]:
    """Content alone from each layer, then style alone from the layers up to each; all from noise."""
    from sketchcolor.style.backbones import load_backbone

    backbone = load_backbone(base.backbone, pooling=base.pooling, precision=base.precision)
    layers = backbone.choose(base.style_layers, backbone.style_layers)
    for layer in layers:
        settings = dataclasses.replace(base, init="noise", style_weight=0.0, content_weight=1.0, content_layers=layer)
        yield {"content of": layer}, settings
    for number, layer in enumerate(layers, 1):
        some = ",".join(layers[:number])
        yield {"style up to": layer}, dataclasses.replace(base, init="noise", content_weight=0.0, style_layers=some)
