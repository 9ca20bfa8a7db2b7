"""Plain numpy form of `ewl.play`: the same runs with dense Kronecker matrices and LAPACK eigenvectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
C16 = NDArray[np.complex128]
ROUNDS, SWEEPS, SETTLED, TIE = 24, 3, 1e-12, 1e-9
#: U = a₀·1 + a₁·(i·diag(1, −1)) + a₂·D
BASIS: C16 = np.array([[[1, 0], [0, 1]], [[1j, 0], [0, -1j]], [[0, 1], [-1, 0]]], dtype=np.complex128)


def entangler(qubits: int, gamma: float) -> C16:
    """Return J = exp(iγ/2·D^{⊗n}) for an even number of qubits."""
    flip: C16 = np.ones((1, 1), np.complex128)
    for _ in range(qubits):
        flip = np.asarray(np.kron(flip, BASIS[2]), np.complex128)
    return np.asarray(np.cos(gamma / 2) * np.eye(len(flip)) + 1j * np.sin(gamma / 2) * flip)


class Run:
    """One run of best responses: moves [2,q,3], payoffs [2,2^q,2^q] scaled to 0…1."""

    def __init__(self, payoffs: F8, gamma: float, moves: F8, reverse: bool) -> None:
        self.payoffs, self.moves = payoffs.reshape(2, -1), moves.copy()
        self.q = moves.shape[1]
        self.order = range(self.q)[::-1] if reverse else range(self.q)
        self.j = entangler(2 * self.q, gamma)

    def state(self, moves: F8) -> C16:
        """Return J†(⊗U)J|0…0⟩."""
        unitary: C16 = np.ones((1, 1), np.complex128)
        for move in moves.reshape(-1, 3):
            unitary = np.asarray(np.kron(unitary, np.tensordot(move, BASIS, axes=1)), np.complex128)
        return np.asarray(self.j.conj().T @ (unitary @ self.j[:, 0]))

    def expect(self, player: int, moves: F8) -> float:
        """Return a player's expected payoff."""
        return float(self.payoffs[player] @ np.abs(self.state(moves)) ** 2)

    def sweep(self, player: int, moves: F8) -> None:
        """Let each of a player's qubits respond once."""
        for qubit in self.order:
            parts = []
            for axis in np.eye(3):
                trial = moves.copy()
                trial[player, qubit] = axis
                parts.append(self.state(trial))
            states = np.array(parts)
            form = np.real((states.conj() * self.payoffs[player]) @ states.T)
            values, vectors = np.linalg.eigh((form + form.T) / 2)
            top = vectors[:, values >= values.max() - TIE]
            near = top @ (top.T @ moves[player, qubit])
            length = float(np.sqrt(near @ near))
            moves[player, qubit] = near / length if length * length > 1e-6 else top[:, 0]

    def settle(self) -> None:
        """Let both players respond in turn until nothing moves."""
        for _ in range(ROUNDS):
            before = self.moves.copy()
            for player in range(2):
                self.sweep(player, self.moves)
            if np.abs(self.moves - before).max() < SETTLED:
                break

    def gain(self) -> float:
        """Return the largest gain found from the present move and from every classical one."""
        best = 0.0
        for player in range(2):
            present = self.expect(player, self.moves)
            for start in range(-1, 1 << self.q):
                trial = self.moves.copy()
                if start >= 0:
                    bits = (start >> np.arange(self.q)[::-1]) & 1
                    trial[player] = np.stack([1.0 - bits, 0.0 * bits, 1.0 * bits], axis=1)
                for _ in range(SWEEPS):
                    self.sweep(player, trial)
                best = max(best, self.expect(player, trial) - present)
        return best


def games(payoffs: F8, gamma: float, starts: F8, joint: F8, regret: F8) -> None:
    """Write joint probabilities [G,·,·] and regrets [G] of scaled games [G,2,·,·]."""
    for g in range(len(payoffs)):
        runs = [Run(payoffs[g], gamma, start, k % 2 == 1) for k, start in enumerate(starts)]
        for run in runs:
            run.settle()
        gains = np.array([run.gain() for run in runs])
        kept = [run for run, gain in zip(runs, gains, strict=True) if gain <= gains.min() + TIE]
        probabilities = [np.abs(run.state(run.moves)) ** 2 for run in kept]
        joint[g], regret[g] = np.mean(probabilities, axis=0).reshape(joint.shape[1:]), gains.min()
