"""What the web app does, without a page: sessions, streams, libraries, corrections."""

from __future__ import annotations

import dataclasses
import json
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor, wait

import numpy as np
import pytest
from conftest import draw_disc, photo_of_disc

from sketchcolor.errors import ImageError, LibraryError
from sketchcolor.images import read_image, read_text, save_image
from sketchcolor.records import Progress, Result
from sketchcolor.retrieval.library import Library
from sketchcolor.settings import ColorSettings, StyleSettings
from sketchcolor.studio import Session, Studio
from sketchcolor.studio.bench import Bench
from sketchcolor.studio.streams import streamed
from sketchcolor.ui.controls import all_controls, painted, rgb_of, settings_from, spoken
from sketchcolor.ui.pad import given, shown

QUICK = ColorSettings(size=96, quality="preview")


@pytest.fixture
def studio(tmp_path, pictures, monkeypatch):
    monkeypatch.setenv("SKETCHCOLOR_CACHE", str(tmp_path / "cache"))
    Library.build(pictures, tmp_path / "lib")
    made = Studio(tmp_path / "lib", "cpu")
    yield made
    made.close()


def last(steps):
    *_, result = steps
    return result


@pytest.mark.parametrize("kind", [ColorSettings, StyleSettings])
def test_controls_have_the_settings_defaults_ranges_and_help(kind):
    import gradio as gr

    with gr.Blocks():
        made = all_controls(kind, ("size",))
    assert set(made) == {f.name for f in dataclasses.fields(kind)}
    for knob in dataclasses.fields(kind):
        control, about = made[knob.name], knob.metadata
        assert control.value == knob.default and control.info == about["help"]
        if about["choices"]:
            assert [c[1] for c in control.choices] == list(about["choices"])
        elif about["low"] is not None:
            assert control.minimum == about["low"] and control.maximum == about["high"]
    assert settings_from(kind, list(made), tuple(c.value for c in made.values())) == kind()


def test_the_way_of_a_visitor(studio):
    session = studio.session("a")
    with pytest.raises(ImageError, match="sketch"):
        next(studio.color(session, "lib", QUICK))
    ink = studio.take_sketch(session, draw_disc())
    assert ink.shape == (128, 128) and ink.min() < 60
    first, (shown, _) = studio.candidates(session, "lib", QUICK)
    assert [why for _, why in first[0]] == [f"alike {100 * hit.score:.0f}%" for hit in session.hits]
    assert len(shown) == 8 and all("fit" in why for _, why in shown)
    (starred,) = (place for place, (_, why) in enumerate(shown) if why.startswith("★"))
    assert session.reference_name == session.hits[starred].path.rsplit("/", 1)[-1]
    assert list(studio.candidates(session, "lib", QUICK)) == [(shown, [])]
    studio.choose(session, 3)
    steps = list(studio.color(session, "lib", QUICK))
    result = steps[-1]
    assert isinstance(result, Result) and any(isinstance(s, Progress) and s.image is not None for s in steps)
    assert session.reference_name == session.hits[3].path.rsplit("/", 1)[-1]
    picture, archive = studio.downloads(session)
    assert (read_image(picture) == result.image).all()
    assert json.loads(read_text(picture)["sketchcolor"])["settings"]["size"] == 96
    names = set(zipfile.ZipFile(archive).namelist())
    assert {"result.png", "underpainting.png", "sketch.png", "reference.png", "sketch-mask.png"} <= names
    folder = session.folder
    studio.leave("a")
    assert not folder.exists()


def test_a_glance_before_anybody_asks(studio):
    session = studio.session("a")
    studio.take_sketch(session, draw_disc())
    assert studio.glance(session, "lib", ColorSettings(size=96)) is None  # nothing is chosen yet
    studio.take_reference(session, photo_of_disc(color=(240, 20, 20)), "red")
    seen = studio.glance(session, "lib", ColorSettings(size=96))
    assert seen.shape == (128, 128, 3) and seen[64, 64, 0] > 150 and session.result is None
    with studio.bench.job():
        assert studio.glance(session, "lib", QUICK) is None  # the device has work
    studio.warmed.clear()  # the networks are still loading: that is waited for
    with ThreadPoolExecutor() as pool:
        early = pool.submit(studio.glance, session, "lib", ColorSettings(size=96))
        assert not wait([early], timeout=0.3).done
        studio.warmed.set()
        assert (early.result() == seen).all()
    result = last(studio.color(session, "lib", QUICK))
    assert (seen == result.image).all()
    assert studio.glance(session, "lib", QUICK) is None  # the painting is there

    class Slow:
        def color(self, *inputs, **settings):
            studio.take_sketch(session, draw_disc(128, (60, 60)))
            return result

    studio.take_sketch(session, draw_disc(128, (50, 60)))
    studio.shelf.colorizer = lambda library: Slow()
    assert studio.glance(session, "lib", QUICK) is None  # the visitor draws on meanwhile


