"""`serve`: the web app."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sketchcolor.cli import Answer, add_command
from sketchcolor.commands.terminal import say
from sketchcolor.errors import SettingsError, SketchColorError
from sketchcolor.settings import JOBS_A_MINUTE


def register(commands: Any) -> None:
    """Add `serve`."""
    serve = add_command(commands, "serve", "open the web app", run_serve)
    serve.add_argument("--library", type=Path, help="library folder chosen at first (default: the starter library)")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    serve.add_argument("--port", type=int, help="port (default: the first free one from 7860)")
    serve.add_argument("--share", action="store_true", help="also through a public address of Gradio")
    serve.add_argument("--auth", metavar="NAME:PASSWORD", help="ask visitors for these")
    serve.add_argument("--no-folders", action="store_true", help="visitors cannot index folders of this computer")
    rate = "jobs a minute that one address may start (default %(default)s; 0: any number)"
    serve.add_argument("--rate", type=int, default=JOBS_A_MINUTE, metavar="JOBS", help=rate)
    serve.add_argument("--open", action="store_true", help="open the browser")
    serve.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="default auto")


def run_serve(options: argparse.Namespace) -> Answer:
    """Serve until interrupted."""
    from sketchcolor.retrieval.library import Library

    auth = None
    if options.auth is not None:
        name, _, password = options.auth.partition(":")
        if not name or not password:
            raise SettingsError("--auth takes NAME:PASSWORD")
        auth = (name, password)
    if options.port is not None and not 0 < options.port < 65536:
        raise SettingsError(f"--port must be from 1 to 65535, not {options.port}")
    if options.rate < 0:
        raise SettingsError(f"--rate must be at least 0, not {options.rate}")
    if options.library is not None:
        Library.open(options.library)  # what is wrong with it is said before anything starts
    from sketchcolor.ui import launch

    try:
        page, address = launch(
            library=options.library,
            device=options.device,
            host=options.host,
            port=options.port,
            share=options.share,
            auth=auth,
            folders=not options.no_folders,
            rate=options.rate,
            open_browser=options.open,
            wait=False,
        )
    except OSError as error:
        raise SketchColorError(f"cannot listen on {options.host}:{options.port or 7860} ({error})") from None
    say(f"SketchColor is at {address}  (Ctrl-C ends it)")
    page.block_thread()
    return {"address": address}, 0
