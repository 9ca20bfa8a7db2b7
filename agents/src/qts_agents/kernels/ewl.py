"""Eisert–Wilkens–Lewenstein games (1999): exact statevector, and best responses from 8 fixed starts.

Each player holds q qubits and moves with U(ϑ,φ) on each; J = exp(iγ/2·D^{⊗2q}) entangles all of them. It is a
different game from the classical one (van Enk & Pike 2002), simulated on classical hardware.

A move is the unit vector (cos ϑ/2 cos φ, cos ϑ/2 sin φ, sin ϑ/2); payoffs are quadratic forms in it, so one
qubit's best response is the top eigenvector of a 3×3 matrix, the limit that gradient ascent would reach.
J|0…0⟩ has two terms and U acts on each qubit alone, so a state is a sum of two products of the players'
vectors.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels import backend
from qts_agents.kernels.backend import kernel, part
from qts_agents.kernels.ewl_reference import ROUNDS, SETTLED, SWEEPS, TIE, entangler, games

F8 = NDArray[np.float64]
C16 = NDArray[np.complex128]
I8 = NDArray[np.int64]
#: 4 starts; each also runs with every player's qubits in reverse order, so that reversal is an exact symmetry
STARTS: F8 = np.modf(np.outer(np.arange(1, 5), np.sqrt([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0])))[0]


class Quantum(msgspec.Struct, frozen=True):
    """Where best responses settle in each of G games."""

    joint: F8  # [G,2^q,2^q] outcome probabilities; its row sums are the row player's marginal
    payoff: F8  # [G,2] expected, in the unit of the payoffs
    regret: F8  # [G] largest gain found / payoff range; exact for q = 1, a lower bound above


@part
def _side(moves: F8, ones: int, out: C16) -> None:
    """Write ⊗U|0…0⟩ or ⊗U|1…1⟩ of one player's moves [q,3] to out [2^q]; first qubit = highest bit."""
    q = moves.shape[0]
    for i in range(out.shape[0]):
        amplitude = 1.0 + 0.0j
        for j in range(q):
            bit = (i >> (q - 1 - j)) & 1
            if bit == ones:
                amplitude *= complex(moves[j, 0], moves[j, 1] if bit == 0 else -moves[j, 1])
            else:
                amplitude *= moves[j, 2] if ones else -moves[j, 2]
        out[i] = amplitude


@part
def _state(sides: C16, gamma: float, out: C16) -> None:
    """Write J†(⊗U)J|0…0⟩ to out [2^q,2^q]; sides [player, from 0 or 1, 2^q]."""
    c, s, size = np.cos(gamma / 2.0), np.sin(gamma / 2.0), sides.shape[2]
    for r in range(size):
        for k in range(size):
            ones, bits = 0, r * size + k
            while bits:
                ones += bits & 1
                bits >>= 1
            sign = -1.0 if ones % 2 else 1.0
            here = c * sides[0, 0, r] * sides[1, 0, k] + 1j * s * sides[0, 1, r] * sides[1, 1, k]
            fr, fk = size - 1 - r, size - 1 - k
            flip = c * sides[0, 0, fr] * sides[1, 0, fk] + 1j * s * sides[0, 1, fr] * sides[1, 1, fk]
            out[r, k] = c * here - 1j * s * sign * flip


@part
def _prepare(moves: F8, sides: C16) -> None:
    """Write both sides of both players; moves [2,q,3]."""
    for player in range(2):
        for ones in range(2):
            _side(moves[player], ones, sides[player, ones])


@part
def _expect(payoff: F8, state: C16) -> float:
    """Return Σ payoff·|amplitude|²."""
    total = 0.0
    for r in range(payoff.shape[0]):
        for k in range(payoff.shape[1]):
            total += payoff[r, k] * (state[r, k].real ** 2 + state[r, k].imag ** 2)
    return total


@part
def _rotate(form: F8, vectors: F8, p: int, q: int) -> None:
    """Zero form[p, q] of a symmetric 3×3 matrix by one Jacobi rotation."""
    if form[p, q] == 0.0:
        return
    ratio = (form[q, q] - form[p, p]) / (2.0 * form[p, q])
    t = (1.0 if ratio >= 0 else -1.0) / (abs(ratio) + np.sqrt(ratio * ratio + 1.0))
    c = 1.0 / np.sqrt(t * t + 1.0)
    s = t * c
    for i in range(3):
        a, b = form[i, p], form[i, q]
        form[i, p], form[i, q] = c * a - s * b, s * a + c * b
        a, b = vectors[i, p], vectors[i, q]
        vectors[i, p], vectors[i, q] = c * a - s * b, s * a + c * b
    for i in range(3):
        a, b = form[p, i], form[q, i]
        form[p, i], form[q, i] = c * a - s * b, s * a + c * b


