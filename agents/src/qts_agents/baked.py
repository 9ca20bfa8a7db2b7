"""Compiled kernels that come with an image: made when it is built, used where the processor fits.

numba keeps what it compiles by the processor's name and features, so what one machine compiled is of no use
to another kind. An image is compiled for x86-64-v3 instead, which Intel's processors since 2013 and AMD's
since 2015 have (AVX2, FMA); a process on one of those says that it compiles for the same, and takes the
image's files into its own cache before it loads numba. On any other it compiles for what it finds.

`python -m qts_agents.baked FOLDER` fills a folder; it fails where two builds would not give the same bytes.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from qts_core.roster import BY_NAME

LEVEL = "x86-64-v3"
#: what the level consists of, as the compiler and as Linux name it
FEATURES = {
    "avx": "avx", "avx2": "avx2", "bmi": "bmi1", "bmi2": "bmi2", "cx16": "cx16", "f16c": "f16c", "fma": "fma",
    "lzcnt": "abm", "movbe": "movbe", "popcnt": "popcnt", "sse3": "pni", "sse4.1": "sse4_1",
    "sse4.2": "sse4_2", "ssse3": "ssse3",
}  # fmt: skip
TARGET = {
    "NUMBA_CPU_NAME": LEVEL,
    "NUMBA_CPU_FEATURES": ",".join(f"+{name}" for name in sorted(FEATURES)),
}
_PROCESSOR = Path("/proc/cpuinfo")


def target(env: Mapping[str, str], flags: frozenset[str]) -> dict[str, str]:
    """Return what numba is to be told on a processor with these flags; nothing where `env` says it."""
    if TARGET.keys() & env.keys() or not flags.issuperset(FEATURES.values()):
        return {}
    return dict(TARGET)


def processor() -> frozenset[str]:
    """Return the flags of this machine's processor as Linux names them; none on another system."""
    with contextlib.suppress(OSError):
        for line in _PROCESSOR.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "flags":
                return frozenset(value.split())
    return frozenset()


def take(baked: Path, cache: Path) -> int:
    """Copy the kernels that `cache` has no index of, data before index; return how many kernels."""
    taken = 0
    with contextlib.suppress(OSError):  # then this process compiles
        for index in sorted(baked.rglob("*.nbi")):
            place = cache / index.relative_to(baked)
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            for source in (*index.parent.glob(f"{glob.escape(index.stem)}.*.nbc"), index):
                part = place.with_name(f"{source.name}.{os.getpid()}")
                shutil.copyfile(source, part)
                part.replace(place.with_name(source.name))
            taken += 1
    return taken


def prepare(env: Mapping[str, str], kernels: str | None, cache: str | None) -> dict[str, str]:
    """Make an image's kernels usable, if there are any; return what numba must find in the environment.

    kernels: the image's folder; cache: that of this process. Call it before numba is imported.
    """
    if not kernels or not cache or not Path(kernels).is_dir():
        return {}
    told = target(env, processor())
    if told:
        take(Path(kernels), Path(cache))
    return told


def bake(names: Sequence[str]) -> None:
    """Compile what these workloads compile at their start."""
    import importlib

    from qts_agents.pads.agent import Pads
    from qts_core.spec import SYSTEM

    for name in names:
        workload = BY_NAME[name]
        if workload.role == "decider":
            Pads(SYSTEM()).warm_up()
        elif workload.role == "voter":
            module, _, kind = workload.entry.partition(":")
            getattr(importlib.import_module(module), kind)(SYSTEM()).warm_up()


def addressed(folder: Path) -> list[str]:
    """Return the kernels that do arithmetic on whole arrays: numba names it by its place in memory."""
    files = folder.rglob("*.nbc")
    return sorted(
        {file.name.partition("-")[0] for file in files if b"__numba_array_expr_0x" in file.read_bytes()}
    )


def _arguments(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the folder, which is made, and the workloads; exit 2 with a message where they are wrong."""
    import argparse  # every agent loads this module and reads no arguments with it

    parser = argparse.ArgumentParser(
        prog="python -m qts_agents.baked", description="Compile kernels for an image.", allow_abbrev=False
    )
    parser.add_argument("folder", type=Path, help="folder for the compiled kernels; made if need be")
    parser.add_argument("workloads", nargs="*", metavar="workload", help="whose kernels; default: all")
    found = parser.parse_args(arguments)
    if unknown := [name for name in found.workloads if name not in BY_NAME]:
        parser.error(f"unknown workload {unknown[0]!r}; give some of {', '.join(BY_NAME)}")
    try:
        found.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"folder {found.folder}: {error.strerror}; name one that can be written to")
    return found.folder, found.workloads or list(BY_NAME)


def main(arguments: Sequence[str]) -> int:
    """Fill a folder with every workload's kernels; a processor without the level leaves it empty."""
    folder, names = _arguments(arguments)
    told = target({}, processor())
    if not told:
        sys.stdout.write(f"this processor is not {LEVEL}: no kernels are kept\n")
        return 0
    # what it read at its import is set again: the environment may have said otherwise
    from numba.core import config

    config.CPU_NAME, config.CPU_FEATURES = told["NUMBA_CPU_NAME"], told["NUMBA_CPU_FEATURES"]  # type: ignore[attr-defined]
    config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    bake(names)
    files = list(folder.rglob("*.nb?"))
    for lock in folder.rglob("*.lock"):
        lock.unlink()
    sys.stdout.write(f"{len(files)} files for {LEVEL}\n")
    if unequal := addressed(folder):
        sys.stderr.write(f"not the same bytes in two builds, write a loop for arrays: {', '.join(unequal)}\n")
    return int(bool(unequal))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
