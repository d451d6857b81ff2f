"""The user's library of pictures: opened once, asked often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sketchcolor.errors import LibraryError
from sketchcolor.images import check_image
from sketchcolor.lines import find_lines
from sketchcolor.records import BuildReport, Field, Hit, Image, ProgressCallback
from sketchcolor.retrieval import build, indexes, starter
from sketchcolor.retrieval.embedding import Embedding, Vectors, default_embedding
from sketchcolor.retrieval.ranking import NEIGHBOURS, SPREAD_OVER, expand, spread
from sketchcolor.retrieval.store import INDEX, TABLE, Store
from sketchcolor.settings import NEARLY_SAME

# From so many pictures on, the nearest ones help to find their like.
HELP_FROM = 100


@dataclass(frozen=True)
class Verification:
    """What `Library.verify` found: pictures that are gone or changed, and whether the table itself is sound."""

    total: int
    missing: tuple[str, ...]
    changed: tuple[str, ...]
    sound: bool


class Library:
    """A searchable library of pictures in a folder of its own; the pictures stay where they are."""

    def __init__(self, store: Store, embedding: Embedding) -> None:
        """Use `Library.open` or `Library.build`."""
        self.store, self.embedding = store, embedding
        self._index: Any = None
        self._revision = -1

    @classmethod
    def open(cls, library_dir: str | Path | None = None, *, progress: ProgressCallback | None = None) -> Library:
        """Open a library; None opens the starter library, which is indexed at first use.

        Raises LibraryError where there is none, it is damaged, or another embedding made it.
        """
        embedding = default_embedding()
        folder = starter.folder(embedding) if library_dir is None else Path(library_dir)
        if library_dir is None:
            store = Store(folder, create=(embedding.version, embedding.dimension))
            if store.count() < len(starter.pictures()):
                build.update(store, starter.pictures(), embedding, progress=progress)
        store = Store(folder)
        if store.meta["embedding"] != embedding.version:
            raise LibraryError(build.version_message(store, embedding))
        return cls(store, embedding)

    @staticmethod
    def build(
        folder: str | Path,
        library_dir: str | Path,
        *,
        progress: ProgressCallback | None = None,
        rebuild: bool = False,
    ) -> BuildReport:
        """Index a folder of pictures into a library: what is new is added, what changed renewed, what is gone removed.

        Safe to run again, also after a kill. `rebuild` begins anew. Raises LibraryError.
        """
        source, target = Path(folder), Path(library_dir)
        if not source.is_dir():
            raise LibraryError(f"{source}: no such folder of pictures")
        embedding = default_embedding()
        if rebuild:
            for name in (TABLE, INDEX):
                (target / name).unlink(missing_ok=True)
        store = Store(target, create=(embedding.version, embedding.dimension))
        files = [p for p in build.find_files(source) if target.resolve() not in p.resolve().parents]
        return build.update(store, files, embedding, gone_below=source, progress=progress)

    def add(self, paths: Iterable[str | Path], *, progress: ProgressCallback | None = None) -> BuildReport:
        """Add pictures, or all pictures below folders."""
        files: list[Path] = []
        for path in map(Path, paths):
            files += build.find_files(path) if path.is_dir() else [path]
        return build.update(self.store, files, self.embedding, progress=progress)

    def remove(self, paths: Iterable[str | Path]) -> int:
        """Forget pictures, or all pictures below folders; the files stay. Returns how many were known."""
        known = self.store.known()
        wanted: list[str] = []
        for path in map(Path, paths):
            full = str(Path(path).absolute())
            wanted += [p for p in known if p == full or p.startswith(full.rstrip("/\\") + "/")]
        with self.store.locked():
            count = self.store.delete(wanted) if wanted else 0
            self.store.write_index()
        return count

    def verify(self) -> Verification:
        """Check the table and look for each picture's file."""
        from sketchcolor.weights import sha256_of

        with self.store.reading() as db:
            sound = db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        missing, changed = [], []
        total = 0
        for row in self.store.rows():
            total += 1
            path = Path(row.path)
            try:
                if path.stat().st_size != row.size or sha256_of(path) != row.sha256:
                    changed.append(row.path)
            except OSError:
                missing.append(row.path)
        return Verification(total, tuple(missing), tuple(changed), sound)

    def duplicates(self, threshold: float = NEARLY_SAME) -> list[tuple[str, str, float]]:
        """Pairs of pictures that are the same or nearly: (path, path, cosine), most alike first."""
        vectors, ids = self.store.vectors()
        paths = [row.path for row in self.store.rows()]
        assert len(paths) == len(ids)
        return [(paths[i], paths[j], round(c, 4)) for i, j, c in indexes.near_duplicates(vectors, threshold)]

    def leave_out_duplicates(self, threshold: float = NEARLY_SAME) -> dict[str, str]:
        """Take near-duplicates out of the search, all but the first of each kind: {path left out: path kept}.

        They stay known, so that building again does not bring them back; removing and adding them does.
        """
        twins: dict[str, str] = {}
        for one, other, _ in sorted(self.duplicates(threshold)):
            if one not in twins:
                twins.setdefault(other, one)
        with self.store.locked():
            if twins:
                self.store.leave_out(twins)
            self.store.write_index()
        return twins

    def search(self, sketch: Image | str | Path, k: int = 10) -> list[Hit]:
        """The k pictures that look most like a sketch (RGB uint8 (H, W, 3), or a path), nearest first.

        Raises ImageError for a sketch without lines and LibraryError for an empty library.
        """
        if isinstance(sketch, (str, Path)):
            from sketchcolor.images import read_image

            sketch = read_image(sketch, drawing=True)
        return self.search_ink(find_lines(check_image(sketch, "sketch")).ink, k)

    def search_ink(self, ink: Field, k: int = 10) -> list[Hit]:
        """As `search`, from an ink map float32 (H, W) in [0, 1]."""
        index = self._current()
        if index.ntotal == 0:
            raise LibraryError(
                f"{self.store.folder}: the library is empty; add pictures with `python -m sketchcolor index add`"
            )
        if k < 1:
            return []
        queries = self.embedding.sketch(ink)
        helped = index.ntotal >= HELP_FROM
        if helped:
            first = _nearest(index, queries, NEIGHBOURS)
            vectors = self.store.vectors_of(list(first))
            if vectors:  # another process may have removed them
                queries = expand(queries, np.array([first[n][0] for n in vectors]), np.array(list(vectors.values())))
        best = _nearest(index, queries, max(k, SPREAD_OVER) if helped else k)
        scores = {number: score for number, (score, _) in best.items()}
        if helped:
            scores = self._spread(scores)
        order = sorted(scores, key=lambda number: (-scores[number], number))[:k]
        paths = self.store.paths(order)
        found = [(paths[n], scores[n], best[n][1]) for n in order if n in paths]
        return [Hit(path, float(score), rank, mirrored) for rank, (path, score, mirrored) in enumerate(found, 1)]

    def _spread(self, scores: dict[int, float]) -> dict[int, float]:
        """Scores by id, spread among the nearest; those further off keep their order behind them."""
        order = sorted(scores, key=lambda number: (-scores[number], number))[:SPREAD_OVER]
        vectors = self.store.vectors_of(order)
        near = [number for number in order if number in vectors]
        found = {number: score / 2 for number, score in scores.items()}
        if near:
            reached = spread(np.array([scores[n] for n in near]), np.array([vectors[n] for n in near]))
            found.update(zip(near, reached.tolist(), strict=True))
        return found

    def _current(self) -> Any:
        revision = self.store.revision
        if self._index is None or revision != self._revision:
            self._index, self._revision = self.store.index(), revision
        return self._index

    def info(self) -> dict[str, Any]:
        """What the library is: folder, pictures, embedding, kind of index and its recall against exact search."""
        vectors, ids = self.store.vectors()
        return {
            "folder": str(self.store.folder),
            "pictures": self.store.count(),
            "left_out": len(self.store.left_out()),
            "embedding": self.store.meta["embedding"],
            "dimension": int(self.store.meta["dimension"]),
            "index": indexes.kind(self._current()),
            "recall_at_10": round(indexes.recall(self._current(), vectors, ids), 4),
            "revision": self.store.revision,
        }

    def __len__(self) -> int:
        return self.store.count()


def _nearest(index: Any, queries: Vectors, k: int) -> dict[int, tuple[float, bool]]:
    """{id: (best score over the queries, whether the second, mirrored, query gave it)} of each query's k nearest."""
    scores, ids = index.search(queries, min(k, index.ntotal))
    best: dict[int, tuple[float, bool]] = {}
    for row in range(len(queries)):
        for score, number in zip(scores[row].tolist(), ids[row].tolist(), strict=True):
            if number >= 0 and score > best.get(number, (-np.inf, False))[0]:
                best[number] = (score, row == 1)
    return best
