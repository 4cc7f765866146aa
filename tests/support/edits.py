"""The edit distance of two texts."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np


def count_edits(expected: Sequence[Hashable], found: Sequence[Hashable]) -> int:
    """Return the least number of insertions, deletions and substitutions between sequences."""
    names = {item: i for i, item in enumerate(set(expected) | set(found))}
    target = np.array([names[item] for item in found], np.int64)
    steps = np.arange(len(found) + 1)
    costs = steps
    for i, item in enumerate(expected, start=1):
        best = np.minimum(costs[1:] + 1, costs[:-1] + (target != names[item]))
        costs = np.minimum.accumulate(np.concatenate([[i], best]) - steps) + steps
    return int(costs[-1])
