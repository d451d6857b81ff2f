"""The command line, as a user meets it: exit status, one line for what is wrong, JSON, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import ROOT, photo_of_disc
from PIL import Image as Pil

from sketchcolor.cli import main
from sketchcolor.images import read_image, save_image

QUICK = ["--size", "96", "--quality", "preview", "--device", "cpu"]


def run(capsys, *arguments):
    """(status, what --json printed, standard error)."""
    status = main([*map(str, arguments), "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out) if captured.out else None, captured.err


@pytest.fixture
def reference_file(tmp_path, photo):
    save_image(tmp_path / "photo.png", photo)
    return tmp_path / "photo.png"


def test_color_writes_a_picture_layers_and_a_report(capsys, tmp_path, sketch_file, reference_file):
    out, layers = tmp_path / "out.png", tmp_path / "layers"
    status, answer, _ = run(
        capsys, "color", sketch_file, "--reference", reference_file, "-o", out, "--layers", layers, *QUICK
    )
    (entry,) = answer["results"]
    assert status == 0 and entry["output"] == str(out) and entry["matches"] and entry["seconds"]["total"] > 0
    assert read_image(out).shape == (128, 128, 3)
    pictures = ["underpainting", "painting", "lines", "reference", "preview"]
    maps = ["sketch-mask", "reference-mask", "sketch-map", "reference-map"]
    assert sorted(p.stem for p in layers.iterdir()) == sorted(pictures + maps)


def test_replay_makes_the_same_picture_again(capsys, tmp_path, sketch_file, reference_file):
    out, again = tmp_path / "out.png", tmp_path / "again.png"
    options = ["--size", "64", "--backbone", "filters", "--seed", "5", "--device", "cpu"]
    assert main(["color", str(sketch_file), "--reference", str(reference_file), "-o", str(out), *options]) == 0
    assert main(["color", "--replay", str(out), "-o", str(again), "--device", "cpu"]) == 0
    assert (read_image(out) == read_image(again)).all()
    save_image(reference_file, photo_of_disc(seed=8))
    status, _, error = run(capsys, "color", "--replay", out, "-o", again)
    assert status == 1 and "has changed" in error
    assert run(capsys, "color", "--replay", sketch_file)[0] == 1


def test_masks_maps_and_pairs_overrule_the_program(capsys, tmp_path, sketch_file, reference_file):
    mask = np.zeros((128, 128), np.uint8)
    mask[:, :64] = 255
    save_image(tmp_path / "mask.png", mask)
    colored = np.where(mask[..., None] > 0, (255, 0, 0), (0, 0, 255)).astype(np.uint8)
    save_image(tmp_path / "map.png", colored)
    base = ["color", sketch_file, "--reference", reference_file, "-o", tmp_path / "o.png", *QUICK]
    layers = ["--layers", tmp_path / "layers"]
    assert run(capsys, *base, *layers, "--sketch-mask", tmp_path / "mask.png")[0] == 0
    found = read_image(tmp_path / "layers" / "sketch-mask.png")[..., 0] > 127
    assert found[:, :40].all() and not found[:, 60:].any()
    maps = ["--sketch-map", tmp_path / "map.png", "--reference-map", tmp_path / "map.png"]
    matches = run(capsys, *base, *maps)[1]["results"][0]["matches"]
    assert [(m["sketch"], m["reference"], m["reason"]) for m in matches] == [
        (1, 1, "given by the user"),
        (2, 2, "given by the user"),
    ]
    matches = run(capsys, *base, *maps, "--match", "1=2")[1]["results"][0]["matches"]
    assert matches[0]["reference"] == 2
    assert run(capsys, "color", "--replay", tmp_path / "o.png", "-o", tmp_path / "r.png")[0] == 0
    assert (read_image(tmp_path / "o.png") == read_image(tmp_path / "r.png")).all()
    for wrong in (["--match", "1=99"], ["--match", "a=b"], maps[:2]):
        status, _, error = run(capsys, *base, *wrong)
        assert status == 2 and len(error.strip().splitlines()) == 1


def test_one_bad_file_does_not_stop_the_rest(capsys, tmp_path, sketch_file, reference_file):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    out = tmp_path / "out"
    status, answer, error = run(
        capsys, "color", sketch_file, bad, tmp_path / "gone.png", "--reference", reference_file, "-o", out, *QUICK
    )
    assert status == 1
    assert [("error" in entry) for entry in answer["results"]] == [False, True, True]
    assert [p.name for p in out.iterdir()] == ["drawing-color.png"]
    assert "bad.png" in error and "gone.png" in error and "Traceback" not in error


def test_a_folder_of_sketches(capsys, tmp_path, sketch, reference_file):
    folder = tmp_path / "sketches"
    for i in range(3):
        save_image(folder / f"s{i}.png", sketch)
    status, answer, _ = run(capsys, "color", folder, "--reference", reference_file, "-o", tmp_path / "out", *QUICK)
    assert status == 0 and len(answer["results"]) == 3 and len(list((tmp_path / "out").iterdir())) == 3


def make(kind, tmp_path):
    """A sketch that something is wrong with."""
    path = tmp_path / "sketch.png"
    pages = {"empty": (64, 64, 255), "black": (64, 64, 0), "pixel": (1, 1, 0)}
    if kind in pages:
        height, width, tone = pages[kind]
        save_image(path, np.full((height, width, 3), tone, np.uint8))
    elif kind == "text":
        path.write_text("hello")
    return path


@pytest.mark.parametrize("kind", ["empty", "black", "pixel", "text", "missing"])
def test_bad_sketches_get_one_line_and_status_one(capsys, tmp_path, kind, reference_file):
    out = tmp_path / "out.png"
    status, answer, error = run(capsys, "color", make(kind, tmp_path), "--reference", reference_file, "-o", out, *QUICK)
    assert status == 1 and answer is None and not out.exists()
    assert len(error.strip().splitlines()) == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["color"],
        ["color", "x.png", "--size", "3"],
        ["color", "x.png", "--size", "many"],
        ["paint"],
        ["color", "--colour"],
    ],
)
def test_wrong_usage_is_status_two(capsys, arguments):
    try:
        status = main(arguments)
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and "Traceback" not in capsys.readouterr().err


def test_no_permission_is_said_before_the_work(capsys, tmp_path, sketch_file, reference_file):
    blocked = tmp_path / "file"
    blocked.write_text("a file, no folder")
    status, _, error = run(
        capsys, "color", sketch_file, "--reference", reference_file, "-o", blocked / "out.png", *QUICK
    )
    assert status == 1 and "no permission" in error


def test_a_full_disk_leaves_nothing(capsys, tmp_path, sketch_file, reference_file, monkeypatch):
    def full(self, file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pil.Image, "save", full)
    out = tmp_path / "out"
    status, _, error = run(capsys, "color", sketch_file, "--reference", reference_file, "-o", out / "a.png", *QUICK)
    assert status == 1 and "No space left" in error and list(out.iterdir()) == []


def test_index_commands(capsys, tmp_path, pictures, sketch_file):
    library = tmp_path / "lib"
    assert run(capsys, "index", "build", pictures, "--library", library)[1]["added"] == 8
    assert run(capsys, "index", "info", "--library", library)[1]["pictures"] == 8
    hits = run(capsys, "index", "search", sketch_file, "--library", library, "-k", 3)[1]["hits"]
    assert [h["rank"] for h in hits] == [1, 2, 3]
    assert run(capsys, "index", "remove", pictures / "p0.png", "--library", library)[1] == {"removed": 1}
    assert run(capsys, "index", "add", pictures / "p0.png", "--library", library)[1]["added"] == 1
    assert run(capsys, "index", "verify", "--library", library)[0] == 0
    (pictures / "p0.png").unlink()
    assert run(capsys, "index", "verify", "--library", library)[0] == 1
    assert run(capsys, "index", "search", sketch_file, "--library", tmp_path / "none")[0] == 1


def test_color_from_a_library_names_its_hits(capsys, tmp_path, pictures, sketch_file):
    run(capsys, "index", "build", pictures, "--library", tmp_path / "lib")
    status, answer, _ = run(
        capsys, "color", sketch_file, "--library", tmp_path / "lib", "-o", tmp_path / "o.png", *QUICK
    )
    entry = answer["results"][0]
    assert status == 0 and entry["reference"] in {h["path"] for h in entry["hits"]}


def test_segment_and_style(capsys, tmp_path, sketch_file, reference_file):
    status, answer, _ = run(capsys, "segment", sketch_file, "-o", tmp_path / "m.png")
    assert status == 0 and answer["kind"] == "sketch" and 0.1 < answer["foreground"] < 0.4
    assert set(np.unique(read_image(tmp_path / "m.png"))) == {0, 255}
    quick = ["--size", "40", "--steps", "4", "--backbone", "filters", "--device", "cpu"]
    status, answer, _ = run(capsys, "style", reference_file, sketch_file, "-o", tmp_path / "s.png", *quick)
    assert status == 0 and answer["final_loss"]["total"] > 0 and read_image(tmp_path / "s.png").shape == (40, 40, 3)


def test_models_list_and_fetch_without_a_network(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    names = {row["name"]: row["there"] for row in run(capsys, "models", "list")[1]["models"]}
    assert names["compact"] is True and names["vgg19"] is False
    status, _, error = run(capsys, "models", "fetch", "alexnet")
    assert status == 1 and "cannot be downloaded" in error and "Traceback" not in error
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    status, _, error = run(capsys, "color", "x.png", "--backbone", "vgg19")
    assert status == 1 and "models fetch vgg19" in error


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_so_far(tmp_path, sketch_file, reference_file):
    out = tmp_path / "out.png"
    command = [sys.executable, "-m", "sketchcolor", "color", str(sketch_file), "--reference", str(reference_file)]
    command += ["-o", str(out), "--quality", "high", "--backbone", "filters", "--device", "cpu"]
    ours, theirs = os.openpty()  # a terminal, whose bar tells when painting has begun
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    guard = threading.Timer(120, process.kill)
    guard.start()
    said, asked = b"", False
    while True:
        try:
            got = os.read(ours, 4096)
        except OSError:  # the other side is closed (Linux)
            break
        if not got:
            break
        said += got
        if b"paint" in said and not asked:
            asked = True
            process.send_signal(signal.SIGINT)
    os.close(ours)
    assert process.wait(timeout=60) == 0
    guard.cancel()
    assert b"Traceback" not in said and b"stopped early" in said
    assert read_image(out).shape == (128, 128, 3)
    assert not list(tmp_path.glob("*.part")) and not list(tmp_path.glob(".*.part"))


def test_style_takes_several_styles_and_keeps_what_it_did(capsys, tmp_path, sketch_file, reference_file):
    quick = ["--size", "48", "--steps", "8", "--backbone", "filters", "--scales", "1", "--device", "cpu"]
    out, kept, plot = tmp_path / "s.png", tmp_path / "run.safetensors", tmp_path / "curves.png"
    pictures = [reference_file, sketch_file, reference_file]
    keep = ["--save-every", "4", "--checkpoint", kept, "--plot", plot]
    status, answer, _ = run(capsys, "style", *pictures, "--weights", "1,3", "-o", out, *keep, *quick)
    assert status == 0 and answer["final_loss"]
    assert (
        read_image(tmp_path / "s-00004.png").shape
        == read_image(out).shape
        == read_image(tmp_path / "s-00008.png").shape
    )
    assert len((tmp_path / "curves.csv").read_text().splitlines()) == 9 and read_image(plot).std() > 0
    assert run(capsys, "style", reference_file, sketch_file, "--weights", "1,3", *quick)[0] == 2
    assert run(capsys, "style", reference_file, sketch_file, "--weights", "1,x", *quick)[0] == 2
    status, _, error = run(capsys, "style", reference_file, sketch_file, "--resume", reference_file, *quick)
    assert status == 1 and "checkpoint" in error


def test_a_study_is_one_sheet_and_one_table(capsys, tmp_path, sketch_file, reference_file):
    quick = ["--size", "32", "--steps", "4", "--backbone", "filters", "--scales", "1", "--device", "cpu"]
    out = tmp_path / "grid.png"
    vary = ["--vary", "style-weight=0.3,1,3", "--vary", "init=noise,content"]
    status, answer, _ = run(capsys, "style", "study", reference_file, sketch_file, *vary, "-o", out, *quick)
    assert status == 0 and len(answer["runs"]) == 6
    assert {(r["style_weight"], r["init"]) for r in answer["runs"]} == {
        (w, i) for w in (0.3, 1.0, 3.0) for i in ("noise", "content")
    }
    assert len((tmp_path / "grid.csv").read_text().splitlines()) == 7 and read_image(out).ndim == 3
    for kind, runs in (("reconstruct", 10), ("evolution", 1)):
        status, answer, _ = run(capsys, "study", reference_file, sketch_file, "--kind", kind, "-o", out, *quick)
        assert status == 0 and len(answer["runs"]) == runs
    assert run(capsys, "study", reference_file, sketch_file, "--vary", "nothing=1", *quick)[0] == 2
    assert run(capsys, "study", reference_file, sketch_file, "--vary", "steps=many", *quick)[0] == 2
    assert run(capsys, "study", reference_file, sketch_file, *quick)[0] == 2
