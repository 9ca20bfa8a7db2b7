"""A block of LANES circuits side by side: what one lane does with its gate and its amplitudes.

The state is a flat array of blocks [2^n][real, imaginary][LANES], so the innermost step goes over neighbours:
the CPU's compiler turns it into vector instructions, and on a GPU a lane is a thread. A gate is [8][LANES]:
real and imaginary part of its four entries, row by row. Slices begin at a known element, as an index that
might be negative keeps a loop from being vectorised.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qts_agents.kernels.backend import part

F8 = NDArray[np.float64]
LANES = 32
RX, RY, RZ, H, X = range(5)
ROOT_HALF = 0.5**0.5


@part
def rotate_x(g: F8, lane: int, c: float, s: float) -> None:
    """Multiply RX, given cosine and sine of half its angle, onto a lane's gate."""
    for j in range(0, 4, 2):
        xr, xi = g[j * LANES + lane], g[(j + 1) * LANES + lane]
        yr, yi = g[(j + 4) * LANES + lane], g[(j + 5) * LANES + lane]
        g[j * LANES + lane], g[(j + 1) * LANES + lane] = c * xr + s * yi, c * xi - s * yr
        g[(j + 4) * LANES + lane], g[(j + 5) * LANES + lane] = c * yr + s * xi, c * yi - s * xr


@part
def rotate_y(g: F8, lane: int, c: float, s: float) -> None:
    """Multiply RY onto a lane's gate."""
    for j in range(4):
        x, y = g[j * LANES + lane], g[(j + 4) * LANES + lane]
        g[j * LANES + lane], g[(j + 4) * LANES + lane] = c * x - s * y, s * x + c * y


@part
def rotate_z(g: F8, lane: int, c: float, s: float) -> None:
    """Multiply RZ onto a lane's gate."""
    for j in range(0, 4, 2):
        xr, xi = g[j * LANES + lane], g[(j + 1) * LANES + lane]
        yr, yi = g[(j + 4) * LANES + lane], g[(j + 5) * LANES + lane]
        g[j * LANES + lane], g[(j + 1) * LANES + lane] = c * xr + s * xi, c * xi - s * xr
        g[(j + 4) * LANES + lane], g[(j + 5) * LANES + lane] = c * yr - s * yi, c * yi + s * yr


@part
def mix(g: F8, lane: int) -> None:
    """Multiply the Hadamard gate onto a lane's gate."""
    for j in range(4):
        x, y = g[j * LANES + lane], g[(j + 4) * LANES + lane]
        g[j * LANES + lane], g[(j + 4) * LANES + lane] = ROOT_HALF * (x + y), ROOT_HALF * (x - y)


@part
def flip(g: F8, lane: int) -> None:
    """Multiply NOT onto a lane's gate."""
    for j in range(4):
        x = g[j * LANES + lane]
        g[j * LANES + lane] = g[(j + 4) * LANES + lane]
        g[(j + 4) * LANES + lane] = x


@part
def turn(low: F8, high: F8, g: F8, lane: int) -> None:
    """Apply a lane's gate to the amplitudes `low` and `high` [2][LANES], which differ in the gate's qubit."""
    zr, zi, wr, wi = low[lane], low[LANES + lane], high[lane], high[LANES + lane]
    ar, ai, br, bi = g[lane], g[LANES + lane], g[2 * LANES + lane], g[3 * LANES + lane]
    cr, ci, dr, di = g[4 * LANES + lane], g[5 * LANES + lane], g[6 * LANES + lane], g[7 * LANES + lane]
    low[lane] = ar * zr - ai * zi + br * wr - bi * wi
    low[LANES + lane] = ar * zi + ai * zr + br * wi + bi * wr
    high[lane] = cr * zr - ci * zi + dr * wr - di * wi
    high[LANES + lane] = cr * zi + ci * zr + dr * wi + di * wr


# π/2 in three parts, the first two with trailing zeros (Cody & Waite 1980), and minimax polynomials on ±π/4
_HALF_PI = (1.57079625129699707031, 7.54978941586159635335e-8, 5.39030285815811905e-15)
_SIN = (1.58962301576546568060e-10, -2.50507477628578072866e-8, 2.75573136213857245213e-6,
        -1.98412698295895385996e-4, 8.33333333332211858878e-3, -1.66666666666666307295e-1)  # fmt: skip
_COS = (-1.13585365213876817300e-11, 2.08757008419747316778e-9, -2.75573141792967388112e-7,
        2.48015872888517045348e-5, -1.38888888888730564116e-3, 4.16666666666665929218e-2)  # fmt: skip
FAR = 1e5  # from here on the reduction would lose digits


@part
def sine_cosine(angle: F8, sine: F8, cosine: F8) -> None:
    """Write sine and cosine of |angle| < FAR to 1e-15 (Cephes, Moshier 1989), without a branch."""
    for i in range(angle.shape[0]):
        turns = np.floor(angle[i] * (2.0 / np.pi) + 0.5)
        r = ((angle[i] - turns * _HALF_PI[0]) - turns * _HALF_PI[1]) - turns * _HALF_PI[2]
        z = r * r
        s = ((((_SIN[0] * z + _SIN[1]) * z + _SIN[2]) * z + _SIN[3]) * z + _SIN[4]) * z + _SIN[5]
        c = ((((_COS[0] * z + _COS[1]) * z + _COS[2]) * z + _COS[3]) * z + _COS[4]) * z + _COS[5]
        s, c = r + r * z * s, 1.0 - 0.5 * z + z * z * c
        quarter = turns - 4.0 * np.floor(0.25 * turns)
        odd = quarter == 1.0 or quarter == 3.0
        up, along = (c, s) if odd else (s, c)
        sine[i] = -up if quarter >= 2.0 else up
        cosine[i] = -along if quarter == 1.0 or quarter == 2.0 else along
