"""`index build|add|remove|search|info|verify`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sketchcolor.cli import Answer, Interrupt, add_command
from sketchcolor.commands.terminal import Bar, say
from sketchcolor.settings import NEARLY_SAME

if TYPE_CHECKING:
    from sketchcolor.records import BuildReport, Hit, Progress
    from sketchcolor.retrieval.library import Library

DEFAULT_FOLDER = Path("sketchcolor-library")


def register(commands: Any) -> None:
    """Add `index` and its commands."""
    index = commands.add_parser("index", help="make and search libraries of pictures", allow_abbrev=False)
    actions = index.add_subparsers(dest="action", required=True, metavar="ACTION")
    build = add_command(actions, "build", "index a folder of pictures; again for what has changed", run_build)
    build.add_argument("folder", type=Path)
    build.add_argument("--rebuild", action="store_true", help="begin anew")
    add = add_command(actions, "add", "add pictures or folders to a library", run_add)
    add.add_argument("paths", type=Path, nargs="+")
    remove = add_command(actions, "remove", "forget pictures or folders; the files stay", run_remove)
    remove.add_argument("paths", type=Path, nargs="+")
    search = add_command(actions, "search", "find the pictures that look most like a sketch", run_search)
    search.add_argument("sketch", type=Path)
    search.add_argument("-k", type=int, default=10, help="how many (default 10)")
    search.add_argument("--explain", action="store_true", help="judge each as a source of colour, and show each term")
    info = add_command(actions, "info", "what a library is", run_info)
    verify = add_command(actions, "verify", "check a library and its pictures", run_verify)
    duplicates = add_command(actions, "duplicates", "pictures that are the same, or nearly", run_duplicates)
    duplicates.add_argument(
        "--threshold", type=float, default=NEARLY_SAME, help=f"cosine of the vectors (default {NEARLY_SAME})"
    )
    duplicates.add_argument("--leave-out", action="store_true", help="search no more than one of each kind from now on")
    for made in (build, add, remove):
        made.add_argument(
            "--library", type=Path, default=DEFAULT_FOLDER, help=f"library folder (default {DEFAULT_FOLDER})"
        )
    for made in (search, info, verify, duplicates):
        made.add_argument("--library", type=Path, help="library folder (default: the starter library)")


def run_build(options: argparse.Namespace) -> Answer:
    """Build or bring up to date."""
    from sketchcolor.retrieval.library import Library

    with Interrupt() as interrupt:
        bar = Bar(options.folder.name)
        report = Library.build(
            options.folder, options.library, progress=_watch(bar, interrupt), rebuild=options.rebuild
        )
        bar.clear()
    return _say_report(report, options.library, interrupt)


def run_add(options: argparse.Namespace) -> Answer:
    """Add pictures."""
    from sketchcolor.retrieval.library import Library

    with Interrupt() as interrupt:
        bar = Bar("add")
        report = Library.open(options.library).add(options.paths, progress=_watch(bar, interrupt))
        bar.clear()
    return _say_report(report, options.library, interrupt)


def _watch(bar: Bar, interrupt: Interrupt) -> Any:
    def watch(progress: Progress) -> bool:
        bar(progress)
        return not interrupt.stopped

    return watch


def _say_report(report: BuildReport, folder: Path, interrupt: Interrupt) -> Answer:
    for path, reason in report.skipped:
        say(f"skipped {path}: {reason}")
    say(
        f"{folder}: {report.total} pictures ({report.added} added, {report.updated} renewed, {report.unchanged} "
        f"unchanged, {report.removed} removed, {len(report.skipped)} skipped) in {report.seconds:.1f} s"
    )
    if interrupt.stopped:
        say("stopped; run the same command again to go on")
    return dataclasses.asdict(report), 130 if interrupt.stopped else 0


def run_remove(options: argparse.Namespace) -> Answer:
    """Forget pictures."""
    from sketchcolor.retrieval.library import Library

    count = Library.open(options.library).remove(options.paths)
    say(f"{count} pictures removed from {options.library}")
    return {"removed": count}, 0 if count else 1


def run_search(options: argparse.Namespace) -> Answer:
    """Print the nearest pictures."""
    from sketchcolor.retrieval.library import Library

    library = Library.open(options.library)
    hits = _explained(library, options) if options.explain else library.search(options.sketch, options.k)
    if not options.json:
        for hit in hits:
            terms = "  ".join(f"{name} {value:.2f}" for name, value in hit.terms.items())
            print(f"{hit.rank:3} {hit.score:.4f} {hit.path}" + (f"  {terms}" if terms else ""))
    return {"hits": [dataclasses.asdict(hit) for hit in hits]}, 0


def _explained(library: Library, options: argparse.Namespace) -> tuple[Hit, ...]:
    """Hits in the order in which `color` would choose them, with all terms."""
    from sketchcolor import ColorSettings, read_image, regions
    from sketchcolor.choosing import choose
    from sketchcolor.lines import find_lines

    drawing = find_lines(read_image(options.sketch, drawing=True))
    mask = regions.sketch_foreground(drawing.ink, drawing.width).mask
    found = library.search_ink(drawing.ink, options.k)
    hits, _, notes = choose(found, drawing.ink, mask, ColorSettings(judged=min(100, max(1, options.k))))
    for note in notes:
        say(note)
    return hits


def run_info(options: argparse.Namespace) -> Answer:
    """Print what a library is."""
    from sketchcolor.retrieval.library import Library

    info = Library.open(options.library).info()
    if not options.json:
        for key, value in info.items():
            print(f"{key:10} {value}")
    return info, 0


def run_duplicates(options: argparse.Namespace) -> Answer:
    """Print pairs; with --leave-out, search only one of each."""
    from sketchcolor.retrieval.library import Library

    library = Library.open(options.library)
    pairs = library.duplicates(options.threshold)
    if not options.json:
        for one, other, cosine in pairs:
            print(f"{cosine:.4f}  {one}  {other}")
    twins = library.leave_out_duplicates(options.threshold) if options.leave_out else {}
    if options.leave_out:
        say(f"{len(twins)} pictures are left out of the search from now on")
    return {"pairs": [{"a": a, "b": b, "cosine": c} for a, b, c in pairs], "left_out": twins}, 0


def run_verify(options: argparse.Namespace) -> Answer:
    """Check a library; exit status 1 where something is wrong."""
    from sketchcolor.retrieval.library import Library

    found = Library.open(options.library).verify()
    for path in found.missing:
        say(f"missing: {path}")
    for path in found.changed:
        say(f"changed: {path}")
    good = found.sound and not found.missing and not found.changed
    say(
        f"{found.total} pictures, {len(found.missing)} missing, {len(found.changed)} changed: "
        + ("sound" if good else "run index build again")
    )
    return dataclasses.asdict(found), 0 if good else 1
