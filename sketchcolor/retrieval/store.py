"""What a library keeps on disk: an SQLite table, the truth, and a FAISS index, a copy that can be made anew.

Rows are written in transactions, so a kill at any moment loses at most the batch under way. The index file is
written beside and renamed, and carries the table's revision; where they differ, the index is made from the table.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from sketchcolor.errors import LibraryError
from sketchcolor.retrieval.embedding import Vectors
from sketchcolor.retrieval.indexes import make_index

TABLE = "library.sqlite"
INDEX = "vectors.faiss"
LOCK = "library.lock"
FORMAT = "1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS pictures (
    id INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, vector BLOB NOT NULL);
"""
# Pictures that are known and not searched: each is nearly the same as `twin`. Made when it is first needed.
_LEFT_OUT = """
CREATE TABLE IF NOT EXISTS left_out (
    path TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, twin TEXT NOT NULL)
"""


@dataclass(frozen=True)
class Row:
    """One picture of a library. vector: float32 (D,) of unit length, as bytes."""

    path: str
    sha256: str
    size: int
    mtime_ns: int
    width: int
    height: int
    vector: bytes


class Store:
    """The files of one library folder."""

    def __init__(self, folder: Path, *, create: tuple[str, int] | None = None) -> None:
        """Open, or with `create` = (embedding version, dimension) make what is missing. Raises LibraryError."""
        self.folder = folder
        self.table = folder / TABLE
        if create is not None:
            self._create(*create)
        elif not self.table.is_file():
            raise LibraryError(
                f"{folder}: no library here; make one with "
                f"`python -m sketchcolor index build PICTURES --library {folder}`"
            )
        try:
            with self.reading() as db:
                self.meta = dict(db.execute("SELECT key, value FROM meta"))
        except sqlite3.DatabaseError as error:
            raise LibraryError(f"{folder}: damaged library ({error}); delete it and build it again") from None
        if self.meta.get("format") != FORMAT:
            raise LibraryError(f"{folder}: library format {self.meta.get('format')} is not {FORMAT}; build it again")

    def _create(self, version: str, dimension: int) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.table, timeout=30)) as db, db:
                db.executescript(_SCHEMA)
                values = {
                    "format": FORMAT,
                    "embedding": version,
                    "dimension": str(dimension),
                    "revision": "0",
                }
                db.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", values.items())
        except sqlite3.DatabaseError as error:
            raise LibraryError(f"{self.folder}: cannot make a library here ({error})") from None
        except OSError as error:
            raise LibraryError(f"{self.folder}: cannot make a library here ({error.strerror})") from None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection for reading; works where the folder cannot be written.

        Where it can be, SQLite may write: a process killed in the middle leaves a journal that has to be rolled back.
        """
        how = "mode=rw" if os.access(self.folder, os.W_OK) else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"{self.table.resolve().as_uri()}?{how}", uri=True, timeout=30)) as db:
            db.execute("PRAGMA query_only = ON")
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that also moves the revision on. Raises LibraryError where it cannot be written."""
        try:
            with closing(sqlite3.connect(self.table, timeout=30)) as db, db:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'revision'")
        except sqlite3.DatabaseError as error:
            raise LibraryError(f"{self.folder}: the library cannot be written ({error})") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one process changes a library at a time. Raises LibraryError where another one does."""
        try:
            import fcntl
        except ImportError:  # no such locks on this system; SQLite's own still hold
            yield
            return
        try:
            with (self.folder / LOCK).open("w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    raise LibraryError(f"{self.folder}: another process is changing this library") from None
                yield
        except PermissionError:
            raise LibraryError(f"{self.folder}: no permission to change this library") from None

    @property
    def revision(self) -> int:
        """Counts the transactions so far."""
        with self.reading() as db:
            return int(db.execute("SELECT value FROM meta WHERE key = 'revision'").fetchone()[0])

    def known(self) -> dict[str, tuple[int, int]]:
        """(size, mtime_ns) by path, of searched and of left-out pictures."""
        with self.reading() as db:
            tables = ["pictures", *(["left_out"] if _has_left_out(db) else [])]
            return {p: (s, m) for t in tables for p, s, m in db.execute(f"SELECT path, size, mtime_ns FROM {t}")}

    def left_out(self) -> dict[str, str]:
        """Left-out pictures by path, each with the picture that it is nearly the same as."""
        with self.reading() as db:
            return dict(db.execute("SELECT path, twin FROM left_out ORDER BY path")) if _has_left_out(db) else {}

    def leave_out(self, twins: Mapping[str, str]) -> None:
        """Take pictures (path: twin) out of the search and remember them, in one transaction."""
        with self.writing() as db:
            db.execute(_LEFT_OUT)
            db.executemany(
                "INSERT OR REPLACE INTO left_out SELECT path, size, mtime_ns, ? FROM pictures WHERE path = ?",
                [(twin, path) for path, twin in twins.items()],
            )
            db.executemany("DELETE FROM pictures WHERE path = ?", [(path,) for path in twins])

    def paths(self, ids: Sequence[int]) -> dict[int, str]:
        """Paths by id, for the ids that are there."""
        with self.reading() as db:
            marks = ",".join("?" * len(ids))
            return dict(db.execute(f"SELECT id, path FROM pictures WHERE id IN ({marks})", [int(i) for i in ids]))

    def rows(self) -> Iterator[Row]:
        """All pictures, by id."""
        with self.reading() as db:
            columns = "path, sha256, size, mtime_ns, width, height, vector"
            for values in db.execute(f"SELECT {columns} FROM pictures ORDER BY id"):
                yield Row(*values)

    def count(self) -> int:
        """How many pictures."""
        with self.reading() as db:
            return int(db.execute("SELECT COUNT(*) FROM pictures").fetchone()[0])

    def put(self, rows: Iterable[Row]) -> None:
        """Add or replace pictures, in one transaction. A replaced picture gets a new id."""
        rows = list(rows)
        with self.writing() as db:
            if _has_left_out(db):
                db.executemany("DELETE FROM left_out WHERE path = ?", [(r.path,) for r in rows])
            db.executemany(
                "INSERT OR REPLACE INTO pictures (path, sha256, size, mtime_ns, width, height, vector) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(r.path, r.sha256, r.size, r.mtime_ns, r.width, r.height, r.vector) for r in rows],
            )

    def delete(self, paths: Collection[str]) -> int:
        """Remove pictures by path, in one transaction; how many were there."""
        with self.writing() as db:
            before = db.total_changes
            for table in ["pictures", *(["left_out"] if _has_left_out(db) else [])]:
                db.executemany(f"DELETE FROM {table} WHERE path = ?", [(p,) for p in paths])
            return db.total_changes - before

    def vectors(self) -> tuple[Vectors, NDArray[np.int64]]:
        """All vectors (N, D) and their ids (N,)."""
        dimension = int(self.meta["dimension"])
        ids, blobs = [], []
        with self.reading() as db:
            for number, blob in db.execute("SELECT id, vector FROM pictures ORDER BY id"):
                ids.append(number)
                blobs.append(blob)
        values = np.frombuffer(b"".join(blobs), np.float32).reshape(len(ids), dimension)
        return values, np.array(ids, np.int64)

    def vectors_of(self, ids: Sequence[int]) -> dict[int, NDArray[np.float32]]:
        """Vectors (D,) by id, for the ids that are there."""
        with self.reading() as db:
            marks = ",".join("?" * len(ids))
            rows = db.execute(f"SELECT id, vector FROM pictures WHERE id IN ({marks})", [int(i) for i in ids])
            return {number: np.frombuffer(blob, np.float32) for number, blob in rows}

    def index(self) -> Any:
        """The FAISS index of the table as it is now: from its file where that is current, else made anew."""
        revision = self.revision
        path = self.folder / INDEX
        if path.is_file():
            try:
                head, _, body = path.read_bytes().partition(b"\n")
                if json.loads(head) == {"revision": revision, "embedding": self.meta["embedding"]}:
                    return faiss.deserialize_index(np.frombuffer(body, np.uint8))
            except (ValueError, RuntimeError, OSError):
                pass  # damaged or from another time; the table is the truth
        vectors, ids = self.vectors()
        return make_index(vectors, ids, int(self.meta["dimension"]))

    def write_index(self) -> None:
        """Write the FAISS index of the table beside, then rename it."""
        revision = self.revision
        index = self.index()
        head = json.dumps({"revision": revision, "embedding": self.meta["embedding"]}).encode() + b"\n"
        handle, beside = tempfile.mkstemp(prefix=".vectors-", suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(head)
                file.write(faiss.serialize_index(index).tobytes())
            Path(beside).chmod(0o644)
            Path(beside).replace(self.folder / INDEX)
        except OSError as error:
            raise LibraryError(f"{self.folder}: the index cannot be written ({error.strerror})") from None
        finally:
            Path(beside).unlink(missing_ok=True)


def _has_left_out(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'left_out'").fetchone() is not None
