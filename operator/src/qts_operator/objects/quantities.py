"""Quantities in the API server's canonical form, so that what is sent is what is stored."""

from __future__ import annotations

import functools
import re
from fractions import Fraction

_FORM = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi|E|Ei)?$")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


@functools.lru_cache(1024)
def value_of(text: str) -> Fraction:
    """Return a quantity's value; ValueError when it is none."""
    match = _FORM.match(text)
    if match is None:
        raise ValueError(f'"{text}" is no quantity')
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix == "m":
        return number / 1000
    if suffix.endswith("i"):
        return number * int(1024 ** _BINARY.index(suffix))
    return number * int(1000 ** _DECIMAL.index(suffix))


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