def test_the_other_candidates_are_looked_at_ahead(studio, monkeypatch):
    session = studio.session("a")
    studio.take_sketch(session, draw_disc())
    for _ in studio.candidates(session, "lib", ColorSettings()):
        pass
    looked = []
    colorizer = studio.shelf.colorizer("lib")
    monkeypatch.setattr(studio.shelf, "colorizer", lambda library: colorizer)
    monkeypatch.setattr(colorizer, "color", lambda sketch, path, **more: looked.append((path, more)))
    studio.foresee(session, "lib", ColorSettings()).join()
    assert [path for path, _ in looked] == [hit.path for hit in session.hits] and len(looked) > 1
    assert all(more["settings"].quality == "preview" for _, more in looked)
    looked.clear()
    with studio.bench.job():
        studio.foresee(session, "lib", ColorSettings()).join()
    assert not looked  # the device has work

    def draw_on(sketch, path, **more):
        looked.append(path)
        studio.take_sketch(session, draw_disc(128, (50, 60)))

    monkeypatch.setattr(colorizer, "color", draw_on)
    studio.foresee(session, "lib", ColorSettings()).join()
    assert len(looked) == 1  # the visitor has gone on


def test_work_done_ahead_makes_way():
    bench = Bench()
    began, ended, order = threading.Event(), threading.Event(), []

    def asked_for():
        began.wait(10)
        with bench.job():
            order.append("job")
        ended.set()

    threading.Thread(target=asked_for).start()
    with bench.spare() as free:
        assert free
        bench.make_way()  # nobody waits
        with bench.spare() as second:
            assert not second
        began.set()
        for _ in range(2000):
            bench.make_way()
            time.sleep(0.005)
        order.append("spare went on")
    assert ended.wait(10) and order == ["job"]


def test_corrections_change_the_picture(studio):
    session = studio.session("a")
    studio.take_sketch(session, draw_disc())
    studio.take_reference(session, photo_of_disc(), "disc.png")
    before = last(studio.color(session, "lib", QUICK))
    added = np.zeros((64, 64), bool)
    added[:8, :8] = True
    studio.correct_mask(session, "sketch", added, np.zeros_like(added))
    after = last(studio.color(session, "lib", QUICK))
    assert after.sketch_mask[:10, :10].all() and not before.sketch_mask[:10, :10].any()
    label = studio.pick(session, 0.5, 0.5)
    assert studio.pair(session, 0.47, 0.55)[0] == label
    studio.lock_color(session, (20, 150, 60))
    colored = last(studio.color(session, "lib", dataclasses.replace(QUICK, lines="off")))
    inside = colored.regions.sketch_map == label
    small = read_like(colored.image, inside)
    assert np.abs(small[inside].mean(0) - (20, 150, 60)).max() < 14
    studio.forget_corrections(session)
    again = last(studio.color(session, "lib", QUICK))
    assert (again.image == before.image).all()


def read_like(image, mask):
    import cv2

    return cv2.resize(image, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_AREA)