@part
def _top(form: F8, vectors: F8, move: F8) -> None:
    """Move to the nearest vector of the largest eigenvalue's space (ties keep the present move)."""
    for i in range(3):
        for j in range(3):
            vectors[i, j] = 1.0 if i == j else 0.0
    for _ in range(8):
        _rotate(form, vectors, 0, 1)
        _rotate(form, vectors, 0, 2)
        _rotate(form, vectors, 1, 2)
    best = max(form[0, 0], form[1, 1], form[2, 2])
    target, length, first = np.zeros(3), 0.0, -1
    for j in range(3):
        if form[j, j] >= best - TIE:
            first = j if first < 0 else first
            weight = move[0] * vectors[0, j] + move[1] * vectors[1, j] + move[2] * vectors[2, j]
            for i in range(3):
                target[i] += weight * vectors[i, j]
            length += weight * weight
    for i in range(3):
        move[i] = target[i] / np.sqrt(length) if length > 1e-6 else vectors[i, first]


@part
def _respond(payoff: F8, gamma: float, moves: F8, sides: C16, player: int, qubit: int) -> None:
    """Set one qubit's move to its best response; payoff is that player's, scaled to 0…1."""
    size = payoff.shape[0]
    states = np.empty((3, size, size), np.complex128)
    present = moves[player, qubit].copy()
    for k in range(3):
        for i in range(3):
            moves[player, qubit, i] = 1.0 if i == k else 0.0
        _side(moves[player], 0, sides[player, 0])
        _side(moves[player], 1, sides[player, 1])
        _state(sides, gamma, states[k])
    form, vectors = np.zeros((3, 3)), np.empty((3, 3))
    for k in range(3):
        for i in range(k + 1):
            total = 0.0
            for r in range(size):
                for c in range(size):
                    one, two = states[k, r, c], states[i, r, c]
                    total += payoff[r, c] * (one.real * two.real + one.imag * two.imag)
            form[k, i], form[i, k] = total, total
    _top(form, vectors, present)
    for i in range(3):
        moves[player, qubit, i] = present[i]
    _side(moves[player], 0, sides[player, 0])
    _side(moves[player], 1, sides[player, 1])


@part
def _sweep(payoff: F8, gamma: float, moves: F8, sides: C16, player: int, reverse: bool) -> None:
    """Let each qubit of a player respond once, in order or in reverse order."""
    q = moves.shape[1]
    for j in range(q):
        _respond(payoff, gamma, moves, sides, player, q - 1 - j if reverse else j)


@part
def _gain(payoffs: F8, gamma: float, moves: F8, sides: C16, reverse: bool) -> float:
    """Return the largest gain either player finds from its present move and from every classical one."""
    q, size = moves.shape[1], payoffs.shape[1]
    state, gain = np.empty((size, size), np.complex128), 0.0
    for player in range(2):
        _prepare(moves, sides)
        _state(sides, gamma, state)
        present = _expect(payoffs[player], state)
        for start in range(-1, size):
            trial = moves.copy()
            for j in range(q):
                if start >= 0:
                    bit = (start >> (q - 1 - j)) & 1
                    trial[player, j, 0], trial[player, j, 1], trial[player, j, 2] = 1.0 - bit, 0.0, float(bit)
            _prepare(trial, sides)
            for _ in range(SWEEPS):
                _sweep(payoffs[player], gamma, trial, sides, player, reverse)
            _state(sides, gamma, state)
            gain = max(gain, _expect(payoffs[player], state) - present)
    return gain


@part
def _settle(payoffs: F8, gamma: float, moves: F8, sides: C16, reverse: bool) -> None:
    """Let both players respond in turn until nothing moves, at most ROUNDS times."""
    _prepare(moves, sides)
    for _ in range(ROUNDS):
        before = moves.copy()
        for player in range(2):
            _sweep(payoffs[player], gamma, moves, sides, player, reverse)
        change = 0.0
        for i in range(moves.size):
            change = max(change, abs(moves.flat[i] - before.flat[i]))
        if change < SETTLED:
            break


