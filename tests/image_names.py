"""Which images a manifest can bring about: those of its containers, and those it hands on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

LIST = Path(__file__).parents[1] / "manifests/images.txt"


def listed() -> set[str]:
    """Return the images of the list that is mirrored where there is no way out."""
    return set(LIST.read_text().splitlines())


def images_of(value: Any) -> Iterator[str]:
    """Yield every image in a manifest: `image`, variables that end with _IMAGE, a resource's `images`."""
    if isinstance(value, list):
        for item in value:
            yield from images_of(item)
        return
    if not isinstance(value, dict):
        return
    if str(value.get("name", "")).endswith("_IMAGE"):
        yield value["value"]
    if isinstance(value.get("image"), str):
        yield value["image"]
    if value.get("kind") == "QuantumTradingSystem":
        said = (value.get("spec") or {}).get("images") or {}
        yield from (image for image in said.values() if isinstance(image, str))
    for inner in value.values():
        yield from images_of(inner)
