"""Half-Space Trees: how unusual a point of the unit cube is in a stream (Tan, Ting & Liu 2011).

Each tree halves the cube at random, level after level. A window of points is counted in every node that a
point passes; the next window is scored by those counts, times 2^depth, at the first node that holds less than
a tenth of a window. Many points there: ordinary, score near 0; few: anomalous, near 1. Trees are complete and
stand in arrays: the children of node i are 2i+1 and 2i+2. Draws, counts and the sum over the path, which
River takes over all its nodes, are those of River's object, whose scores these are, bit for bit.
"""

from __future__ import annotations

import random

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F8 = NDArray[np.float64]
I4 = NDArray[np.int32]
PADDING = 0.15  # of a node's range, on both sides, where it is not halved
SPARSE = 0.1  # of a window: a node with fewer points ends the path


class Forest(msgspec.Struct, frozen=True):
    """K trees of height h with n = 2^(h+1) − 1 nodes; the counts change in place."""

    feature: I4  # [K,n] by which an inner node halves; −1 in leaves
    threshold: F8  # [K,n] points below it go to the first child
    past: I4  # [K,n] points of the last whole window in each node
    fresh: I4  # [K,n] points of the window that is being filled
    filled: I4  # [2] points in the fresh window; 1 once a window has been whole
    window: int


def forest(features: int, trees: int, height: int, window: int, seed: int) -> Forest:
    """Return trees over the unit cube of `features` dimensions, drawn from `seed`."""
    nodes = (1 << (height + 1)) - 1
    feature, threshold = np.full((trees, nodes), -1, np.int32), np.zeros((trees, nodes))
    draws = random.Random(seed)
    drawn = np.array([draws.random() for _ in range(trees * (nodes // 2) * 2)]).reshape(trees, nodes // 2, 2)
    low, high = np.zeros((trees, 1, features)), np.ones((trees, 1, features))
    turn = np.zeros(1, np.int64)  # of each node of a level: a node, its first child and all below, its second
    for level in range(height):
        own = slice((1 << level) - 1, (2 << level) - 1)
        feature[:, own], threshold[:, own] = _halved(low, high, drawn[:, turn])
        low, high = _children(low, high, feature[:, own], threshold[:, own])
        turn = np.stack((turn + 1, turn + (1 << (height - level - 1))), axis=1).ravel()
    empty = (np.zeros((trees, nodes), np.int32), np.zeros((trees, nodes), np.int32))
    return Forest(feature, threshold, *empty, np.zeros(2, np.int32), window)


def _halved(low: F8, high: F8, drawn: F8) -> tuple[I4, F8]:
    """Return by which feature and where the nodes of a level, with limits [K,n,F], are halved [K,n].

    The draws [K,n,2] are used as `random.choices` and `random.uniform` use them.
    """
    edges = np.cumsum(high - low, axis=2)
    on = (edges[:, :, :-1] <= drawn[:, :, :1] * edges[:, :, -1:]).sum(axis=2, dtype=np.int32)
    begin, end = (np.take_along_axis(limit, on[:, :, None], axis=2)[:, :, 0] for limit in (low, high))
    padding = PADDING * (end - begin)
    begin, end = begin + padding, end - padding
    return on, begin + (end - begin) * drawn[:, :, 1]


def _children(low: F8, high: F8, on: I4, at: F8) -> tuple[F8, F8]:
    """Return the limits of all children [K,2n,F]: the first lies below the threshold, the second above."""
    low, high = np.repeat(low, 2, axis=1), np.repeat(high, 2, axis=1)
    np.put_along_axis(high[:, 0::2], on[:, :, None], at[:, :, None], axis=2)
    np.put_along_axis(low[:, 1::2], on[:, :, None], at[:, :, None], axis=2)
    return low, high


def score(held: Forest, x: F8) -> float:
    """Return the score of `x` [F] in [0,1], then count it in place; 0 until a window has been whole."""
    run = _score if backend.jit_enabled() else score_reference
    return float(run(x, held.feature, held.threshold, held.past, held.fresh, held.filled, held.window))


@kernel
def _score(x: F8, feature: I4, threshold: F8, past: I4, fresh: I4, filled: I4, window: int) -> float:
    """Walk every tree once: down to the leaf to count, as far as there are points to score."""
    trees, nodes = feature.shape
    total, limit = 0.0, SPARSE * window
    for k in range(trees):
        node, weight, dense = 0, 1.0, True
        while True:
            if dense:
                total += past[k, node] * weight
                dense = past[k, node] >= limit
            fresh[k, node] += 1
            if feature[k, node] < 0:
                break
            node = 2 * node + (1 if x[feature[k, node]] < threshold[k, node] else 2)
            weight *= 2.0
    answer = 1.0 - total / (trees * window * nodes) if filled[1] else 0.0
    filled[0] += 1
    if filled[0] == window:
        filled[0], filled[1] = 0, 1
        for k in range(trees):
            for node in range(nodes):
                past[k, node], fresh[k, node] = fresh[k, node], 0
    return answer


def score_reference(x: F8, feature: I4, threshold: F8, past: I4, fresh: I4, filled: I4, window: int) -> float:
    """Let the point sink through all trees at once, level by level."""
    trees, nodes = feature.shape
    each, node = np.arange(trees), np.zeros(trees, np.int64)
    total, dense, weight = 0.0, np.ones(trees, bool), 1.0
    while True:
        total += weight * float(past[each, node][dense].sum())
        dense &= past[each, node] >= SPARSE * window
        fresh[each, node] += 1
        on = feature[each, node]
        if on[0] < 0:
            break
        node, weight = 2 * node + np.where(x[on] < threshold[each, node], 1, 2), 2.0 * weight
    answer = 1.0 - total / (trees * window * nodes) if filled[1] else 0.0
    filled[0] += 1
    if filled[0] == window:
        past[:], fresh[:] = fresh, 0
        filled[:] = 0, 1
    return answer
