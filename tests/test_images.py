"""Reading and writing pictures."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Pil

from sketchcolor.errors import ImageError
from sketchcolor.images import read_image, read_text, save_image


def gradient(mode="RGB", size=(9, 7)):
    return Pil.fromarray(np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "RGB"), ("a.jpg", "RGB"), ("a.webp", "RGB"), ("a.tiff", "RGB"), ("a.bmp", "RGB"), ("a.gif", "P"),
     ("g.png", "L"), ("one.png", "1"), ("c.jpg", "CMYK"), ("p.png", "P"), ("la.png", "LA"), ("rgba.png", "RGBA")],
)  # fmt: skip
def test_every_format_and_mode_gives_rgb(tmp_path, name, mode):
    path = tmp_path / name
    gradient(mode).save(path)
    image = read_image(path)
    assert image.dtype == np.uint8 and image.shape == (7, 9, 3)


def test_sixteen_bit_grey_keeps_its_tones(tmp_path):
    values = np.linspace(0, 65535, 63).astype(np.uint16).reshape(7, 9)
    Pil.fromarray(values).save(tmp_path / "g16.png")
    image = read_image(tmp_path / "g16.png")
    assert np.abs(image[..., 0].astype(int) - values / 257).max() <= 1


def test_exif_rotation_is_applied(tmp_path):
    picture = gradient(size=(9, 7))
    exif = Pil.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert read_image(tmp_path / "turned.jpg").shape == (9, 7, 3)


def test_transparent_ground_is_white_but_black_under_light_strokes(tmp_path):
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[8:12, 2:18] = (0, 0, 0, 255)
    Pil.fromarray(rgba).save(tmp_path / "dark.png")
    assert read_image(tmp_path / "dark.png", drawing=True)[0, 0].tolist() == [255, 255, 255]
    rgba[8:12, 2:18] = (255, 255, 255, 255)
    Pil.fromarray(rgba).save(tmp_path / "light.png")
    light = read_image(tmp_path / "light.png", drawing=True)
    assert light[0, 0].tolist() == [0, 0, 0] and light[9, 9].tolist() == [255, 255, 255]
    assert read_image(tmp_path / "light.png")[0, 0].tolist() == [255, 255, 255]


def bomb(path, side=60_000):
    """A PNG that says it is huge, with hardly any data."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)))


def make_bad(tmp_path, kind):
    path = tmp_path / "bad.png"
    if kind == "text":
        path.write_text("this is no picture")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "truncated":
        gradient(size=(300, 300)).save(path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "bomb":
        bomb(path)
    elif kind == "large":
        bomb(path, 12_000)
    return path


@pytest.mark.parametrize("kind", ["text", "empty", "folder", "missing", "truncated", "bomb", "large"])
def test_bad_files_get_one_clear_line(tmp_path, kind):
    path = make_bad(tmp_path, kind)
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert "\n" not in str(caught.value) and "bad.png" in str(caught.value)


def test_the_limit_of_megapixels_can_be_set(tmp_path):
    gradient(size=(200, 200)).save(tmp_path / "p.png")
    with pytest.raises(ImageError, match=r"limit of 0\.01"):
        read_image(tmp_path / "p.png", max_megapixels=0.01)


def test_saving_is_atomic_and_keeps_the_old_file_on_failure(tmp_path, monkeypatch):
    path = tmp_path / "out.png"
    save_image(path, np.zeros((4, 4, 3), np.uint8), text={"key": "wörter"})
    assert read_text(path)["key"] == "wörter"
    before = path.read_bytes()

    def full(self, file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Pil.Image, "save", full)
    with pytest.raises(ImageError, match="No space left"):
        save_image(path, np.ones((4, 4, 3), np.uint8))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(ImageError, match=r"\.xyz"):
        save_image(tmp_path / "a.xyz", np.zeros((4, 4, 3), np.uint8))