@part
def _game(payoffs: F8, gamma: float, starts: F8, out: F8) -> float:
    """Write the outcome probabilities of the runs with least regret, ties averaged; return that regret."""
    runs, size = starts.shape[0], payoffs.shape[1]
    joint, regrets = np.empty((runs, size, size)), np.empty(runs)
    state, sides = np.empty((size, size), np.complex128), np.empty((2, 2, size), np.complex128)
    least = np.inf
    for run in range(runs):
        moves, reverse = starts[run].copy(), run % 2 == 1
        _settle(payoffs, gamma, moves, sides, reverse)
        regrets[run] = _gain(payoffs, gamma, moves, sides, reverse)
        least = min(least, regrets[run])
        _prepare(moves, sides)
        _state(sides, gamma, state)
        for r in range(size):
            for k in range(size):
                joint[run, r, k] = state[r, k].real ** 2 + state[r, k].imag ** 2
    ties = 0.0
    for run in range(runs):
        ties += 1.0 if regrets[run] <= least + TIE else 0.0
    for r in range(size):
        for k in range(size):
            total = 0.0
            for run in range(runs):
                if regrets[run] <= least + TIE:
                    total += joint[run, r, k]
            out[r, k] = total / ties
    return least


@kernel
def _games(a: F8, b: F8, gamma: float, starts: F8) -> tuple[F8, F8]:
    """Play G scaled games; a, b [G,2^q,2^q]."""
    games, size, _ = a.shape
    joint, regret = np.empty((games, size, size)), np.empty(games)
    payoffs = np.empty((2, size, size))
    for g in range(games):
        for r in range(size):
            for k in range(size):
                payoffs[0, r, k], payoffs[1, r, k] = a[g, r, k], b[g, r, k]
        regret[g] = _game(payoffs, gamma, starts, joint[g])
    return joint, regret


@kernel
def _payoffs(moves: F8, gamma: float, a: F8, b: F8) -> tuple[F8, F8]:
    """Return payoffs [K,2] and outcome probabilities [K,2^q,2^q] of moves [K,2,q,3]."""
    size = a.shape[0]
    out, probs = np.empty((moves.shape[0], 2)), np.empty((moves.shape[0], size, size))
    state, sides = np.empty((size, size), np.complex128), np.empty((2, 2, size), np.complex128)
    for k in range(moves.shape[0]):
        _prepare(moves[k], sides)
        _state(sides, gamma, state)
        out[k, 0], out[k, 1] = _expect(a, state), _expect(b, state)
        for r in range(size):
            for c in range(size):
                probs[k, r, c] = state[r, c].real ** 2 + state[r, c].imag ** 2
    return out, probs


def moves_of(angles: F8) -> F8:
    """Return the unit vectors [...,q,3] of angles [...,2q] = (ϑ₁, φ₁, ϑ₂, φ₂ …)."""
    theta, phi = angles[..., 0::2] / 2.0, angles[..., 1::2]
    return np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=-1)


def ewl(angles: F8, gamma: float, a: F8, b: F8) -> tuple[F8, F8]:
    """Return payoffs [K,2] and probabilities [K,4^q] at angles [K,2,2q] of one game a, b [2^q,2^q]."""
    if backend.jit_enabled():
        out, probs = _payoffs(
            moves_of(np.asarray(angles, np.float64)), float(gamma), np.array(a), np.array(b)
        )
        return out, probs.reshape(len(probs), -1)
    probs = np.array([ewl_reference(row, gamma) for row in angles])
    return np.stack([probs @ a.ravel(), probs @ b.ravel()], axis=1), probs


def play(a: F8, b: F8, gamma: float) -> Quantum:
    """Play the games a, b [G,2^q,2^q] by best responses from 8 fixed starts; keep the least regret."""
    from qts_agents.kernels.scaling import scaled

    q = a.shape[1].bit_length() - 1
    base = moves_of(STARTS[:, : 4 * q].reshape(4, 2, 2 * q) * np.tile([np.pi, np.pi / 2], q))
    starts = np.stack([base, base[:, :, ::-1]], axis=1).reshape(8, 2, q, 3).copy()
    run = _games if backend.jit_enabled() else games
    joint, regret = run(scaled(a), scaled(b), float(gamma), starts)
    return Quantum(joint, np.stack([np.sum(joint * m, axis=(1, 2)) for m in (a, b)], axis=1), regret)


def ewl_reference(angles: F8, gamma: float) -> F8:
    """Return the outcome probabilities [4^q] at angles [2,2q] with dense Kronecker matrices."""
    unitary: C16 = np.ones((1, 1), np.complex128)
    for theta, phi in angles.reshape(-1, 2):
        c, s = np.cos(theta / 2), np.sin(theta / 2)
        move = np.array([[np.exp(1j * phi) * c, s], [-s, np.exp(-1j * phi) * c]])
        unitary = np.asarray(np.kron(unitary, move), np.complex128)
    j = entangler(angles.size // 2, gamma)
    probs: F8 = np.abs(j.conj().T @ unitary @ j[:, 0]) ** 2
    return probs
