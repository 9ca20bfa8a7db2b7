"""Prototypes of what has been seen, moved by each vector as it comes (MacQueen 1967)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel

F4 = NDArray[np.float32]
LEAST_LENGTH = 1e-12


def cluster(prototypes: F4, vectors: Any, most: int, novel: float, rate: float) -> F4:
    """Return the prototypes [P′,w] after unit vectors [R,w] (f32), one after the other; P′ ≤ `most`.

    The nearest one moves by `rate` towards each vector; a vector whose cosine to all is below `novel` founds
    a new one while there is room.
    """
    held = np.zeros((most, prototypes.shape[1]), np.float32)
    held[: len(prototypes)] = prototypes
    seen = np.array(vectors, dtype=np.float32, order="C")
    run = _cluster if backend.jit_enabled() else cluster_reference
    count = run(held, len(prototypes), seen, novel, rate)
    return np.ascontiguousarray(held[:count])


@kernel
def _cluster(held: F4, count: int, vectors: F4, novel: float, rate: float) -> int:
    """Move or found, vector by vector; return how many prototypes there are."""
    width, moved = held.shape[1], np.empty(held.shape[1])
    for r in range(vectors.shape[0]):
        best, highest = -1, -np.inf
        for i in range(count):
            cosine = 0.0
            for j in range(width):
                cosine += np.float64(held[i, j]) * np.float64(vectors[r, j])
            if cosine > highest:
                best, highest = i, cosine
        if best < 0 or (highest < novel and count < held.shape[0]):
            for j in range(width):  # not row by row: numba compiles the message of unequal lengths as well
                held[count, j] = vectors[r, j]
            count += 1
            continue
        square = 0.0
        for j in range(width):
            moved[j] = (1.0 - rate) * np.float64(held[best, j]) + rate * np.float64(vectors[r, j])
            square += moved[j] * moved[j]
        length = max(np.sqrt(square), LEAST_LENGTH)
        for j in range(width):
            held[best, j] = moved[j] / length
    return count


def cluster_reference(held: F4, count: int, vectors: F4, novel: float, rate: float) -> int:
    """Do the same with a vector's cosines at once."""
    for vector in vectors.astype(np.float64):
        near = held[:count].astype(np.float64) @ vector
        best = int(np.argmax(near)) if count else -1
        if best < 0 or (near[best] < novel and count < len(held)):
            held[count] = vector
            count += 1
            continue
        moved = (1.0 - rate) * held[best].astype(np.float64) + rate * vector
        held[best] = moved / max(float(np.sqrt((moved * moved).sum())), LEAST_LENGTH)
    return count
