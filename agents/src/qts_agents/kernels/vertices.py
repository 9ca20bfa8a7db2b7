"""Which pairs of supports can be equilibria: the vertices of both best-response polytopes, by pivoting.

A vertex of {x ≥ 0, Bᵀx ≤ 1} is a set of m tight constraints, one of {y ≥ 0, Ay ≤ 1} a set of n; a game's
equilibria are the pairs that together hold every label once (von Stengel 2002, §2.4). A 5×5 game has at
most 42 vertices a side but 251 pairs of supports. The walk is breadth first, so rounding has few pivots to
grow over; it only names pairs, which are then solved and checked afresh. It gives up where two ratios tie:
there more than one basis stands for a vertex.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import part

F8 = NDArray[np.float64]
I8 = NDArray[np.int64]
TIE = 1e-9  # ratios closer than this may be equal
ZERO = 1e-11  # tableau entries below are 0
MOST_LABELS = 12  # m + n; above, the tables of sets outgrow the cache
DEGENERATE = -1


@part
def _leaving(room: F8, v: int, column: int, rows: int, last: int) -> int:
    """Return the row of least ratio in `column` of tableau v, or DEGENERATE where it is not unique."""
    best, row, second, table = np.inf, DEGENERATE, np.inf, room[v]
    for i in range(rows):  # without a jump: which entries are positive cannot be guessed
        ratio = table[i, last] / table[i, column] if table[i, column] > ZERO else np.inf
        closer = ratio < best
        second = best if closer else min(second, ratio)
        row = i if closer else row
        best = ratio if closer else best
    if row < 0 or best <= TIE or second - best <= TIE * (1.0 + best):
        return DEGENERATE
    return row


@part
def _exchange(room: F8, old: int, new: int, row: int, column: int, rows: int, last: int) -> None:
    """Write tableau `new`: `old` after `column` enters and `row` leaves (Tucker's condensed form)."""
    before, after = room[old], room[new]
    scale, pivot, from_row = 1.0 / before[row, column], after[row], before[row]
    for j in range(last + 1):
        pivot[j] = from_row[j] * scale
    for i in range(rows):
        if i != row:
            source, target = before[i], after[i]
            factor = source[column]
            for j in range(last + 1):
                target[j] = source[j] - factor * pivot[j]
            target[column] = -factor * scale
    pivot[column] = scale


@part
def _walk(payoff: F8, own: int, other: int, room: F8, labels: I8, seen: I8, stamp: int) -> int:
    """Visit every vertex of {z ≥ 0, payoff·z ≤ 1}; return how many, DEGENERATE where that is not clear.

    payoff [r,d] is shifted to be positive; its columns carry the labels from `own` on, its rows those from
    `other` on. `seen`[set of tight labels] becomes `stamp`, labels[v, -1] holds the set of vertex v.
    """
    r, d = payoff.shape
    start = 0
    for j in range(d):
        labels[0, j] = own + j
        start |= 1 << (own + j)
    for i in range(r):
        labels[0, d + i] = other + i
        for j in range(d):
            room[0, i, j] = payoff[i, j] + 1.0
        room[0, i, d] = 1.0
    labels[0, r + d], seen[start] = start, stamp
    count, v = 1, 0
    while v < count:
        for j in range(d):
            i = _leaving(room, v, j, r, d)
            if i < 0:
                return DEGENERATE
            tight = labels[v, r + d] ^ (1 << labels[v, j]) ^ (1 << labels[v, d + i])
            if seen[tight] == stamp:
                continue
            if count == room.shape[0]:
                return DEGENERATE
            seen[tight] = stamp
            _exchange(room, v, count, i, j, r, d)
            for k in range(r + d):
                labels[count, k] = labels[v, k]
            labels[count, j], labels[count, d + i] = labels[v, d + i], labels[v, j]
            labels[count, r + d] = tight
            count += 1
        v += 1
    return count


@part
def candidates(a: F8, bt: F8, index: I8, room: F8, labels: I8, seen: I8, stamp: int, chosen: I8) -> int:
    """Write the numbers of the pairs that share out all labels to `chosen`, ascending; return how many.

    a [m,n], bt [n,m] lie in 0…1. DEGENERATE: the walk cannot tell; every pair has to be tried.
    """
    m, n = a.shape
    every = (1 << (m + n)) - 1
    if _walk(bt, 0, m, room, labels, seen[0], stamp) < 0:
        return DEGENERATE
    count = _walk(a, m, 0, room, labels, seen[1], stamp)
    found = 0
    for v in range(1, count):  # vertex 0 is the origin and no strategy
        tight = labels[v, m + n]
        if seen[0][every ^ tight] == stamp and index[tight] >= 0:
            at = found
            while at > 0 and chosen[at - 1] > index[tight]:
                chosen[at] = chosen[at - 1]
                at -= 1
            chosen[at] = index[tight]
            found += 1
    return found if count > 0 else DEGENERATE


def numbering(m: int, n: int, pairs: I8) -> I8:
    """Return [2^(m+n)]: the tight labels of a column player's vertex → its row in `pairs`, −1 for none.

    Of games with more than MOST_LABELS strategies it is one −1, which stands for trying every pair.
    """
    if m + n > MOST_LABELS:
        return np.full(1, -1, dtype=np.int64)
    k, index = min(m, n), np.full(1 << (m + n), -1, dtype=np.int64)
    for number, (size, *rest) in enumerate(pairs.tolist()):
        rows, columns = rest[:size], rest[k : k + size]
        tight = sum(1 << i for i in rows) + sum(1 << (m + j) for j in range(n) if j not in columns)
        index[tight] = number
    return index
