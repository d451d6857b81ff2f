"""Reading and writing pictures. At every border a picture is RGB uint8 (H, W, 3)."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from sketchcolor.errors import ImageError
from sketchcolor.files import replacing
from sketchcolor.records import Field, Image
from sketchcolor.settings import ColorSettings

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif")
_SAVED_AS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}


def read_image(
    path: str | os.PathLike[str],
    *,
    max_megapixels: float = ColorSettings.max_megapixels,
    drawing: bool = False,
) -> Image:
    """Read a picture file as RGB uint8 (H, W, 3).

    PNG, JPEG, WebP, TIFF, BMP and GIF (first frame); EXIF rotation is applied; transparent parts are laid on
    white. With `drawing`, light strokes on a transparent ground are laid on black instead, so that they stay
    visible. Sizes above `max_megapixels` are refused before anything is decoded.

    Raises ImageError with one line.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PilImage.open(path, formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > max_megapixels * 1e6:
                    raise ImageError(
                        f"{path}: {width} x {height} pixels are more than the limit of "
                        f"{max_megapixels:g} megapixels (raise it with --max-megapixels)"
                    )
                opened.seek(0)
                opened.load()
                return _to_rgb(ImageOps.exif_transpose(opened), drawing)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture (known formats: PNG, JPEG, WebP, TIFF, BMP, GIF)") from None
    except PilImage.DecompressionBombError:
        raise ImageError(f"{path}: larger than any allowed picture (limit 170 megapixels)") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read it") from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path}: damaged or truncated picture ({reason})") from None


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise ImageError(f"{path}: is a folder, not a picture")
        if not path.exists():
            raise ImageError(f"{path}: no such file")
        if not path.is_file():
            raise ImageError(f"{path}: not a regular file")
        if path.stat().st_size == 0:
            raise ImageError(f"{path}: the file is empty")
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError):
            raise ImageError(f"{path}: no permission to read it") from None
        raise ImageError(f"{str(path)!r}: cannot be looked at ({error.__class__.__name__})") from None


def _to_rgb(picture: PilImage.Image, drawing: bool) -> Image:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N", "I", "F"):
        values = np.asarray(picture, dtype=np.float64)
        values = np.nan_to_num(values)
        top = float(values.max(initial=0.0))
        # 16-bit files arrive as 0-65535; floats as 0-1 or 0-255.
        unit = 65535.0 if top > 255 else 1.0 if picture.mode == "F" and top <= 1 else 255.0
        grey = np.clip(values / unit * 255 + 0.5, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if picture.mode in ("RGBA", "LA", "La", "RGBa", "PA") or "transparency" in picture.info:
        return flatten(np.asarray(picture.convert("RGBA")), drawing=drawing)
    return np.ascontiguousarray(np.asarray(picture.convert("RGB")))


def flatten(rgba: NDArray[np.uint8], *, drawing: bool = False) -> Image:
    """RGBA uint8 (H, W, 4) laid on white; with `drawing`, light strokes on a clear ground on black."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    color = rgba[..., :3].astype(np.float32)
    ground = 255.0
    if drawing and 0 < float(alpha.mean()) < 0.6:
        lightness = float((color.mean(2, keepdims=True) * alpha).sum() / alpha.sum())
        ground = 0.0 if lightness > 160 else 255.0
    return np.clip(color * alpha + ground * (1 - alpha) + 0.5, 0, 255).astype(np.uint8)


def check_image(image: Image, name: str = "image") -> Image:
    """The same array, once it is known to be RGB uint8 (H, W, 3) with at least one pixel. Raises ImageError."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ImageError(f"{name} must be a uint8 array of shape (H, W, 3), not {got}")
    if image.size == 0:
        raise ImageError(f"{name} has no pixels: {image.shape}")
    return image


def save_image(path: str | os.PathLike[str], image: Image | Field, *, text: Mapping[str, str] | None = None) -> None:
    """Write RGB uint8 (H, W, 3) or grey uint8 (H, W) in the format of the suffix: beside first, then renamed.

    `text` goes into the text chunks of a PNG and is ignored by other formats. Missing folders are made.
    Raises ImageError where the suffix is unknown or the file cannot be written; nothing half-written remains.
    """
    path = Path(path)
    kind = _SAVED_AS.get(path.suffix.lower())
    if kind is None:
        raise ImageError(f"{path}: cannot write {path.suffix or 'a file without suffix'}; use {', '.join(_SAVED_AS)}")
    picture = PilImage.fromarray(np.ascontiguousarray(image))
    options: dict[str, object] = {}
    if kind == "PNG":
        info = PngInfo()
        for key, value in (text or {}).items():
            info.add_itxt(key, value)
        options = {"pnginfo": info, "compress_level": 4}
    elif kind in ("JPEG", "WEBP"):
        options = {"quality": 95}
    with replacing(path) as beside, beside.open("wb") as file:
        picture.save(file, kind, **options)


def read_text(path: str | os.PathLike[str]) -> dict[str, str]:
    """The text chunks of a PNG, empty for any other picture. Raises ImageError for no picture at all."""
    path = Path(path)
    _check_file(path)
    try:
        with PilImage.open(path, formats=FORMATS) as opened:
            found = getattr(opened, "text", {})
            return {str(k): str(v) for k, v in found.items()}
    except Exception:
        raise ImageError(f"{path}: not a picture") from None


def fit_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """(height, width) of the same aspect with the longer side `longest` px, neither below 1."""
    scale = longest / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Image | Field, size: tuple[int, int]) -> Image | Field:
    """Any uint8 or float32 picture to (height, width): area averages down, cubic up. Same dtype and channels."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=how))


def digest(image: Image) -> str:
    """sha256 of shape and pixels, for replaying."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
