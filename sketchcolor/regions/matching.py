"""Which reference region colours which sketch region.

Foreground is matched with foreground and ground with ground. Inside each, the cost of a pair compares area,
perimeter, compactness and centroid, each relative to the whole figure (Batchu et al. 2017, section 8, use area and
perimeter); where the figures are already aligned, also how far the reference part lands elsewhere. The cheapest
one-to-one assignment is found exactly (Kuhn 1955, by scipy).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from sketchcolor.records import Labels, Match, Region

TERM_WEIGHTS: Mapping[str, float] = {
    "area": 1.0,
    "perimeter": 0.5,
    "compactness": 0.3,
    "centroid": 1.0,
    "overlap": 2.0,
}


def match_regions(
    sketch: Sequence[Region],
    reference: Sequence[Region],
    *,
    sketch_map: Labels | None = None,
    carried_map: Labels | None = None,
    mirrored: bool = False,
) -> tuple[Match, ...]:
    """One Match for each sketch region whose side exists in the reference, in the order of `sketch`.

    `carried_map` is the reference's label map laid over the sketch by the alignment; with `sketch_map` it adds the
    term "overlap". `mirrored` turns the reference's centroids over. Sketch regions left over by the assignment take
    the cheapest reference region of their side. A side that the reference lacks is matched with any region.
    """
    found: dict[int, Match] = {}
    for side in (True, False):
        ours = [r for r in sketch if r.foreground is side]
        theirs = [r for r in reference if r.foreground is side] or list(reference)
        if not ours or not theirs:
            continue
        terms = _terms(ours, theirs, sketch_map, carried_map, mirrored)
        cost = sum(
            (TERM_WEIGHTS[name] * values for name, values in terms.items()),
            np.zeros((len(ours), len(theirs))),
        )
        rows, columns = linear_sum_assignment(cost)
        assigned = dict(zip(rows.tolist(), columns.tolist(), strict=True))
        for i, region in enumerate(ours):
            one_to_one = i in assigned
            j = assigned.get(i, int(cost[i].argmin()))
            # One-to-one must not force nonsense: far dearer than the best means the best is shared instead.
            if one_to_one and cost[i, j] > cost[i].min() + 1.0:
                one_to_one, j = False, int(cost[i].argmin())
            pair = {name: round(float(values[i, j]), 4) for name, values in terms.items()}
            found[region.label] = Match(
                sketch=region.label,
                reference=theirs[j].label,
                cost=round(float(cost[i, j]), 4),
                terms=pair,
                reason=_reason(one_to_one, side, pair),
            )
    return tuple(found[r.label] for r in sketch if r.label in found)


def _reason(one_to_one: bool, foreground: bool, terms: Mapping[str, float]) -> str:
    side = "figure" if foreground else "ground"
    nearest = min(terms, key=lambda name: terms[name])
    how = "best one-to-one partner" if one_to_one else "shares its nearest partner"
    return f"{how} in the {side}, most alike in {nearest}"


def _terms(
    ours: Sequence[Region],
    theirs: Sequence[Region],
    sketch_map: Labels | None,
    carried_map: Labels | None,
    mirrored: bool,
) -> dict[str, NDArray[Any]]:
    def column(regions: Sequence[Region], name: str) -> NDArray[Any]:
        return np.array([getattr(r, name) for r in regions], dtype=float)

    def relative(regions: Sequence[Region], name: str) -> NDArray[Any]:
        values = column(regions, name)
        return np.asarray(values / values.sum())

    a, b = _places(ours, False), _places(theirs, mirrored)
    terms = {
        "area": np.abs(relative(ours, "area")[:, None] - relative(theirs, "area")[None]),
        "perimeter": np.abs(relative(ours, "perimeter")[:, None] - relative(theirs, "perimeter")[None]),
        "compactness": np.abs(column(ours, "compactness")[:, None] - column(theirs, "compactness")[None]),
        "centroid": np.linalg.norm(a[:, None] - b[None], axis=2) / np.sqrt(2),
    }
    if sketch_map is not None and carried_map is not None:
        top = max(int(carried_map.max()), max(r.label for r in theirs)) + 1
        shares = np.zeros((len(ours), len(theirs)))
        for i, region in enumerate(ours):
            counts = np.bincount(carried_map[sketch_map == region.label], minlength=top)
            shares[i] = [counts[r.label] / max(1, counts.sum()) for r in theirs]
        terms["overlap"] = 1 - shares
    return terms


def _places(regions: Sequence[Region], mirrored: bool) -> NDArray[Any]:
    """Centroids in the frame of the figure's box, (n, 2) in [0, 1]."""
    boxes = np.array([r.box for r in regions], dtype=float)
    low, high = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    places = (np.array([r.centroid for r in regions]) - low) / np.maximum(high - low, 1)
    if mirrored:
        places[:, 1] = 1 - places[:, 1]
    return np.asarray(places)
