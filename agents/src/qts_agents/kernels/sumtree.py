"""A sum tree for prioritised replay (Schaul et al. 2016, stratified): draws in proportion to priority.

Node 1 is the root, 2k and 2k+1 are the children of k, leaves begin at the capacity, a power of two. A
changed leaf sums its ancestors afresh from both children, so no rounding builds up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]


def new_tree(capacity: int) -> F8:
    """Return an empty tree for at least `capacity` ≥ 1 priorities."""
    return np.zeros(2 << (capacity - 1).bit_length())


@kernel
def _update(tree: F8, leaves: I8, priority: F8) -> None:
    """Set leaves one after the other; the last of equal numbers stays."""
    for i in range(leaves.shape[0]):
        node = leaves[i] + tree.shape[0] // 2
        tree[node] = priority[i]
        while node > 1:
            node //= 2
            tree[node] = tree[2 * node] + tree[2 * node + 1]


@kernel
def _draw(tree: F8, draws: F8, leaves: I8) -> None:
    """Descend once for each draw, which lies in its own stratum of the total."""
    strata, half = draws.shape[0], tree.shape[0] // 2
    for i in range(strata):
        left, node = (i + draws[i]) / strata * tree[1], 1
        while node < half:
            node *= 2
            if left >= tree[node] and tree[node + 1] > 0.0:
                left -= tree[node]
                node += 1
        leaves[i] = node - half


def update(tree: F8, leaves: I8, priority: F8) -> None:
    """Set the priorities [B] ≥ 0 of `leaves` [B] in place."""
    run = _update if backend.jit_enabled() else update_reference
    run(tree, leaves, priority)


def update_reference(tree: F8, leaves: I8, priority: F8) -> None:
    """Set leaves, then sum the whole tree afresh from the bottom."""
    half = len(tree) // 2
    for leaf, value in zip(leaves, priority, strict=True):
        tree[half + leaf] = value
    for node in range(half - 1, 0, -1):
        tree[node] = tree[2 * node] + tree[2 * node + 1]


def sample(tree: F8, draws: F8, beta: float, held: int) -> tuple[I8, F8]:
    """Return leaves [B] and importance weights (held·P)^−β [B], the largest scaled to 1.

    `draws` [B] are uniform in (0,1); `held` counts the leaves in use. ValueError when nothing has a priority.
    """
    total = float(tree[1])
    if not total > 0.0:
        raise ValueError("priorities: all are 0; there is nothing to draw from")
    leaves = np.empty(len(draws), np.int64)
    if backend.jit_enabled():
        _draw(tree, draws, leaves)
    else:
        leaves[:] = sample_reference(tree[len(tree) // 2 :], draws)
    weights = (held * tree[len(tree) // 2 + leaves] / total) ** -beta
    return leaves, weights / weights.max()


def sample_reference(priority: F8, draws: F8) -> I8:
    """Return the leaves by cumulative sums and bisection."""
    reached = np.cumsum(priority)
    goals = (np.arange(len(draws)) + draws) / len(draws) * reached[-1]
    last = int(np.flatnonzero(priority)[-1])
    found: I8 = np.minimum(np.searchsorted(reached, goals, side="right"), last)
    return found


def warm_up() -> None:
    """Compile what serving calls."""
    tree = new_tree(2)
    update(tree, np.zeros(1, np.int64), np.ones(1))
    sample(tree, np.full(1, 0.5), 1.0, 1)
