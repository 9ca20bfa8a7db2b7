"""Eisert–Wilkens–Lewenstein games (1999): exact statevector, and best responses from 8 fixed starts.

Each player holds q qubits and moves with U(ϑ,φ) on each; J = exp(iγ/2·D^{⊗2q}) entangles all of them. It is a
different game from the classical one (van Enk & Pike 2002), simulated on classical hardware.

A move is the unit vector (cos ϑ/2 cos φ, cos ϑ/2 sin φ, sin ϑ/2); payoffs are quadratic forms in it, so one
qubit's best response is the top eigenvector of a 3×3 matrix, the limit that gradient ascent would reach.
J|0…0⟩ has two terms and U acts on each qubit alone, so a state is a sum of two products of the players'
vectors.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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


class Room(NamedTuple):
    """Scratch of one game of q qubits a side, size 2^q; a device cannot make it itself."""

    moves: F8  # [3,2,q,3]: the present ones, those before, those tried
    joint: F8  # [runs,size,size]
    regrets: F8  # [runs]
    form: F8  # [4,3]: a quadratic form, and the move that it replaces
    vectors: F8  # [4,3]: its eigenvectors, and the move towards the largest
    sides: C16  # [2,2,size]
    states: C16  # [4,size,size]: of the three basic moves, and of all moves


@part
def _copy(moves: F8, out: F8) -> None:
    """Write moves [2,q,3] to `out`."""
    for player in range(2):
        for j in range(moves.shape[1]):
            for i in range(3):
                out[player, j, i] = moves[player, j, i]


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
    c, s, size = math.cos(gamma / 2.0), math.sin(gamma / 2.0), sides.shape[2]
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
def _chances(state: C16, out: F8) -> None:
    """Write |amplitude|²."""
    for r in range(state.shape[0]):
        for k in range(state.shape[1]):
            out[r, k] = state[r, k].real ** 2 + state[r, k].imag ** 2


@part
def _rotate(form: F8, vectors: F8, p: int, q: int) -> None:
    """Zero form[p, q] of a symmetric 3×3 matrix by one Jacobi rotation."""
    if form[p, q] == 0.0:
        return
    ratio = (form[q, q] - form[p, p]) / (2.0 * form[p, q])
    t = (1.0 if ratio >= 0 else -1.0) / (abs(ratio) + math.sqrt(ratio * ratio + 1.0))
    c = 1.0 / math.sqrt(t * t + 1.0)
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
def _top(form: F8, vectors: F8) -> None:
    """Move form[3] to the nearest vector of the largest eigenvalue's space (ties keep the present move)."""
    move, target = form[3], vectors[3]
    for i in range(3):
        for j in range(3):
            vectors[i, j] = 1.0 if i == j else 0.0
        target[i] = 0.0
    for _ in range(8):
        _rotate(form, vectors, 0, 1)
        _rotate(form, vectors, 0, 2)
        _rotate(form, vectors, 1, 2)
    best = max(form[0, 0], form[1, 1], form[2, 2])
    length, first = 0.0, -1
    for j in range(3):
        if form[j, j] >= best - TIE:
            first = j if first < 0 else first
            weight = move[0] * vectors[0, j] + move[1] * vectors[1, j] + move[2] * vectors[2, j]
            for i in range(3):
                target[i] += weight * vectors[i, j]
            length += weight * weight
    for i in range(3):
        move[i] = target[i] / math.sqrt(length) if length > 1e-6 else vectors[i, first]


@part
def _respond(payoff: F8, gamma: float, moves: F8, room: Room, player: int, qubit: int) -> None:
    """Set one qubit's move to its best response; payoff is that player's, scaled to 0…1."""
    size, form, sides, states = payoff.shape[0], room.form, room.sides, room.states
    for i in range(3):
        form[3, i] = moves[player, qubit, i]
    for k in range(3):
        for i in range(3):
            moves[player, qubit, i] = 1.0 if i == k else 0.0
        _side(moves[player], 0, sides[player, 0])
        _side(moves[player], 1, sides[player, 1])
        _state(sides, gamma, states[k])
    for k in range(3):
        for i in range(k + 1):
            total = 0.0
            for r in range(size):
                for c in range(size):
                    one, two = states[k, r, c], states[i, r, c]
                    total += payoff[r, c] * (one.real * two.real + one.imag * two.imag)
            form[k, i], form[i, k] = total, total
    _top(form, room.vectors)
    for i in range(3):
        moves[player, qubit, i] = form[3, i]
    _side(moves[player], 0, sides[player, 0])
    _side(moves[player], 1, sides[player, 1])


@part
def _sweep(payoff: F8, gamma: float, moves: F8, room: Room, player: int, reverse: bool) -> None:
    """Let each qubit of a player respond once, in order or in reverse order."""
    q = moves.shape[1]
    for j in range(q):
        _respond(payoff, gamma, moves, room, player, q - 1 - j if reverse else j)


@part
def _gain(payoffs: F8, gamma: float, room: Room, reverse: bool) -> float:
    """Return the largest gain either player finds from its present move and from every classical one."""
    moves, trial, sides, state = room.moves[0], room.moves[2], room.sides, room.states[3]
    q, size, gain = moves.shape[1], payoffs.shape[1], 0.0
    for player in range(2):
        _prepare(moves, sides)
        _state(sides, gamma, state)
        present = _expect(payoffs[player], state)
        for start in range(-1, size):
            _copy(moves, trial)
            for j in range(q):
                if start >= 0:
                    bit = (start >> (q - 1 - j)) & 1
                    trial[player, j, 0], trial[player, j, 1], trial[player, j, 2] = 1.0 - bit, 0.0, float(bit)
            _prepare(trial, sides)
            for _ in range(SWEEPS):
                _sweep(payoffs[player], gamma, trial, room, player, reverse)
            _state(sides, gamma, state)
            gain = max(gain, _expect(payoffs[player], state) - present)
    return gain


