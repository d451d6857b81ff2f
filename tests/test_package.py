"""The shape of the package: what is public, what is loaded when, which way imports point."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT

import sketchcolor
from sketchcolor.cli import make_parser
from sketchcolor.errors import SettingsError
from sketchcolor.settings import ColorSettings, StyleSettings

PUBLIC = {
    "Colorizer", "Library", "ColorSettings", "StyleSettings", "stylize", "segment_sketch", "segment_photo",
    "read_image", "save_image", "SketchColorError",
}  # fmt: skip
LEVELS = [
    {"errors", "records", "remembering", "settings"},
    {"files", "images", "lines", "weights", "devices"},
    {"retrieval", "regions", "style"},
    {"choosing", "repainting", "pipeline", "plots", "styling"},
    {"cli", "commands", "studio", "ui", "__main__"},
]


def test_public_names_are_these_and_no_others():
    assert set(sketchcolor.__all__) == PUBLIC
    for name in PUBLIC:
        assert getattr(sketchcolor, name).__name__ == name


def test_import_loads_no_framework():
    code = "import sketchcolor, sys; print([m for m in ('torch', 'gradio', 'cv2', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_framework():
    code = (
        "import sys\nfrom sketchcolor.cli import main\n"
        "try: main(['color', '--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'gradio') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def level(module: str) -> int:
    for height, names in enumerate(LEVELS):
        if module in names:
            return height
    raise AssertionError(f"{module} has no place in the order of imports")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sketchcolor"):
            parts = node.module.split(".")
            if len(parts) > 1:
                yield parts[1]
            else:
                yield from (alias.name for alias in node.names if alias.name in {n for s in LEVELS for n in s})


def test_imports_point_one_way_and_stages_stay_apart():
    package = ROOT / "sketchcolor"
    seen = 0
    for path in package.rglob("*.py"):
        inside = path.relative_to(package).parts
        own = inside[0].removesuffix(".py")
        if own in ("__init__", "training"):
            continue
        for other in imports(path):
            seen += 1
            if other == own:
                continue
            assert level(other) <= level(own), f"{path}: {own} imports {other}"
            if own in LEVELS[2]:
                assert other not in LEVELS[2], f"{path}: the stages {own} and {other} must not know each other"
    assert seen > 50


@pytest.mark.parametrize(("kind", "command"), [(ColorSettings, ["color", "x"]), (StyleSettings, ["style", "a", "b"])])
def test_command_line_has_every_setting_with_its_default(kind, command):
    options = make_parser().parse_args(command)
    for knob in dataclasses.fields(kind):
        assert getattr(options, knob.name) == knob.default
        assert knob.metadata["help"]


@pytest.mark.parametrize(
    "values",
    [{"size": 3}, {"size": 1.5}, {"quality": "best"}, {"seed": -1}, {"style_weight": float("nan")}, {"size": True}],
)
def test_settings_refuse_what_is_not_allowed(values):
    with pytest.raises(SettingsError) as caught:
        ColorSettings(**values)
    assert "\n" not in str(caught.value) and next(iter(values)) in str(caught.value)


def test_settings_survive_a_round_trip():
    settings = ColorSettings(size=300, lines="off", style_weight=2)
    assert ColorSettings.from_dict(settings.as_dict()) == settings
    with pytest.raises(SettingsError):
        ColorSettings.from_dict({"colour": 1})


@pytest.mark.slow
def test_wheel_works_in_any_folder(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"sketchcolor/models/cards.json", "sketchcolor/index/starter.json"} <= names
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r})\n"
        "import sketchcolor; assert 'site' in sketchcolor.__file__, sketchcolor.__file__\n"
        "from sketchcolor.cli import main; raise SystemExit(main(['models', 'verify']))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run([sys.executable, "-c", code], cwd=elsewhere, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert str(site) in done.stderr
