"""The command line. Arguments are generated from settings.py.

Exit status: 0 done, 1 could not be done (one line on standard error says why), 2 wrong usage, 130 interrupted.
With --json, standard output holds one JSON object; all else goes to standard error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from sketchcolor import __version__
from sketchcolor.errors import SettingsError, SketchColorError
from sketchcolor.settings import ColorSettings, StyleSettings

Answer = tuple[dict[str, Any], int]
"""What a command says (the JSON object) and its exit status."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = make_parser()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:2] == ["style", "study"]:
        words[:2] = ["study"]
    options = parser.parse_args(words)
    run: Callable[[argparse.Namespace], Answer] = options.run
    try:
        answer, status = run(options)
        if options.json:
            print(json.dumps(answer, ensure_ascii=False, default=_plain))
        sys.stdout.flush()
        return status
    except SettingsError as error:
        return _fail(str(error), 2)
    except SketchColorError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left half-written", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError:
        return _fail("not enough memory; try a smaller --size", 1)
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            return _fail("not enough memory on the device; try a smaller --size or --device cpu", 1)
        raise


def _fail(message: str, status: int) -> int:
    print(f"sketchcolor: {message}", file=sys.stderr)
    return status


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value) if isinstance(value, Path) else float(value)


def make_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from sketchcolor.commands import coloring, library, models, serving, styling

    parser = argparse.ArgumentParser(
        prog="sketchcolor", description="Colour a line sketch from your own pictures.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"sketchcolor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for part in (coloring, library, styling, models, serving):
        part.register(commands)
    return parser


def add_command(
    commands: Any, name: str, help: str, run: Callable[[argparse.Namespace], Answer]
) -> argparse.ArgumentParser:
    """A subcommand with --json."""
    made: argparse.ArgumentParser = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
    made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    made.set_defaults(run=run)
    return made


def add_settings(parser: argparse.ArgumentParser, kind: type[ColorSettings] | type[StyleSettings]) -> None:
    """One argument for each field of a settings class, with its default, choices and help."""
    hints = get_type_hints(kind)
    for knob in dataclasses.fields(kind):
        about = knob.metadata
        limits = "" if about["low"] is None else f", {about['low']:g} to {about['high']:g}"
        default = f'"{knob.default}"' if knob.default == "" else knob.default
        parser.add_argument(
            "--" + knob.name.replace("_", "-"),
            type=hints[knob.name],
            choices=about["choices"] or None,
            default=knob.default,
            metavar=None if about["choices"] else hints[knob.name].__name__.upper(),
            help=f"{about['help']} (default {default}{limits})",
        )


def read_settings(options: argparse.Namespace, kind: type[Any]) -> Any:
    """The settings object from parsed arguments. Raises SettingsError."""
    return kind(**{knob.name: getattr(options, knob.name) for knob in dataclasses.fields(kind)})


class Interrupt:
    """Ctrl-C asks once, gently: `stopped` turns true and the work keeps its best so far; a second one interrupts."""

    def __init__(self) -> None:
        self.stopped = False

    def __enter__(self) -> Interrupt:
        try:
            self._before = signal.signal(signal.SIGINT, self._asked)
        except ValueError:  # not the main thread: nothing to catch
            self._before = None
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _asked(self, *_: object) -> None:
        if self.stopped:
            raise KeyboardInterrupt
        self.stopped = True