@part
def _settle(payoffs: F8, gamma: float, room: Room, reverse: bool) -> None:
    """Let both players respond in turn until nothing moves, at most ROUNDS times."""
    moves, before = room.moves[0], room.moves[1]
    _prepare(moves, room.sides)
    for _ in range(ROUNDS):
        _copy(moves, before)
        change = 0.0
        for player in range(2):
            _sweep(payoffs[player], gamma, moves, room, player, reverse)
        for player in range(2):
            for j in range(moves.shape[1]):
                for i in range(3):
                    change = max(change, abs(moves[player, j, i] - before[player, j, i]))
        if change < SETTLED:
            break


@part
def play_of(payoffs: F8, gamma: float, starts: F8, room: Room, out: F8) -> float:
    """Write the outcome probabilities of the runs with least regret, ties averaged; return that regret."""
    runs, size, state = starts.shape[0], payoffs.shape[1], room.states[3]
    joint, regrets, least = room.joint, room.regrets, np.inf
    for run in range(runs):
        _copy(starts[run], room.moves[0])
        reverse = run % 2 == 1
        _settle(payoffs, gamma, room, reverse)
        regrets[run] = _gain(payoffs, gamma, room, reverse)
        least = min(least, regrets[run])
        _prepare(room.moves[0], room.sides)
        _state(room.sides, gamma, state)
        _chances(state, joint[run])
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


@part
def payoffs_of(moves: F8, gamma: float, a: F8, b: F8, sides: C16, state: C16, out: F8, probs: F8) -> None:
    """Write both payoffs [2] and the outcome probabilities [size,size] of moves [2,q,3]."""
    _prepare(moves, sides)
    _state(sides, gamma, state)
    out[0], out[1] = _expect(a, state), _expect(b, state)
    _chances(state, probs)


@kernel
def _games(payoffs: F8, gamma: float, starts: F8, joint: F8, regret: F8) -> None:
    """Play G scaled games; payoffs [G,2,2^q,2^q]."""
    size, runs, q = payoffs.shape[2], starts.shape[0], starts.shape[2]
    room = Room(
        np.empty((3, 2, q, 3)), np.empty((runs, size, size)), np.empty(runs),
        np.empty((4, 3)), np.empty((4, 3)),
        np.empty((2, 2, size), np.complex128), np.empty((4, size, size), np.complex128),
    )  # fmt: skip
    for g in range(payoffs.shape[0]):
        regret[g] = play_of(payoffs[g], gamma, starts, room, joint[g])


@kernel
def _payoffs(moves: F8, gamma: float, a: F8, b: F8, out: F8, probs: F8) -> None:
    """Write payoffs [K,2] and outcome probabilities [K,2^q,2^q] of moves [K,2,q,3]."""
    size = a.shape[0]
    state, sides = np.empty((size, size), np.complex128), np.empty((2, 2, size), np.complex128)
    for k in range(moves.shape[0]):
        payoffs_of(moves[k], gamma, a, b, sides, state, out[k], probs[k])


def moves_of(angles: F8) -> F8:
    """Return the unit vectors [...,q,3] of angles [...,2q] = (ϑ₁, φ₁, ϑ₂, φ₂ …)."""
    theta, phi = angles[..., 0::2] / 2.0, angles[..., 1::2]
    return np.stack([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), np.sin(theta)], axis=-1)


def ewl(angles: F8, gamma: float, a: F8, b: F8) -> tuple[F8, F8]:
    """Return payoffs [K,2] and probabilities [K,4^q] at angles [K,2,2q] of one game a, b [2^q,2^q]."""
    given = moves_of(np.asarray(angles, np.float64)), float(gamma), np.array(a), np.array(b)
    out, probs = np.empty((len(angles), 2)), np.empty((len(angles), *a.shape))

    def plain(_: F8, gamma: float, a: F8, b: F8, out: F8, probs: F8) -> None:
        for k, row in enumerate(angles):
            probs[k] = ewl_reference(row, gamma).reshape(a.shape)
            out[k] = (probs[k] * a).sum(), (probs[k] * b).sum()

    backend.fill("ewl_gpu.payoffs", (out, probs), given, _payoffs, plain)
    return out, probs.reshape(len(probs), a.size)


def play(a: F8, b: F8, gamma: float) -> Quantum:
    """Play the games a, b [G,2^q,2^q] by best responses from 8 fixed starts; keep the least regret."""
    from qts_agents.kernels.scaling import scaled

    q = a.shape[1].bit_length() - 1
    base = moves_of(STARTS[:, : 4 * q].reshape(4, 2, 2 * q) * np.tile([np.pi, np.pi / 2], q))
    starts = np.stack([base, base[:, :, ::-1]], axis=1).reshape(8, 2, q, 3).copy()
    payoffs = np.stack([scaled(a), scaled(b)], axis=1)
    joint, regret = np.empty(a.shape), np.empty(len(a))
    given = payoffs, float(gamma), starts
    backend.fill("ewl_gpu.games", (joint, regret), given, _games, games)
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
