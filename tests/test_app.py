"""The web app from outside: its API, what it refuses, and the page in a browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import warnings

import numpy as np
import pytest
from conftest import ROOT, draw_disc, photo_of_disc

from sketchcolor.images import read_image, save_image
from sketchcolor.retrieval.library import Library

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
SECRET = "not to be served"


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """The app in a process of its own: (address, folder with the library and a secret)."""
    folder = tmp_path_factory.mktemp("app")
    rng = np.random.default_rng(5)
    for i in range(6):
        color = tuple(int(v) for v in rng.integers(30, 255, 3))
        save_image(folder / "pictures" / f"p{i}.png", photo_of_disc(color=color, radius=16 + 4 * i, seed=i))
    (folder / "secret.txt").write_text(SECRET)
    (folder / "link.txt").symlink_to(folder / "secret.txt")
    Library.build(folder / "pictures", folder / "lib")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SKETCHCOLOR_CACHE": str(folder / "cache")}
    command = [sys.executable, str(ROOT / "app.py"), "--library", str(folder / "lib"), "--device", "cpu"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment, cwd=folder
    )
    line = ""
    while "SketchColor is at" not in line:
        line = process.stderr.readline()
        assert line or process.poll() is None, "the app did not start"
    threading.Thread(target=process.stderr.read, daemon=True).start()
    yield line.split()[3], folder
    process.terminate()
    process.wait(20)


def client(app):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from gradio_client import Client

        return Client(app[0], verbose=False)


def file(path):
    from gradio_client import handle_file

    return handle_file(str(path))


@pytest.fixture
def drawing(tmp_path):
    save_image(tmp_path / "drawing.png", draw_disc())
    return tmp_path / "drawing.png"


def test_the_three_calls_of_the_readme(app, drawing, tmp_path):
    caller = client(app)
    found = caller.predict(sketch=file(drawing), library="lib", k=3, api_name="/search")
    assert [h["rank"] for h in found] == [1, 2, 3] and all(h["name"].startswith("p") for h in found)
    save_image(tmp_path / "red.png", photo_of_disc(color=(240, 20, 20)))
    picture, about = caller.predict(
        sketch=file(drawing), reference=file(tmp_path / "red.png"), library="lib", quality="preview", size=96, seed=0,
        api_name="/color",
    )  # fmt: skip
    image = read_image(picture)
    assert image.shape == (128, 128, 3) and image[64, 64, 0] > 150 and about["seconds"]["total"] > 0
    picture, _ = caller.predict(
        content=file(drawing), style=file(tmp_path / "red.png"), mode="global", size=48, steps=4, seed=0,
        api_name="/stylize",
    )  # fmt: skip
    assert max(read_image(picture).shape) == 48
    named = set(caller.view_api(return_format="dict")["named_endpoints"])
    assert named == {"/search", "/color", "/stylize"}


def test_two_callers_at_once_get_their_own_pictures(app, drawing, tmp_path):
    colors = {"red": (240, 20, 20), "green": (20, 220, 20)}
    found = {}

    def call(name):
        save_image(tmp_path / f"{name}.png", photo_of_disc(color=colors[name]))
        caller = client(app)
        picture, _ = caller.predict(
            file(drawing), file(tmp_path / f"{name}.png"), "lib", "preview", 96, 0, api_name="/color"
        )
        found[name] = read_image(picture)[64, 64].astype(int)

    threads = [threading.Thread(target=call, args=(name,)) for name in colors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["red"][0] > found["red"][1] + 80 and found["green"][1] > found["green"][0] + 80


def status_of(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_no_file_of_the_machine_is_served(app):
    address, folder = app
    places = [folder / "secret.txt", folder / "link.txt", "/etc/passwd", "../secret.txt", "secret.txt",
              "../../../../etc/passwd", folder / "pictures" / "p0.png", ROOT / "README.md"]  # fmt: skip
    for place in places:
        for quoted in (str(place), urllib.parse.quote(str(place), safe="")):
            code, body = status_of(f"{address}gradio_api/file={quoted}")
            assert code in (403, 404), (place, code)
            assert SECRET.encode() not in body and b"root:" not in body


def test_a_call_cannot_name_a_file_of_the_server(app):
    address, folder = app
    given = {"path": str(folder / "pictures" / "p0.png"), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": [given, "lib", 3]}).encode()
    request = urllib.request.Request(
        f"{address}gradio_api/call/search", body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            event = json.load(answer)["event_id"]
        _, said = status_of(f"{address}gradio_api/call/search/{event}")
        assert b"event: error" in said and b'"rank"' not in said
    except urllib.error.HTTPError as error:
        assert error.code in (400, 403, 422, 500)


def test_bad_input_is_said_and_the_app_goes_on(app, drawing, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    blank = tmp_path / "blank.png"
    save_image(blank, np.full((64, 64, 3), 255, np.uint8))
    caller = client(app)
    for bad in (tmp_path / "text.png", blank):
        with pytest.raises(Exception, match=r"not a picture|no lines|no ink|empty") as said:
            caller.predict(file(bad), "lib", 3, api_name="/search")
        assert "/" not in str(said.value)
    with pytest.raises(Exception, match="no library"):
        caller.predict(file(drawing), "../..", 3, api_name="/search")
    assert len(caller.predict(file(drawing), "lib", 2, api_name="/search")) == 2


# --- in a browser

if CHROMIUM is None:
    warnings.warn("NO CHROMIUM: the page is not tested in a browser", stacklevel=1)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("NO CHROMIUM on this system: the page is not tested in a browser")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(app, browser):
    """A fresh visitor; a request to anywhere else fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    opened = context.new_page()
    outside = []
    opened.on("request", lambda r: None if r.url.startswith((app[0], "data:", "blob:")) else outside.append(r.url))
    opened.goto(app[0])
    opened.wait_for_selector("#go")
    opened.wait_for_selector("#sketch canvas")
    yield opened
    context.close()
    assert outside == []


