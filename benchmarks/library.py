"""How fast a library is: `python -m benchmarks.library --photos DIR`.

Pictures indexed per second, with a profile of decode, embedding and hashing; search latency (median and p99), recall@10
against exact search, memory and start-up at several sizes. The vectors of large sizes are synthetic: jittered copies of
the real embeddings, so that they crowd the way real ones do.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.tables import parser, peak_memory, show
from sketchcolor import Library, read_image
from sketchcolor.retrieval import build, indexes
from sketchcolor.retrieval.embedding import default_embedding


def indexing(options: argparse.Namespace) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    files = list(build.find_files(options.photos))[: options.pictures]
    embedding = default_embedding()
    embedding.photos([read_image(files[0])])
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        report = Library.build(options.photos, folder)
        seconds = time.perf_counter() - start
        vectors, _ = Library.open(folder).store.vectors()
    parts = {"hash": 0.0, "decode": 0.0, "embed": 0.0}
    for first in range(0, len(files), build.BATCH):
        batch = files[first : first + build.BATCH]
        start = time.perf_counter()
        for path in batch:
            hashlib.sha256(path.read_bytes()).hexdigest()
        parts["hash"] += time.perf_counter() - start
        start = time.perf_counter()
        pictures = [read_image(path) for path in batch]
        parts["decode"] += time.perf_counter() - start
        start = time.perf_counter()
        embedding.photos(pictures)
        parts["embed"] += time.perf_counter() - start
    row = {"pictures": report.total, "seconds": seconds, "per_second": report.total / seconds}
    show("indexing", [{**row, **{f"{k}_ms": 1000 * v / len(files) for k, v in parts.items()}}], options.out)
    return vectors


def jittered(
    real: np.ndarray[tuple[int, ...], np.dtype[np.float32]], size: int, jitter: float, rng: np.random.Generator
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """`size` unit vectors: copies of real ones with a random part of length `jitter`, block by block."""
    vectors = real[rng.integers(0, len(real), size)]
    for start in range(0, size, 65536):
        block = vectors[start : start + 65536]
        block += rng.normal(0, jitter / np.sqrt(block.shape[1]), block.shape).astype(np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def searching(options: argparse.Namespace, real: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for size in options.sizes:
        before = peak_memory()
        vectors = jittered(real, size, options.jitter, rng)
        ids = np.arange(size, dtype=np.int64)
        start = time.perf_counter()
        index = indexes.make_index(vectors, ids, vectors.shape[1])
        made = time.perf_counter() - start
        body = faiss.serialize_index(index)
        start = time.perf_counter()
        faiss.deserialize_index(body)
        opened = time.perf_counter() - start
        queries = vectors[rng.integers(0, size, 200)]
        times = []
        for query in queries:
            start = time.perf_counter()
            index.search(query[None], 10)
            times.append(time.perf_counter() - start)
        rows.append(
            {
                "vectors": size,
                "index": indexes.kind(index).split(" ")[0],
                "made_s": made,
                "opened_s": opened,
                "median_ms": 1000 * float(np.median(times)),
                "p99_ms": 1000 * float(np.percentile(times, 99)),
                "recall@10": indexes.recall(index, vectors, ids),
                "index_MiB": len(body) / 2**20,
                "peak_MiB_more": peak_memory() - before,
            }
        )
        del vectors, index, body
    show("searching", rows, options.out)


def by_autofaiss(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Any:
    """The index that autofaiss chooses, with its own defaults for a query's time. It has to be installed for this."""
    import logging

    from autofaiss import build_index  # type: ignore[import-not-found, unused-ignore]

    limits = {"max_index_memory_usage": "2GB", "current_memory_available": "8GB"}
    index, _ = build_index(vectors, save_on_disk=False, metric_type="ip", verbose=logging.ERROR, **limits)
    return index


def comparing(options: argparse.Namespace, real: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    """Ours beside FAISS's own factory recipes on the same vectors."""
    rng = np.random.default_rng(0)
    vectors = jittered(real, options.compare_at, options.jitter, rng)
    ids = np.arange(len(vectors), dtype=np.int64)
    rows = []
    for recipe in ["ours", *options.compare]:
        start = time.perf_counter()
        if recipe == "ours":
            index = indexes.make_index(vectors, ids, vectors.shape[1])
        elif recipe == "autofaiss":
            index = by_autofaiss(vectors)
        else:
            index = faiss.index_factory(vectors.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
            index.train(vectors)
            index.add(vectors)
            if "IVF" in recipe:
                faiss.extract_index_ivf(index).nprobe = indexes.PROBED
        made = time.perf_counter() - start
        times = []
        for query in vectors[rng.integers(0, len(vectors), 200)]:
            start = time.perf_counter()
            index.search(query[None], 10)
            times.append(time.perf_counter() - start)
        rows.append(
            {
                "index": recipe,
                "made_s": made,
                "median_ms": 1000 * float(np.median(times)),
                "recall@10": indexes.recall(index, vectors, ids),
                "index_MiB": len(faiss.serialize_index(index)) / 2**20,
            }
        )
    show(f"beside plain FAISS, {options.compare_at} vectors", rows, options.out)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--photos", type=Path, required=True)
    made.add_argument("--pictures", type=int, default=1000, help="pictures of the profile")
    made.add_argument("--sizes", type=int, nargs="+", default=[1000, 100_000, 1_000_000])
    made.add_argument("--jitter", type=float, default=0.5, help="length of the random part of synthetic vectors")
    made.add_argument(
        "--compare", nargs="*", default=[], help="FAISS factory recipes, such as HNSW32,Flat IVF1024,PQ64; or autofaiss"
    )
    made.add_argument("--compare-at", type=int, default=100_000, help="vectors for --compare")
    options = made.parse_args()
    vectors = indexing(options)
    searching(options, vectors)
    if options.compare:
        comparing(options, vectors)


if __name__ == "__main__":
    main()
