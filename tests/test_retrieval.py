"""The library: building, changing, searching, and what goes wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, draw_disc, photo_of_disc

from sketchcolor.errors import ImageError, LibraryError
from sketchcolor.images import save_image
from sketchcolor.retrieval import build, embedding, indexes, ranking
from sketchcolor.retrieval import library as library_module
from sketchcolor.retrieval.embedding import LineDescriptor, completed, crop_to_lines, default_embedding
from sketchcolor.retrieval.library import Library
from sketchcolor.retrieval.store import INDEX, TABLE, Row, Store


@pytest.fixture
def library(tmp_path, pictures):
    Library.build(pictures, tmp_path / "lib")
    return Library.open(tmp_path / "lib")


@pytest.mark.parametrize("make", [LineDescriptor, default_embedding])
def test_embeddings_are_unit_vectors_of_the_stated_length(make):
    made = make()
    ink = (draw_disc()[..., 0] < 128).astype(np.float32)
    photos, views = made.photos([photo_of_disc(), photo_of_disc(90)]), made.sketch(ink)
    assert len(photos) == 2 and len(views) >= 1
    for vectors in (photos, views):
        assert vectors.shape[1] == made.dimension and vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
    assert made.photos([]).shape == (0, made.dimension)


def test_crop_of_an_empty_page_is_empty():
    assert crop_to_lines(np.zeros((40, 50), np.float32), 32).sum() == 0


def face(half=None):
    """A round face with eyes, a mouth and one thing on its left cheek only; of `half`, that side alone."""
    page = np.zeros((200, 240), np.uint8)
    for x, y, r in ((120, 100, 80), (90, 80, 10), (150, 80, 10), (80, 120, 6)):
        cv2.circle(page, (x, y), r, 255, 3)
    cv2.ellipse(page, (120, 125), (30, 20), 0, 20, 160, 255, 3)
    ink = page.astype(np.float32) / 255
    if half == "left":
        ink[:, 121:] = 0
    if half == "right":
        ink[:, :120] = 0
    return ink


def test_the_place_and_size_of_a_drawing_hardly_matter():
    move = np.array([[0.5, 0, 20], [0, 0.5, 30]], np.float32)
    smaller = cv2.warpAffine(face(), move, (240, 200), flags=cv2.INTER_AREA)
    other = (draw_disc(200, (110, 100), 60, 4)[..., 0] < 128).astype(np.float32)
    ours, theirs, others = (default_embedding().sketch(ink)[0] for ink in (face(), smaller, other))
    assert float(ours @ theirs) > 0.9 > float(ours @ others) + 0.2


def test_half_a_drawing_is_nearer_the_whole_for_being_completed(monkeypatch):
    network = default_embedding()
    whole, half = network.sketch(face())[0], network.sketch(face("left"))[0]
    monkeypatch.setattr(embedding, "completed", lambda ink: ink)
    bare = network.sketch(face("left"))[0]
    assert float(whole @ half) > float(whole @ bare) + 0.02


@pytest.mark.parametrize("half", ["left", "right"])
def test_half_a_drawing_is_completed_by_its_mirror_image(half):
    whole = completed(face(half))
    assert whole.shape[1] == pytest.approx(164, abs=4) and np.abs(whole - whole[:, ::-1]).max() == 0
    assert whole.sum() == pytest.approx(2 * face(half).sum(), rel=0.01)


def test_other_drawings_are_not_completed():
    strip = face()
    strip[:, :80], strip[:, 160:] = 0, 0  # cut off on both sides
    for ink in (face(), strip, np.zeros((20, 30), np.float32)):
        assert (completed(ink) == ink).all()


def test_build_finds_all_and_search_ranks_them(library, pictures):
    assert len(library) == 8
    hits = library.search(draw_disc(), k=5)
    assert [h.rank for h in hits] == [1, 2, 3, 4, 5]
    assert all(a.score >= b.score for a, b in zip(hits, hits[1:], strict=False))
    assert all(h.path.startswith(str(pictures)) for h in hits)
    assert len(library.search(draw_disc(), k=100)) == 8


def test_building_again_reads_nothing_that_has_not_changed(tmp_path, pictures, monkeypatch):
    Library.build(pictures, tmp_path / "lib")
    save_image(pictures / "new.png", photo_of_disc(seed=99))
    save_image(pictures / "p1.png", photo_of_disc(radius=50, seed=98))
    (pictures / "p2.png").unlink()
    read = []
    real = build.read_image
    monkeypatch.setattr(build.embed_batch, "__defaults__", (lambda p: read.append(p.name) or real(p),))
    report = Library.build(pictures, tmp_path / "lib")
    assert sorted(read) == ["new.png", "p1.png"]
    assert (report.added, report.updated, report.unchanged, report.removed, report.total) == (1, 1, 6, 1, 8)


def test_unreadable_files_are_skipped_with_a_reason(tmp_path, pictures):
    (pictures / "text.png").write_text("no picture")
    (pictures / "empty.jpg").write_bytes(b"")
    (pictures / "notes.txt").write_text("not looked at")
    (pictures / "loop").symlink_to(pictures, target_is_directory=True)
    report = Library.build(pictures, tmp_path / "lib")
    assert report.added == 8
    assert {Path(path).name: bool(reason) for path, reason in report.skipped} == {
        "text.png": True,
        "empty.jpg": True,
    }


def test_add_and_remove(tmp_path, library, pictures):
    extra = tmp_path / "extra.png"
    save_image(extra, photo_of_disc(seed=50))
    assert library.add([extra]).added == 1 and len(library) == 9
    assert str(extra) in {h.path for h in library.search(draw_disc(), k=9)}
    assert library.remove([extra, pictures / "p0.png"]) == 2 and len(library) == 7
    assert str(extra) not in {h.path for h in library.search(draw_disc(), k=9)}
    assert library.remove([extra]) == 0


def test_verify_tells_missing_and_changed(library, pictures):
    assert library.verify().sound and not library.verify().missing
    (pictures / "p0.png").unlink()
    save_image(pictures / "p1.png", photo_of_disc(seed=77))
    found = library.verify()
    assert [Path(p).name for p in found.missing] == ["p0.png"]
    assert [Path(p).name for p in found.changed] == ["p1.png"]


def test_another_embedding_is_said_with_the_command_that_rebuilds(library):
    with sqlite3.connect(library.store.table) as db:
        db.execute("UPDATE meta SET value = 'old-0' WHERE key = 'embedding'")
    with pytest.raises(LibraryError, match=r"old-0.*--rebuild"):
        Library.open(library.store.folder)


def test_a_damaged_index_file_is_made_anew_from_the_table(library):
    expected = [h.path for h in library.search(draw_disc())]
    (library.store.folder / INDEX).write_bytes(b"rubbish")
    assert [h.path for h in Library.open(library.store.folder).search(draw_disc())] == expected
    (library.store.folder / INDEX).unlink()
    assert [h.path for h in Library.open(library.store.folder).search(draw_disc())] == expected


def test_a_damaged_table_is_said_in_one_line(tmp_path, library):
    (library.store.folder / TABLE).write_bytes(b"rubbish" * 1000)
    with pytest.raises(LibraryError, match="damaged"):
        Library.open(library.store.folder)


def test_no_library_and_empty_library(tmp_path):
    with pytest.raises(LibraryError, match="index build"):
        Library.open(tmp_path / "nothing")
    (tmp_path / "none").mkdir()
    assert Library.build(tmp_path / "none", tmp_path / "lib").total == 0
    with pytest.raises(LibraryError, match="empty"):
        Library.open(tmp_path / "lib").search(draw_disc())
    with pytest.raises(LibraryError, match="no such folder"):
        Library.build(tmp_path / "missing", tmp_path / "lib")


def test_a_sketch_without_lines_is_refused(library):
    with pytest.raises(ImageError):
        library.search(np.full((50, 50, 3), 255, np.uint8))


def test_an_open_library_sees_what_another_process_adds(library, tmp_path):
    assert len(library.search(draw_disc(), 20)) == 8
    save_image(tmp_path / "x.png", photo_of_disc(seed=3))
    Library.open(library.store.folder).add([tmp_path / "x.png"])
    assert len(library.search(draw_disc(), 20)) == 9


def test_stopping_a_build_keeps_what_is_done(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(build, "BATCH", 3)
    report = Library.build(pictures, tmp_path / "lib", progress=lambda p: p.step < 6)
    assert report.total == 6
    assert Library.build(pictures, tmp_path / "lib").added == 2


# A hundred children of one process, each killed while it builds, adds or removes. The embedding is a stand-in without
# networks, so that a child lives for milliseconds and forking is safe.
KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import cv2, numpy as np
cv2.setNumThreads(0)
from sketchcolor.retrieval import build, library
from sketchcolor.retrieval.library import Library

class Plain:
    version, dimension = "plain-1", 16
    def photos(self, images):
        vectors = [cv2.resize(i, (4, 4)).mean(2).ravel() - 100 for i in images]
        found = np.array(vectors, np.float32).reshape(-1, 16)
        return found / np.linalg.norm(found, axis=1, keepdims=True)
    def sketch(self, ink):
        return self.photos([np.repeat((255 * (1 - ink)).astype(np.uint8)[..., None], 3, 2)])

library.default_embedding = Plain
build.BATCH = 2
pictures, target = Path(sys.argv[1]), Path(sys.argv[2])
names = sorted(pictures.iterdir())
dice = random.Random(0)
ink = np.zeros((64, 64), np.float32); ink[20:40, 20:40] = 1
died = 0
for trial in range(100):
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        os.write(tell, b"x")
        while True:
            Library.build(pictures, target, rebuild=False)
            Library.open(target).remove(dice.sample(names, 5))
            Library.open(target).add(dice.sample(names, 3))
    os.read(ready, 1)
    time.sleep(dice.uniform(0, 0.06))
    os.kill(child, signal.SIGKILL)
    died += os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    os.close(ready); os.close(tell)
    try:
        opened = Library.open(target)
    except library.LibraryError as error:
        assert trial < 3 and "library" in str(error), error  # killed before there was a table
        continue
    assert opened.verify().sound
    if len(opened):
        assert 1 <= len(opened.search_ink(ink, 50)) <= len(opened)
report = Library.build(pictures, target)
opened = Library.open(target)
assert report.total == len(names) == len(opened.search_ink(ink, 50)), report
print(died, "killed", report.total)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_hundred_kills_leave_a_library_that_opens_and_goes_on(tmp_path, pictures):
    for number in range(12):
        save_image(pictures / f"more-{number}.png", photo_of_disc(seed=200 + number))
    command = [sys.executable, "-c", KILLED, str(pictures), str(tmp_path / "lib")]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=200, check=False
    )
    assert done.stdout.split() == ["100", "killed", "20"], done.stderr


@pytest.mark.slow
def test_one_process_builds_while_another_searches(tmp_path, pictures):
    target = tmp_path / "lib"
    Library.build(pictures, target)
    for number in range(60):
        save_image(pictures / f"more-{number}.png", photo_of_disc(seed=300 + number))
    code = "import sys; from sketchcolor import Library; Library.build(sys.argv[1], sys.argv[2])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(pictures), str(target)], env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    opened = Library.open(target)
    counts = []
    while process.poll() is None:
        counts.append(len(opened.search(draw_disc(), 100)))
    assert process.returncode == 0
    assert counts[0] == 8 and counts == sorted(counts)
    assert len(opened.search(draw_disc(), 100)) == 68


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_library_can_be_searched(library):
    folder = library.store.folder
    folder.chmod(0o555)
    try:
        assert len(Library.open(folder).search(draw_disc(), 20)) == 8
    finally:
        folder.chmod(0o755)


def test_two_changers_do_not_meet(library, tmp_path):
    other = Store(library.store.folder)
    with other.locked(), pytest.raises(LibraryError, match="another process"):
        library.add([tmp_path / "x.png"])


def test_duplicates_are_named(library, pictures, tmp_path):
    save_image(tmp_path / "again.png", photo_of_disc(color=(9, 9, 9), radius=9, seed=1))
    save_image(tmp_path / "same.png", photo_of_disc(color=(9, 9, 9), radius=9, seed=1))
    library.add([tmp_path / "again.png", tmp_path / "same.png"])
    pairs = library.duplicates(0.9999)
    assert [{Path(a).name, Path(b).name} for a, b, _ in pairs if "same.png" in a + b] == [{"again.png", "same.png"}]


def test_a_large_library_gets_an_inverted_file_that_still_finds(monkeypatch):
    monkeypatch.setattr(indexes, "EXACT_UP_TO", 1000)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(5000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = np.arange(5000, dtype=np.int64) * 3 + 1
    small, large = indexes.make_index(vectors[:1000], ids[:1000], 32), indexes.make_index(vectors, ids, 32)
    assert "exact" in indexes.kind(small) and indexes.recall(small, vectors[:1000], ids[:1000]) == 1
    assert "IVF" in indexes.kind(large) and indexes.recall(large, vectors, ids) > 0.8
    assert large.search(vectors[7:8], 1)[1][0, 0] == ids[7]


def test_the_starter_library_opens_and_holds_what_its_manifest_says():
    opened = Library.open()
    assert len(opened) >= 10
    assert opened.verify().sound
    shutil.rmtree(opened.store.folder)


def test_duplicates_can_be_left_out_and_stay_out(library, pictures):
    shutil.copy(pictures / "p1.png", pictures / "p1-again.png")
    Library.build(pictures, library.store.folder)
    twins = library.leave_out_duplicates(0.9999)
    again, first = str(pictures / "p1-again.png"), str(pictures / "p1.png")
    assert {again, first} in [{a, b} for a, b in twins.items()]
    found = {h.path for h in library.search(draw_disc(), 50)}
    assert len(found & {again, first}) == 1
    report = Library.build(pictures, library.store.folder)
    assert report.added == 0 and {h.path for h in library.search(draw_disc(), 50)} == found
    assert library.info()["left_out"] == len(twins)
    (gone,) = {again, first} - found
    assert library.remove([gone]) == 1
    assert library.add([gone]).added == 1


class Told:
    """An embedding that answers what it is told."""

    version, dimension = "told", 3

    def sketch(self, ink):
        return np.array([[1.0, 0, 0]], np.float32)


def test_the_nearest_pictures_help_to_find_their_like(tmp_path, monkeypatch):
    store = Store(tmp_path / "lib", create=("told", 3))
    vectors = {"near": (0.8, 0.6, 0), "like near": (0.5, 0.866, 0), "other": (0.6, 0, 0.8)}
    store.put([Row(name, "", 1, 1, 1, 1, np.array(v, np.float32).tobytes()) for name, v in vectors.items()])
    opened = Library(store, Told())
    ink = np.ones((8, 8), np.float32)
    assert [h.path for h in opened.search_ink(ink, 3)] == ["near", "other", "like near"]
    monkeypatch.setattr(library_module, "HELP_FROM", 3)
    monkeypatch.setattr(library_module, "NEIGHBOURS", 1)
    hits = opened.search_ink(ink, 3)
    assert [h.path for h in hits] == ["near", "like near", "other"]
    assert 0 < hits[-1].score < hits[0].score <= 1
    assert [h.path for h in opened.search_ink(ink, 2)] == ["near", "like near"]
    monkeypatch.setattr(library_module, "SPREAD_OVER", 2)
    few = opened.search_ink(ink, 3)  # what likeness does not reach comes after
    assert [h.path for h in few] == ["near", "like near", "other"] and few[2].score < few[1].score


def test_likeness_spreads_along_links(monkeypatch):
    angles = np.radians([0, 8, 16, 90, 98, 106])
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    scores = np.array([0.9, 0.3, 0.2, 0.6, 0.59, 0.58])
    order = np.argsort(-scores)
    monkeypatch.setattr(ranking, "SOURCES", 1)
    found = np.empty(6)
    found[order] = ranking.spread(scores[order], vectors[order])
    assert found.argmax() == 0 and found.max() == pytest.approx(0.95)
    reached = 2 * found - scores  # from the first picture: its neighbours, hardly the others
    assert reached[1] > reached[2] > 0.2 and (reached[3:] < 0.05).all()
    # The closed form is the limit of passing on step by step.
    near = np.maximum(vectors @ vectors.T, 0) ** ranking.SHARPNESS
    np.fill_diagonal(near, 0)
    degree = 1 / np.sqrt(near.sum(1))
    passed = source = np.eye(6)[0] * 0.9**ranking.SHARPNESS
    for _ in range(200):
        passed = ranking.PASSED_ON * (degree[:, None] * near * degree) @ passed + source
    assert np.allclose(reached, passed / passed.max(), atol=1e-4)
