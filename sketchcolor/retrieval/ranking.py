"""Searching with a sketch: what it says, and what the pictures say that are near it.

A sketch says little; its nearest pictures say more. They are added to the question, which is then asked again, and
likeness spreads from the nearest pictures to their like. What each brings stands in models/retrieval.md.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

# Pictures that are added to the question, and how much.
NEIGHBOURS, NEIGHBOUR_WEIGHT = 3, 0.7
# Likeness spreads among so many of the nearest, from the first SOURCES, along the LINKS strongest links of each;
# PASSED_ON of it goes on at each link.
SPREAD_OVER, SOURCES, LINKS, PASSED_ON = 200, 5, 10, 0.8
SHARPNESS = 3  # power of a likeness as a link


def expand(queries: Vectors, scores: NDArray[Any], vectors: Vectors) -> Vectors:
    """Queries (V, D) moved towards their nearest pictures, vectors (N, D) with their scores (N,); rows of unit length.

    Weighted query expansion (Radenovic et al. 2018).
    """
    middle = np.maximum(scores, 0) @ vectors
    moved = queries + NEIGHBOUR_WEIGHT * middle / max(float(np.linalg.norm(middle)), 1e-6)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), dtype=np.float32)


def spread(scores: NDArray[Any], vectors: Vectors) -> NDArray[np.float64]:
    """Scores (N,), nearest first, of vectors (N, D): the mean of each and of what reaches it from the nearest, 0 to 1.

    Diffusion on the graph of the nearest pictures (Iscen et al. 2017, in closed form).
    """
    near = np.maximum(vectors @ vectors.T, 0).astype(np.float64) ** SHARPNESS
    np.fill_diagonal(near, 0)
    count = len(near)
    if count > LINKS:
        weakest = np.argpartition(-near, LINKS, axis=1)[:, LINKS:]
        np.put_along_axis(near, weakest, 0, axis=1)
    near = np.maximum(near, near.T)
    degree = 1 / np.sqrt(near.sum(axis=1) + 1e-9)
    source = np.zeros(count)
    source[:SOURCES] = np.maximum(scores[:SOURCES], 0) ** SHARPNESS
    reached = np.linalg.solve(np.eye(count) - PASSED_ON * degree[:, None] * near * degree, source)
    return np.asarray((scores + reached / max(float(reached.max()), 1e-9)) / 2)