def test_visitors_do_not_see_each_other(studio):
    one, other = studio.session("a"), studio.session("b")
    studio.take_sketch(one, draw_disc())
    studio.take_sketch(other, draw_disc(centre=(40, 40), radius=20))
    studio.take_reference(one, photo_of_disc(color=(250, 10, 10)), "red")
    studio.take_reference(other, photo_of_disc(color=(10, 250, 10)), "green")
    results = {}

    def run(key):
        results[key] = last(studio.color(studio.session(key), "lib", QUICK))

    threads = [threading.Thread(target=run, args=(k,)) for k in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results["a"].image[64, 64, 0] > 150 > results["a"].image[64, 64, 1]
    assert results["b"].image[40, 40, 1] > 150 > results["b"].image[40, 40, 0]
    assert studio.session("a").sketch is not studio.session("b").sketch


def test_a_new_drawing_stops_what_is_under_way_and_the_same_one_does_not(studio):
    session = studio.session("a")
    studio.take_sketch(session, draw_disc())
    session.stop.clear()
    studio.take_sketch(session, draw_disc())
    assert not session.stop.is_set()
    studio.take_sketch(session, draw_disc(radius=20))
    assert session.stop.is_set()


def test_streams_stop_and_pass_errors_on():
    def work(progress):
        for step in range(1000):
            time.sleep(0.002)
            if progress(Progress("x", step, 1000)) is False:
                return f"stopped at {step}"
        return "done"

    stop = threading.Event()
    seen = []
    for step in streamed(work, stop):
        seen.append(step)
        if len(seen) == 3:
            stop.set()
    assert seen[-1].startswith("stopped")

    left = streamed(work, threading.Event())
    next(left)
    left.close()  # the page was closed: the work ends too

    def broken(progress):
        raise ImageError("no such thing")

    with pytest.raises(ImageError, match="no such thing"):
        list(streamed(broken, threading.Event()))


def test_libraries_are_made_extended_and_removed(studio, tmp_path, pictures):
    extra = tmp_path / "extra.png"
    save_image(extra, photo_of_disc(seed=77))
    assert "8 pictures" in last(studio.shelf.build("mine", [pictures], threading.Event()))
    assert "9 pictures" in last(studio.shelf.build("mine", [extra], threading.Event()))
    assert "mine" in studio.shelf.libraries() and len(studio.shelf.colorizer("mine").library) == 9
    assert "mine" in Studio(device="cpu").shelf.libraries()  # it is there the next time
    studio.shelf.remove("mine")
    assert "mine" not in studio.shelf.libraries() and (pictures / "p0.png").exists()
    with pytest.raises(LibraryError):
        studio.shelf.remove("lib")
    for name, sources in (("", [extra]), ("../..", [extra]), ("x", []), ("x", [tmp_path / "none"])):
        with pytest.raises(LibraryError):
            last(studio.shelf.build(name, sources, threading.Event()))
    with pytest.raises(LibraryError, match="not open"):
        last(Studio(device="cpu", folders=False).shelf.build("x", [pictures], threading.Event()))


def test_old_visitors_are_forgotten(studio, monkeypatch):
    session = studio.session("old")
    folder = session.files()
    monkeypatch.setattr("sketchcolor.studio.FORGET_AFTER", -1)
    studio.session("new")
    assert not folder.exists() and session.stop.is_set()


def test_what_goes_between_page_and_program():
    strokes = np.zeros((4, 4, 4), np.uint8)
    strokes[0], strokes[1] = (34, 197, 94, 255), (239, 68, 68, 255)
    added, removed = painted(strokes)
    assert added[0].all() and removed[1].all() and not (added | removed)[2:].any()
    assert painted(None) is None
    assert rgb_of("#ff8000") == (255, 128, 0) and rgb_of("rgba(1.4, 2, 300, 1)") == (1, 2, 255)
    with pytest.raises(ImageError):
        spoken_error()


def spoken_error():
    import gradio as gr

    def fails():
        raise ImageError("said in one line")

    with pytest.raises(gr.Error, match="said in one line"):
        spoken(fails)()
    raise ImageError("kept")


def test_a_session_holds_nothing_at_first():
    assert Session().sketch is None and Session().folder is None


def test_scribbles_give_regions_their_colours(studio):
    session = studio.session("scribbler")
    studio.take_sketch(session, draw_disc())
    studio.take_reference(session, photo_of_disc(), "own picture")
    first = last(studio.color(session, "lib", QUICK))
    strokes = np.zeros((256, 256, 4), np.uint8)
    with pytest.raises(ImageError, match="scribble"):
        studio.scribble(session, strokes)
    strokes[120:136, 110:150] = (20, 90, 200, 255)  # in the disc
    strokes[4:12, 4:200] = (240, 200, 30, 255)  # on the ground
    regions = studio.scribble(session, strokes)
    inside, outside = first.regions.sketch_map[48, 48], first.regions.sketch_map[2, 2]
    assert regions == sorted({int(inside), int(outside)})
    image = last(studio.color(session, "lib", QUICK)).image.astype(int)
    assert np.abs(image[50:78, 50:78].mean((0, 1)) - (20, 90, 200)).max() < 30
    assert np.abs(image[2:20, 2:20].mean((0, 1)) - (240, 200, 30)).max() < 45
    studio.forget_corrections(session)
    assert (last(studio.color(session, "lib", QUICK)).image == first.image).all()


def test_what_comes_from_the_pad():
    rgba = np.zeros((6, 8, 4), np.uint8)
    rgba[2] = (10, 20, 30, 255)
    url = shown(rgba)["show"]
    assert (given({"given": url}) == rgba).all()
    assert given({"given": None}) is None and given({"show": url}) is None and given(None) is None
    assert shown(None) == {"show": None}
    for bad in (
        "/etc/passwd",
        7,
        url[:-40],
        url[:30] + "%",
        "data:image/svg+xml;base64,AAAA",
        "data:image/png;base64,",
    ):
        with pytest.raises(ImageError, match="drawing"):
            given({"given": bad})


def test_the_pad_takes_no_more_than_it_says(monkeypatch):
    url = shown(np.zeros((2000, 1000, 3), np.uint8))["show"]
    monkeypatch.setattr("sketchcolor.ui.pad.MOST_MEGAPIXELS", 1.0)
    with pytest.raises(ImageError, match="1 megapixels"):
        given({"given": url})
    monkeypatch.setattr("sketchcolor.ui.pad.MOST_MEGABYTES", 0)
    with pytest.raises(ImageError, match="0 megabytes"):
        given({"given": url})


def test_one_address_has_its_share_of_the_turns():
    from sketchcolor.errors import BusyError
    from sketchcolor.studio.turnstile import Turnstile

    now = [0.0]
    turnstile = Turnstile(2, lambda: now[0])
    for _ in range(2):
        turnstile.enter("a")
    with pytest.raises(BusyError, match="try again in 60 s"):
        turnstile.enter("a")
    turnstile.enter("b")
    now[0] = 61.0
    turnstile.enter("a")
    free = Turnstile(0)
    for _ in range(100):
        free.enter("a")
