"""Indexing a folder of pictures: find the files, embed what is new, forget what is gone."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sketchcolor.errors import ImageError, LibraryError
from sketchcolor.images import SUFFIXES, fit_size, read_image, resize
from sketchcolor.records import BuildReport, Image, Progress, ProgressCallback
from sketchcolor.retrieval.embedding import Embedding
from sketchcolor.retrieval.store import Row, Store

BATCH = 32
# Embeddings look at no more than this; larger pictures are reduced when read.
EMBED_SIDE = 256
Reader = Callable[[Path], Image]


@dataclass(frozen=True)
class Skipped:
    """A file that is no part of the library, and why."""

    path: str
    reason: str


def find_files(folder: Path) -> Iterator[Path]:
    """Picture files below a folder, in sorted order, by suffix. Links to folders are followed once."""
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        try:
            status = Path(parent).stat()
        except OSError:
            folders.clear()
            continue
        key = (status.st_dev, status.st_ino)
        if key in seen:
            folders.clear()
            continue
        seen.add(key)
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent) / name


def embed_batch(paths: Sequence[Path], embedding: Embedding, read: Reader = read_image) -> list[Row | Skipped]:
    """From paths to rows, or the reason why not. Looks at nothing but the files: it can run anywhere."""
    found: list[Row | Skipped] = []
    images: list[Image] = []
    waiting: list[tuple[int, Path, os.stat_result, str, tuple[int, int]]] = []
    for path in paths:
        try:
            status = path.stat()
            content = path.read_bytes()
            image = read(path)
        except ImageError as error:
            found.append(Skipped(str(path), str(error).removeprefix(f"{path}: ")))
            continue
        except OSError as error:
            found.append(Skipped(str(path), error.strerror or str(error)))
            continue
        height, width = image.shape[:2]
        if max(height, width) > EMBED_SIDE:
            image = resize(image, fit_size(height, width, EMBED_SIDE))
        images.append(image)
        waiting.append((len(found), path, status, hashlib.sha256(content).hexdigest(), (height, width)))
        found.append(Skipped(str(path), "not embedded"))
    vectors = embedding.photos(images)
    for (place, path, status, sha256, (height, width)), vector in zip(waiting, vectors, strict=True):
        found[place] = Row(str(path), sha256, status.st_size, status.st_mtime_ns, width, height, vector.tobytes())
    return found


def update(
    store: Store,
    files: Iterable[Path],
    embedding: Embedding,
    *,
    gone_below: Path | None = None,
    progress: ProgressCallback | None = None,
) -> BuildReport:
    """Bring a store up to date with files; unchanged ones (same size and time) are not read.

    With `gone_below`, pictures of the store below that folder that are not among the files are removed. The
    progress callback may return False to stop; what was embedded is kept and the next run goes on from there.
    """
    began = time.monotonic()
    if store.meta["embedding"] != embedding.version:
        raise LibraryError(version_message(store, embedding))
    with store.locked():
        known = store.known()
        paths = [Path(os.path.abspath(p)) for p in files]
        todo = [p for p in paths if not _unchanged(p, known.get(str(p)))]
        skipped: list[tuple[str, str]] = []
        added = updated = done = 0
        complete = True
        for start in range(0, len(todo), BATCH):
            batch = embed_batch(todo[start : start + BATCH], embedding)
            rows = [entry for entry in batch if isinstance(entry, Row)]
            skipped += [(entry.path, entry.reason) for entry in batch if isinstance(entry, Skipped)]
            if rows:
                store.put(rows)
            updated += sum(row.path in known for row in rows)
            added += sum(row.path not in known for row in rows)
            done += len(batch)
            if progress is not None and progress(Progress("index", done, len(todo))) is False:
                complete = False
                break
        removed = 0
        if gone_below is not None and complete:
            prefix = os.path.join(os.path.abspath(gone_below), "")
            kept = {str(p) for p in paths} - {path for path, _ in skipped}
            gone = [p for p in known if p.startswith(prefix) and p not in kept]
            removed = store.delete(gone) if gone else 0
        store.write_index()
    return BuildReport(
        added=added,
        updated=updated,
        unchanged=len(paths) - len(todo),
        removed=removed,
        skipped=tuple(skipped),
        total=store.count(),
        seconds=round(time.monotonic() - began, 3),
    )


def _unchanged(path: Path, known: tuple[int, int] | None) -> bool:
    if known is None:
        return False
    try:
        status = path.stat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == known


def version_message(store: Store, embedding: Embedding) -> str:
    """What to tell the owner of a library that another embedding made."""
    return (
        f"{store.folder}: made with embedding {store.meta['embedding']}, this program uses {embedding.version}; "
        f"rebuild it with `python -m sketchcolor index build PICTURES --library {store.folder} --rebuild`"
    )
