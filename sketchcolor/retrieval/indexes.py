"""Which FAISS index a library of a given size gets, and how exact it is.

Up to EXACT_UP_TO pictures the search is exact (Flat): it answers in a few milliseconds, needs no training and can
delete. Beyond, an inverted file with 8-bit codes (IVF, SQ8): a quarter of the memory, and only PROBED of the lists
are looked at (Johnson et al. 2019).
"""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

EXACT_UP_TO = 100_000
# Lists by size: about four times the root of the number of vectors.
LISTS_PER_ROOT = 4
TRAINED_ON_PER_LIST = 40
PROBED = 48

Ids = NDArray[np.int64]


def make_index(vectors: NDArray[np.float32], ids: Ids, dimension: int) -> Any:
    """Index of unit vectors (N, D) under inner product, answering with the given ids (N,)."""
    if len(ids) <= EXACT_UP_TO:
        index: Any = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    else:
        lists = int(LISTS_PER_ROOT * math.sqrt(len(ids)))
        quantizer: Any = faiss.IndexFlatIP(dimension)
        index = faiss.IndexIVFScalarQuantizer(
            quantizer, dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        index.own_fields = True
        quantizer.this.disown()
        rng = np.random.default_rng(0)
        sample = rng.choice(len(ids), min(len(ids), lists * TRAINED_ON_PER_LIST), replace=False)
        index.cp.niter = 8
        index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
        index.nprobe = PROBED
    if len(ids):
        index.add_with_ids(np.ascontiguousarray(vectors), ids)
    return index


def kind(index: Any) -> str:
    """A line that says what the index is."""
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexIVFScalarQuantizer):
        return f"IVF{inner.nlist},SQ8 (FAISS, inner product), {inner.nprobe} lists probed"
    return "Flat (FAISS, inner product): exact"


def recall(index: Any, vectors: NDArray[np.float32], ids: Ids, *, k: int = 10, sample: int = 100) -> float:
    """Share of the exact k nearest that the index finds, over a sample of its own vectors; 1 for an exact index."""
    if not len(ids):
        return 1.0
    rng = np.random.default_rng(0)
    queries = vectors[rng.choice(len(ids), min(sample, len(ids)), replace=False)]
    k = min(k, len(ids))
    exact = ids[np.argpartition(-(queries @ vectors.T), k - 1, axis=1)[:, :k]]
    _, found = index.search(np.ascontiguousarray(queries), k)
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(exact.tolist(), found.tolist(), strict=True)]))


def near_duplicates(vectors: NDArray[np.float32], threshold: float) -> list[tuple[int, int, float]]:
    """Pairs (i, j, cosine) with i < j and cosine of at least `threshold`, most alike first."""
    pairs = []
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024] @ vectors[start:].T
        rows, columns = np.nonzero(block >= threshold)
        keep = columns > rows
        pairs += [
            (start + int(i), start + int(j), float(block[i, j])) for i, j in zip(rows[keep], columns[keep], strict=True)
        ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[:2]))
