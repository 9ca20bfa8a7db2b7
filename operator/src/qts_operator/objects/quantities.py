"""Quantities in the API server's canonical form, so that what is sent is what is stored."""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+))([A-Za-z]*)((?<=[eE])[+-]?[0-9]+)?")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SMALL = {"m": 1000, "u": 10**6, "n": 10**9}
_SCALE = (
    {suffix: Fraction(1000**level) for level, suffix in enumerate(_DECIMAL)}
    | {suffix: Fraction(1024**level) for level, suffix in enumerate(_BINARY)}
    | {suffix: Fraction(1, parts) for suffix, parts in _SMALL.items()}
)
_MOST, _PARTS = 2**63 - 1, 10**9  # what a quantity can be: no larger, and in no finer parts


@functools.lru_cache(1024)
def value_of(text: str) -> Fraction:
    """Return a quantity's value by the grammar of resource.Quantity; ValueError when it is none.

    As the API server reads it: what is too large is the most there is, what is too fine is rounded up.
    """
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text[:40]}" is no quantity')
    number, suffix, exponent = Fraction(match[1]), match[2], match[3]
    if exponent is not None and suffix in ("e", "E"):
        furthest = len(text) + 20  # from there on it is the most there is, or the least
        number *= Fraction(10) ** max(-furthest, min(furthest, int(exponent)))
    elif exponent is None and suffix in _SCALE:
        number *= _SCALE[suffix]
    else:
        raise ValueError(f'"{text[:40]}" is no quantity')
    parts = math.ceil(abs(number) * _PARTS)
    size = min(Fraction(parts, _PARTS), Fraction(_MOST))
    return -size if number < 0 else size


@functools.lru_cache(1024)
def canonical(text: str) -> str:
    """Return the shortest whole number with the largest suffix of the same family."""
    number = value_of(text)
    binary = text.endswith("i")
    if number.denominator != 1:
        if not binary:
            return f"{-(-number * 1000 // 1)}m"
        number = Fraction(-(-number // 1))
    step, suffixes = (1024, _BINARY) if binary else (1000, _DECIMAL)
    whole, level = int(number), 0
    while whole and whole % step == 0 and level < len(suffixes) - 1:
        whole, level = whole // step, level + 1
    return f"{whole}{suffixes[level]}"
