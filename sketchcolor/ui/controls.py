"""Knobs from settings.py, and what goes between the page and the program."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import gradio as gr

from sketchcolor.errors import SettingsError, SketchColorError
from sketchcolor.records import Image, Mask, Progress, Result

# Settings with a range wider than this get a number field, not a slider.
WIDEST_SLIDER = 10_000
# One heavy job at a time on the device; searches and clicks run beside it.
HEAVY: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1, "api_visibility": "private"}
LIGHT: dict[str, Any] = {"concurrency_id": "light", "concurrency_limit": 2, "api_visibility": "private"}
# Seconds between two lines on how far a painting is.
SAY_EVERY = 1.0
PRIVATE: dict[str, Any] = {"api_visibility": "private", "queue": False, "show_progress": "hidden"}


def controls(kind: type[Any], names: tuple[str, ...]) -> dict[str, Any]:
    """One control for each named setting, with its default, range and help."""
    hints = get_type_hints(kind)
    made: dict[str, Any] = {}
    for knob in dataclasses.fields(kind):
        if knob.name not in names:
            continue
        about = knob.metadata
        plain: dict[str, Any] = {"label": knob.name.replace("_", " "), "info": about["help"], "value": knob.default}
        low, high = about["low"], about["high"]
        if about["choices"]:
            few = len(about["choices"]) <= 4
            made[knob.name] = (gr.Radio if few else gr.Dropdown)(list(about["choices"]), **plain)
        elif hints[knob.name] is str:
            made[knob.name] = gr.Textbox(**plain)
        elif low is None or high is None or high - low > WIDEST_SLIDER:
            whole = 0 if hints[knob.name] is int else None
            made[knob.name] = gr.Number(minimum=low, maximum=high, precision=whole, **plain)
        else:
            step = 1 if hints[knob.name] is int else (high - low) / 100 if high <= 1 else 0.05
            made[knob.name] = gr.Slider(low, high, step=step, **plain)
    return made


def all_controls(kind: type[Any], first: tuple[str, ...]) -> dict[str, Any]:
    """The first knobs in sight, the others under "More", in the settings' order."""
    others = tuple(f.name for f in dataclasses.fields(kind) if f.name not in first)
    made = controls(kind, first)
    with gr.Accordion("More", open=False):
        made.update(controls(kind, others))
    return made


def settings_from(kind: type[Any], names: list[str], values: tuple[Any, ...]) -> Any:
    """A settings object from the controls' values; whole numbers stay whole."""
    hints = get_type_hints(kind)
    return kind(**{n: hints[n](v) if hints[n] in (int, float) else v for n, v in zip(names, values, strict=True)})


def spoken(work: Callable[..., Any]) -> Callable[..., Any]:
    """What the program says in one line becomes a message on the page; the page goes on."""
    if inspect.isgeneratorfunction(work):

        @functools.wraps(work)
        def steps(*inputs: Any, **named: Any) -> Iterator[Any]:
            try:
                yield from work(*inputs, **named)
            except SketchColorError as error:
                raise gr.Error(str(error), duration=8, print_exception=False) from None

        return steps

    @functools.wraps(work)
    def once(*inputs: Any, **named: Any) -> Any:
        try:
            return work(*inputs, **named)
        except SketchColorError as error:
            raise gr.Error(str(error), duration=8, print_exception=False) from None

    return once


def address_of(request: gr.Request) -> str | None:
    """Where a visitor's request comes from."""
    return request.client.host if request.client is not None else None


def painted(strokes: Image | None) -> tuple[Mask, Mask] | None:
    """(added, removed) by strokes on a mask, RGBA uint8: green adds, red removes."""
    if strokes is None:
        return None
    there = strokes[..., 3] > 40
    green = strokes[..., 1].astype(int) > strokes[..., 0].astype(int)
    return there & green, there & ~green


def status_line(step: Progress, elapsed: float) -> str:
    """One line for the page: stage, share done, time left."""
    if step.stage != "paint":
        return f"{step.stage} …"
    left = elapsed * (1 - step.share) / step.share if step.share else 0
    return f"painting {100 * step.share:.0f} %, about {left:.0f} s left"


def report(result: Result, name: str) -> str:
    """What was used and why, in a few lines of Markdown."""
    lines = [f"Colours from **{name}** · {result.seconds['total']:.1f} s"]
    if result.stopped:
        lines.append("Stopped early: the best picture so far.")
    lines += [f"*{note}*" for note in result.notes]
    return "  \n".join(lines)


def rgb_of(color: str) -> tuple[int, int, int]:
    """ "#rrggbb" or "rgb(a)(r, g, b, ...)", as a colour picker gives them, to 0-255."""
    if match := re.fullmatch(r"#([0-9a-fA-F]{6})[0-9a-fA-F]{0,2}", color.strip()):
        red, green, blue = bytes.fromhex(match[1])
        return red, green, blue
    numbers = [min(255, round(float(n))) for n in re.findall(r"\d+(?:\.\d+)?", color)[:3]]
    if len(numbers) != 3:
        raise SettingsError(f"not a colour: {color!r}")
    return numbers[0], numbers[1], numbers[2]
