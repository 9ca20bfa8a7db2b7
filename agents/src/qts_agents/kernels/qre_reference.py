"""The principal branch of quantal responses in plain numpy, written apart from the compiled form.

Short steps, each corrected to the end; the tangent is the null space of the slopes by their singular values,
and the determinant says whether it still points along the same branch. The compiled form must equal it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F8 = NDArray[np.float64]
PLAYERS = 3
LONGEST, LEAST, MEETING = 0.3, 1e-9, 1e-4  # steps: at most, too short to go on, where branches meet
STEPS, NEWTON, ENOUGH = 20_000, 8, 1e-12
ASIDE, TURN = 0.02, 0.1  # first correction and turn of the tangent beyond which a step is halved


def follow_reference(u: F8, targets: F8, mix: F8, residual: F8) -> None:
    """Write mixtures [G,3,n] and residuals [G] of games u [G,3,n,n,n] at their `targets` [G]."""
    for g in range(len(u)):
        try:
            point = _branch(u[g], float(targets[g]))
        except np.linalg.LinAlgError:  # payoffs that are no numbers
            mix[g], residual[g] = np.nan, np.nan
            continue
        mix[g] = _mixtures(point)
        earned, _ = _earned(u[g], mix[g])
        answers = _mixtures(np.append(targets[g] * earned, 0.0))
        residual[g] = np.abs(answers - mix[g]).max()


def _branch(u: F8, target: float) -> F8:
    """Return where the branch from λ = 0 reaches `target`, or the last point at that λ where it is lost."""
    at, length, sign = np.zeros(PLAYERS * u.shape[1] + 1), LONGEST, 1.0
    tangent, _ = _tangent(u, at, np.eye(at.size)[-1])
    for _ in range(STEPS):
        ahead, across = at + length * tangent, tangent
        last = ahead[-1] >= target
        if last:
            across = np.eye(at.size)[-1]
            ahead = at + (target - at[-1]) / tangent[-1] * tangent
        landed = _corrected(u, ahead, across)
        if landed is not None:
            if last:
                return landed
            onward, facing = _tangent(u, landed, tangent)
            if np.linalg.norm(onward - tangent) < TURN and (facing == sign or length <= MEETING):
                at, tangent, sign, length = landed, onward, facing, min(LONGEST, 2.0 * length)
                continue
        length /= 2.0
        if length < LEAST:
            break
    return np.append(at[:-1], target)


def _corrected(u: F8, point: F8, across: F8) -> F8 | None:
    """Return `point` corrected across a direction; None where that takes it too far or does not end."""
    for turn in range(NEWTON):
        off, slopes = _system(u, point)
        move = np.linalg.solve(np.vstack([slopes, across]), np.append(-off, 0.0))
        far = float(np.linalg.norm(move))
        if turn == 0 and not far < ASIDE:
            return None
        point = point + move
        if far < ENOUGH * (1.0 + float(np.linalg.norm(point))):
            return point
    return None


def _tangent(u: F8, point: F8, before: F8) -> tuple[F8, float]:
    """Return the tangent on the side of `before`, and the sign of the system's determinant with it."""
    _, slopes = _system(u, point)
    tangent = np.linalg.svd(slopes)[2][-1]
    tangent = tangent if tangent @ before > 0.0 else -tangent
    return tangent, float(np.linalg.slogdet(np.vstack([slopes, tangent]))[0])


def _system(u: F8, point: F8) -> tuple[F8, F8]:
    """Return z − λ·payoff(z) [3n] and its slopes in (z, λ) [3n,3n+1]."""
    mix, rate, size = _mixtures(point), point[-1], point.size - 1
    n = size // PLAYERS
    earned, effects = _earned(u, mix)
    moves = [np.diag(x) - np.outer(x, x) for x in mix]  # of a mixture by its log probabilities
    slopes = np.zeros((PLAYERS, n, PLAYERS, n))
    for p in range(PLAYERS):
        slopes[p, :, p] = np.eye(n)
        for other, effect in effects[p].items():
            slopes[p, :, other] = -rate * effect @ moves[other]
    off = point[:-1] - rate * earned
    return off, np.hstack([slopes.reshape(size, size), -earned[:, None]])


def _earned(u: F8, mix: F8) -> tuple[F8, list[dict[int, F8]]]:
    """Return what each action earns [3n], and a player's table of it by the actions of each of the others."""
    earned, effects = [], []
    for p in range(PLAYERS):
        second, third = (p + 1) % PLAYERS, (p + 2) % PLAYERS
        by_second, by_third = u[p] @ mix[third], np.einsum("ijk,j->ik", u[p], mix[second])
        effects.append({second: by_second, third: by_third})
        earned.append(by_second @ mix[second])
    return np.concatenate(earned), effects


def _mixtures(point: F8) -> F8:
    """Return the mixtures [3,n] of log probabilities (free by a constant a player) with a λ behind them."""
    logs = point[:-1].reshape(PLAYERS, -1)
    raised = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))
