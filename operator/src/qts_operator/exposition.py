"""The text of all metrics, piece by piece.

That of ten thousand systems is 6 MB, and what it is made of five times as much. Made at once, it lies for a
moment among what stays, and not all of its room is given back (`python -m bench.operator_scrape`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import copy
from itertools import islice

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

PIECE = 2**16  # bytes that are sent at once
STEP = 500  # samples that are there at once, of a hundred bytes of text each
Encode = Callable[[Collector], bytes]


class Samples:
    """The samples of a family, made as they are read; none is what a format tells at the family's end."""

    def __init__(self, make: Callable[[], Iterator[Sample]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Sample]:
        """Make them anew."""
        return self._make()


class _These(Collector):
    """Families as an encoder asks for them."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Return them."""
        return self._families


def pieces(registry: CollectorRegistry, accept: str) -> tuple[Iterator[bytes], str]:
    """Return the pieces of the text, and its content type, as the scraper asked for it."""
    encode, kind = choose_encoder(accept)
    return _gathered(_parts(registry, encode)), kind


def _gathered(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield parts together, as most are small."""
    piece = bytearray()
    for part in parts:
        piece += part
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


def _parts(registry: CollectorRegistry, encode: Encode) -> Iterator[bytes]:
    """Yield what an encoder makes of all families at once, part by part."""
    end = encode(_These())  # of the whole text; "" in Prometheus' own format
    for family in registry.collect():
        if not isinstance(family.samples, Samples):
            yield encode(_These(family)).removesuffix(end)
            continue
        head = encode(_These(_with(family, []))).removesuffix(end)
        yield head
        samples = iter(family.samples)
        while some := list(islice(samples, STEP)):
            yield encode(_These(_with(family, some))).removesuffix(end)[len(head) :]
    yield end


def _with(family: Metric, samples: list[Sample]) -> Metric:
    """Return a family with these samples alone."""
    other = copy(family)
    other.samples = samples
    return other
