"""Episodic memory: what a situation looked like, what came of it, and what similar ones led to."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from qts_agents.choice import known_or_zero
from qts_agents.kernels import recall as recalling
from qts_agents.kernels.cluster import cluster
from qts_agents.kernels.indicators import Indicators
from qts_messaging.messages import PHASES

F8 = NDArray[np.float64]
F4 = NDArray[np.float32]
I8 = NDArray[np.int64]
WIDTH, CAPACITY, PROTOTYPES = 16, 10_000, 64
RATE, NOVEL = 0.1, recalling.LEAST
CLIP = 3.0  # features are in standard deviations or of size 1


def features(ind: Indicators, phase: str, manipulation: F8, illiquidity: F8) -> F4:
    """Return the situation of each symbol as a unit vector [S,16]; all NaN where a number of the market is.

    Ten features of the market (agents.md §5), four phase flags, manipulation, illiquidity; masked ones are 0.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = [
            np.where(ind.sigma20 > 0.0, value / ind.sigma20, 0.0 * ind.sigma20)
            for value in (ind.r, ind.m5 * math.sqrt(5.0), ind.m10 * math.sqrt(10.0), ind.sma_gap)
        ]
    odd = [*scaled, ind.trend, ind.momentum, ind.rsi / 50.0 - 1.0, ind.macd]
    even = [2.0 * ind.volatility - 1.0, ind.adx / 50.0 - 1.0]
    flags = [np.full(len(ind.r), float(phase == name)) for name in PHASES[:4]]
    hazards = [known_or_zero(manipulation), known_or_zero(illiquidity)]
    vector = np.clip(np.stack([*odd, *even, *flags, *hazards], axis=1), -CLIP, CLIP)
    length = np.sqrt((vector * vector).sum(axis=1, keepdims=True))
    return np.asarray(vector / np.where(length == 0.0, 1.0, length), dtype=np.float32)


class Memory:
    """The newest 10 000 episodes with outcome, and 64 prototypes of what has been seen."""

    def __init__(self) -> None:
        self.stored = 0
        self.vectors: F4 = np.zeros((WIDTH, CAPACITY), np.float32)  # in columns, as `recall` reads them
        self.bars: I8 = np.zeros(CAPACITY, np.int64)
        self.outcomes: NDArray[np.uint8] = np.zeros(CAPACITY, np.uint8)
        self.prototypes: F4 = np.zeros((0, WIDTH), np.float32)

    def __len__(self) -> int:
        return min(self.stored, CAPACITY)

    def store(self, vectors: F4, bar: int, outcome: NDArray[np.int64]) -> None:
        """Keep episodes [R,16] of a bar whose outcomes [R] (0 up, 1 flat, 2 down) are known, oldest first.

        The oldest beyond 10 000 go.
        """
        slots = (self.stored + np.arange(len(vectors))) % CAPACITY
        self.vectors[:, slots], self.bars[slots], self.outcomes[slots] = vectors.T, bar, outcome
        self.stored += len(vectors)
        self.prototypes = cluster(self.prototypes, vectors, PROTOTYPES, NOVEL, RATE)

    def recall(self, vectors: F4, bar: int) -> tuple[F8, NDArray[np.int64]]:
        """Return x_mem [S,3] from the five most similar episodes, NaN where fewer, and their number."""
        n = len(self)
        return recalling.recall(vectors, self.vectors, self.bars[:n], self.outcomes[:n], bar)

    def novelty(self, vectors: F4) -> F8:
        """Return 1 − the cosine to the nearest prototype [S]; 1 while there is none."""
        if not len(self.prototypes):
            return np.ones(len(vectors))
        near = (vectors[:, None, :] * self.prototypes[None]).sum(axis=2).max(axis=1)
        return np.asarray(1.0 - near, dtype=np.float64)

    def pack(self) -> tuple[int, F4, I8, NDArray[np.uint8], F4]:
        """Return what is kept: the number stored and the slots in use."""
        n = len(self)
        vectors = np.ascontiguousarray(self.vectors[:, :n].T)
        return self.stored, vectors, self.bars[:n], self.outcomes[:n], self.prototypes

    @classmethod
    def unpack(cls, kept: tuple[int, F4, I8, NDArray[np.uint8], F4]) -> Memory:
        """Return the memory that `pack` described."""
        memory, n = cls(), len(kept[1])
        memory.stored, vectors, bars, outcomes, memory.prototypes = kept
        memory.vectors[:, :n], memory.bars[:n], memory.outcomes[:n] = vectors.T, bars, outcomes
        return memory
