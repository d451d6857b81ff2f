"""`models list|fetch|verify`."""

from __future__ import annotations

import argparse
from typing import Any

from sketchcolor.cli import Answer, add_command
from sketchcolor.commands.terminal import say
from sketchcolor.settings import BACKBONES

OWN = ("compact", "filters")
FETCHABLE = tuple(name for name in BACKBONES if name not in OWN)


def register(commands: Any) -> None:
    """Add `models` and its commands."""
    models = commands.add_parser("models", help="network weights: what is there, fetch, verify", allow_abbrev=False)
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    add_command(actions, "list", "what is there, what it is for, which are trusted", run_list)
    fetch = add_command(actions, "fetch", "download a torchvision network's weights (hash checked)", run_fetch)
    fetch.add_argument("name", choices=FETCHABLE)
    add_command(actions, "verify", "check every weights file by its sha256", run_verify)


def run_list(options: argparse.Namespace) -> Answer:
    """Print all networks."""
    from sketchcolor.errors import WeightsError
    from sketchcolor.weights import cached_path, cards

    rows = [
        {
            "name": c.name,
            "file": c.file,
            "there": True,
            "purpose": c.purpose,
            "trust": "shipped, sha256 in the card",
        }
        for c in cards().values()
    ]
    for name in FETCHABLE:
        try:
            path = cached_path(name)
        except WeightsError:
            path = None
        rows.append(
            {
                "name": name,
                "file": str(path) if path else "",
                "there": path is not None,
                "purpose": "style backbone (ImageNet, torchvision)",
                "trust": "torchvision's, hash in its file name",
            }
        )
    if not options.json:
        for row in rows:
            print(f"{row['name']:18} {'here   ' if row['there'] else 'not here'} {row['purpose']}; {row['trust']}")
    return {"models": rows}, 0


def run_fetch(options: argparse.Namespace) -> Answer:
    """Download."""
    from sketchcolor.weights import fetch

    path = fetch(options.name)
    say(f"{options.name}: {path}")
    return {"name": options.name, "file": str(path)}, 0


def run_verify(options: argparse.Namespace) -> Answer:
    """Check hashes; exit status 1 where a file is damaged or one of ours is missing."""
    from sketchcolor.errors import WeightsError
    from sketchcolor.weights import cached_path, cards, find_shipped

    rows = []
    for name in [*cards(), *FETCHABLE]:
        try:
            path = find_shipped(name) if name in cards() else cached_path(name)
        except WeightsError as error:
            rows.append({"name": name, "ok": False, "message": str(error)})
            continue
        if path is not None:
            rows.append({"name": name, "ok": True, "message": str(path)})
    for row in rows:
        say(f"{'ok ' if row['ok'] else 'BAD'} {row['name']}: {row['message']}")
    return {"files": rows}, 0 if all(row["ok"] for row in rows) else 1