def upload(page, path):
    page.locator("#sketch input[type=file]").set_input_files(str(path))
    page.wait_for_selector("#candidates img", timeout=60_000)


def settings(page, **values):
    page.get_by_text("Settings", exact=True).first.click()
    for value in values.values():
        page.get_by_role("radio", name=value, exact=True).first.check()


def said(page, text, timeout=120_000):
    page.wait_for_function(
        "text => document.querySelector('#status').innerText.includes(text)", arg=text, timeout=timeout
    )


@pytest.mark.slow
def test_upload_choose_colour_correct_and_download(page, drawing, tmp_path):
    upload(page, drawing)
    assert page.locator("#candidates img").count() == 6
    page.wait_for_selector("#result img", timeout=60_000)  # a preview, before anything is asked for
    settings(page, quality="preview")
    page.locator("#candidates button.thumbnail-item, #candidates .grid-container button").nth(1).click()
    said(page, "Colours from")
    with page.expect_download() as waiting:
        page.click("#download")
    waiting.value.save_as(tmp_path / "got.png")
    image = read_image(tmp_path / "got.png")
    assert image.shape == (128, 128, 3) and image.std() > 10
    with page.expect_download() as waiting:
        page.click("#layers")
    assert waiting.value.suggested_filename.endswith(".zip")
    page.get_by_text("Correct: figure").click()
    page.wait_for_timeout(1500)
    for editor, button, height in (("#sketch-mask", "#apply-masks", 0.08), ("#scribbles", "#apply-scribbles", 0.5)):
        canvas = page.locator(f"{editor} canvas.strokes")
        canvas.wait_for()
        canvas.scroll_into_view_if_needed()
        box = canvas.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.48, box["y"] + box["height"] * height)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.52, box["y"] + box["height"] * height, steps=8)
        page.mouse.up()
        page.wait_for_timeout(800)
        before = page.locator("#result img").last.get_attribute("src")
        page.click(button)
        page.wait_for_function(
            "before => [...document.querySelectorAll('#result img')].at(-1).src !== before", arg=before, timeout=60_000
        )
        said(page, "Colours from")
        page.wait_for_timeout(1500)


@pytest.mark.slow
def test_draw_on_the_page(page):
    page.get_by_role("button", name="Brush").first.click()
    box = page.locator("#sketch canvas.strokes").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x + 90, y)
    page.mouse.down()
    for step in range(33):
        page.mouse.move(x + 90 * np.cos(step * np.pi / 16), y + 90 * np.sin(step * np.pi / 16))
    page.mouse.up()
    page.wait_for_selector("#candidates img", timeout=60_000)
    said(page, "paints with the starred one")
    page.get_by_role("button", name="Undo").first.click()
    said(page, "Draw something")
    assert page.get_by_role("button", name="Undo").first.is_disabled()
    page.get_by_role("button", name="Redo").first.click()
    said(page, "paints with the starred one")
    page.get_by_role("button", name="A new page").click()
    said(page, "Draw something")
    page.click("#go")
    page.get_by_text("draw or upload a sketch first").wait_for()


@pytest.mark.slow
def test_paste_a_picture_into_the_page(page, drawing):
    import base64

    paste = """data => {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0)), items = new DataTransfer();
        items.items.add(new File([bytes], "a.png", {type: "image/png"}));
        document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: items}));
    }"""
    page.evaluate(paste, base64.b64encode(drawing.read_bytes()).decode())
    page.wait_for_selector("#result img", timeout=60_000)
    assert page.locator("#sketch canvas.strokes").evaluate("c => [c.width, c.height]") == [128, 128]
    requests = []
    page.on("request", lambda r: requests.append(r.url))
    page.wait_for_timeout(2000)
    assert requests == []  # nothing goes to and fro when nobody does anything


@pytest.mark.slow
def test_stop_keeps_the_best_so_far(page, drawing):
    upload(page, drawing)
    settings(page, quality="high")
    page.click("#go")
    said(page, "painting")
    page.click("#stop")
    said(page, "Stopped early", timeout=30_000)
    assert page.locator("#result img").count() >= 1


@pytest.mark.slow
def test_a_bad_file_is_said_and_the_page_goes_on(page, drawing, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    page.locator("#sketch input[type=file]").set_input_files(str(tmp_path / "bad.png"))
    page.get_by_text("not a picture that can be read").wait_for()
    upload(page, drawing)
    assert page.locator("#candidates img").count() == 6


@pytest.mark.slow
def test_two_visitors_with_two_drawings(app, browser, tmp_path):
    pages = []
    for number, radius in enumerate((20, 50)):
        path = tmp_path / f"d{number}.png"
        save_image(path, draw_disc(radius=radius))
        opened = browser.new_context(viewport={"width": 390, "height": 844}).new_page()
        opened.goto(app[0])
        opened.wait_for_selector("#sketch canvas")
        upload(opened, path)
        settings(opened, quality="preview")
        assert opened.evaluate("document.documentElement.scrollWidth") <= 390
        pages.append(opened)
    for opened in pages:
        opened.click("#go")
    radii = []
    for opened in pages:
        said(opened, "Colours from")
        with opened.expect_download() as waiting:
            opened.click("#download")
        waiting.value.save_as(tmp_path / "got.png")
        middle = read_image(tmp_path / "got.png")[64].mean(axis=1)
        radii.append(float(np.abs(np.flatnonzero(middle < 40) - 64).max()))
        opened.context.close()
    assert radii[0] == pytest.approx(20, abs=4) and radii[1] == pytest.approx(50, abs=4)
