"""JSON file, environment and flags → `System`, with the origin of every value.

Precedence, lowest first: built-in default < file < QTS_<KEY> (nested by __) < --set key=value.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
import math
import operator
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from qts_core import names
from qts_core.errors import ConfigError
from qts_core.spec import DEFAULT_BOARD, SYSTEM, System

_DURATION = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*(ms|s|m|h)\s*$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_TIMES = frozenset(
    {
        "decision_timeout",
        "decision_interval",
        "message_ttl",
        "health_check_interval",
        "market_update_interval",
    }
)
Tree = dict[str, Any]
T = TypeVar("T")
_NOBODY: Mapping[str, str] = MappingProxyType({})
BOARD = "board_members"


class Loaded(msgspec.Struct, frozen=True):
    """Settings, where each value came from, and the digest of the effective JSON."""

    system: System
    origin: dict[str, str]
    digest: str


def load(path: Path | None = None, env: Mapping[str, str] | None = None, sets: Sequence[str] = ()) -> Loaded:
    """Read, merge and check the settings; ConfigError names path, finding, what is allowed and the remedy."""
    env = os.environ if env is None else env
    if path is None and env.get(names.ENV_CONFIG):
        path = Path(env[names.ENV_CONFIG])
    tree: Tree = {}
    origin: dict[str, str] = {}
    if path is not None:
        given = read_json(path)
        _merge(tree, given, origin, str(path))
        _displace(tree, given, origin)
    for key, value in sorted(env.items()):
        if key.startswith("QTS_") and key not in names.ENV_RESERVED:
            new = _nest(key[4:].lower().split("__"), _scalar(value), tree)
            _merge(tree, new, origin, f"environment {key}")
            _displace(tree, new, origin)
    for text in sets:
        key, sign, value = text.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f'--set {text}: expected key=value, for example --set decision_interval="5s"')
        new = _nest(key.strip().split("."), _scalar(value), tree)
        _merge(tree, new, origin, f"--set {key.strip()}")
        _displace(tree, new, origin)
    system = convert(tree, str(path) if path else "settings", origin)
    return Loaded(system, _origins(system, origin), digest(system))


def read_json(path: Path) -> Tree:
    """Read a JSON object; ConfigError with line and column when it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give an existing one with --config") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    try:
        tree = json.loads(text, object_pairs_hook=_no_doubles)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply for a settings file") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected a JSON object with settings, found {type(tree).__name__}")
    return tree


def convert(tree: Tree, source: str = "settings", origin: Mapping[str, str] = _NOBODY) -> System:
    """Turn a tree of plain values into `System`; ConfigError names path, finding and remedy.

    Who is to mend it is `source`, or whom `origin` tells for the path: a slip in a flag is none of the file.
    Nobody is named where both are empty.
    """
    try:
        tree = _durations(tree)
        refuse_halves(tree)
        _refuse_unknown(tree, SYSTEM, "$")
        system = read_naming(tree, lambda tree: msgspec.convert(tree, SYSTEM))
        _refuse_infinite(tree)
        return system
    except msgspec.ValidationError as error:
        text = _explain(str(error), tree)
    except ConfigError as error:
        text = str(error)
    giver = _giver(text, origin) or source
    raise ConfigError(f"{giver}: {text}" if giver else text)


def read_naming(tree: Any, read: Callable[[Any], T]) -> T:
    """Return what `read` makes of `tree`; its msgspec.ValidationError names the entry of a map by its key.

    msgspec says `[...]` for any of them. Which one it means, `read` says of a tree with that one alone.
    """
    try:
        return read(tree)
    except msgspec.ValidationError as error:
        text = str(error)
    path, of_map, _ = text.rpartition(" - at `$")[2].partition("[...]")
    steps = [int(i) if i else key for key, i in re.findall(r"\.([^.\[]+)|\[(\d+)\]", path)]
    for key, value in functools.reduce(operator.getitem, steps, tree).items() if of_map else ():
        try:
            read(_with(tree, steps, {key: value}))
        except msgspec.ValidationError as error:
            if str(error) == text:
                raise msgspec.ValidationError(text.replace("[...]", f".{key}", 1)) from None
    raise msgspec.ValidationError(text)


def _with(tree: Any, steps: Sequence[int | str], value: Any) -> Any:
    """Return a copy of `tree` with `value` where `steps` lead."""
    if not steps:
        return value
    copy = tree.copy()
    copy[steps[0]] = _with(tree[steps[0]], steps[1:], value)
    return copy


def _giver(text: str, origin: Mapping[str, str]) -> str:
    """Return who gave what `text` begins with the path of; "" where that is nobody alone."""
    path = re.sub(r"^\$\.|\[.*$", "", text.partition(":")[0])
    givers = {who for leaf, who in origin.items() if leaf == path or leaf.startswith(f"{path}.")}
    return givers.pop() if len(givers) == 1 else ""


def dump(system: System) -> bytes:
    """Return the settings as the JSON of `quantum_system_config.json`, every key spelled out."""
    return msgspec.json.format(msgspec.json.encode(system, order="deterministic"), indent=2) + b"\n"


def dump_changed(system: System) -> bytes:
    """Return as JSON only what differs from the defaults.

    It reads back to equal settings, and a program that does not know a key that came later reads it too, as
    long as nobody sets that key.
    """
    tree = _changed(system)
    if "replay" in tree.get("market", {}):  # data without a source are replayed
        tree["market"].setdefault("source", system.market.source)
    text = json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False)
    return text.encode() + b"\n"


def digest(system: System) -> str:
    """Return 12 hex digits that are equal exactly for equal settings."""
    return hashlib.sha256(msgspec.json.encode(system, order="deterministic")).hexdigest()[:12]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return leaves by dotted path."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return leaves


def _changed(value: Any) -> Any:
    """Return plain values; of a struct only the fields that differ from its own defaults, at every depth."""
    if not isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    return {
        field.encode_name: _changed(given)
        for field in _fields(type(value))
        if (given := getattr(value, field.name)) != _default_of(field)
    }


@functools.cache
def _fields(struct: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return a struct's fields; msgspec works them out anew at each question, which takes 0.7 ms."""
    return msgspec.structs.fields(struct)


def _default_of(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _no_doubles(pairs: list[tuple[str, Any]]) -> Tree:
    tree: Tree = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f'key "{key}" stands twice in one object; keep one')
        tree[key] = value
    return tree


def _scalar(text: str) -> Any:
    """Read a flag's value as JSON where it is JSON, else as a string."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _nest(keys: Sequence[str], value: Any, tree: Tree) -> Tree:
    """Return the tree of one value; a seat stands in the board that `tree` has, or the default one."""
    for key in reversed(keys[1:]):
        value = {key: value}
    if len(keys) > 1 and keys[0] == BOARD:
        board = tree.get(BOARD, DEFAULT_BOARD)
        value = {**board, **value} if isinstance(board, dict) else value
    return {keys[0]: value}


def _displace(tree: Tree, new: Tree, origin: dict[str, str]) -> None:
    """Let later data take the place of earlier ones, named or by path, and of the simulation."""
    market = new.get("market")
    replay = market.get("replay") if isinstance(market, dict) else None
    if not isinstance(market, dict) or not isinstance(replay, dict):
        return
    for given, other in (("dataset", "path"), ("path", "dataset")):
        if given in replay and other not in replay:
            tree["market"]["replay"].pop(other, None)
    named = next((key for key in ("dataset", "path") if replay.get(key) is not None), None)
    if named and "source" not in market and tree["market"].get("source", "simulated") == "simulated":
        tree["market"]["source"] = "replay"  # who names data means them: they were passed over else
        origin["market.source"] = origin[f"market.replay.{named}"]


def _merge(tree: Tree, new: Tree, origin: dict[str, str], source: str, prefix: str = "") -> None:
    for key, value in new.items():
        path = f"{prefix}.{key}" if prefix else key
        # a board is one value: half of two boards is none
        if isinstance(value, dict) and isinstance(tree.get(key), dict) and key != BOARD:
            _merge(tree[key], value, origin, source, path)
            continue
        seats = key == BOARD and source.startswith(("--set", "environment"))
        kept = flatten(tree.get(key, DEFAULT_BOARD), path) if seats else {}
        tree[key] = value
        for leaf, given in flatten(value, path).items():
            if leaf not in kept or kept[leaf] != given:  # the other seats are whose they were
                origin[leaf] = source


def _durations(tree: Tree) -> Tree:
    """Turn "3s" and "500ms" into seconds, for the keys that are times."""
    return {key: _seconds(key, value) if key in _TIMES else value for key, value in tree.items()}


def _seconds(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _DURATION.match(value)
    if match is None:
        raise ConfigError(f'$.{key}: expected seconds or a text such as "3s" or "500ms", found "{value}"')
    return float(match[1]) * _UNITS[match[2]]


def _struct_of(annotation: Any) -> type[msgspec.Struct] | None:
    for candidate in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None


def _refuse_unknown(tree: Any, struct: type[msgspec.Struct], path: str) -> None:
    if not isinstance(tree, dict):
        return
    known = {field.encode_name: field.type for field in _fields(struct)}
    for key, value in tree.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"allowed are {', '.join(sorted(known))}"
            raise ConfigError(f"{path}.{key}: unknown key; {hint}")
        inner = _struct_of(known[key])
        if inner is not None:
            _refuse_unknown(value, inner, f"{path}.{key}")


def refuse_halves(tree: Any, path: str = "$") -> None:
    """Raise ConfigError for half of a character, as JSON can spell it, or a flag's bytes that are no text."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            refuse_halves(key, path)
            refuse_halves(value, f"{path}.{key}")
    elif isinstance(tree, list):
        for each in tree:
            refuse_halves(each, path)
    elif isinstance(tree, str) and tree.encode(errors="ignore") != tree.encode(errors="surrogatepass"):
        raise ConfigError(f"{path}: expected text that UTF-8 can hold, found {json.dumps(tree)[:80]}")


def _refuse_infinite(tree: Tree) -> None:
    """Raise ConfigError for a number that JSON has not: whoever is given the settings would read null."""
    for path, value in flatten(tree).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"$.{path}: expected a finite number, found {json.dumps(value)}")


def _explain(text: str, tree: Tree) -> str:
    """Put the path first and add what was found to msgspec's sentence."""
    message, sign, where = text.rpartition(" - at ")
    if not sign:
        name, _, rest = text.partition(":")
        return f"$.{name}:{rest}" if rest else text
    path = where.strip("`")
    inner = re.match(r"^([a-z_]+)(\.[a-z_]+)?: ", message)
    if inner:
        return f"{path}.{message}"
    found = _find(tree, path)
    shown = "" if found is None else f", found {json.dumps(found, default=str)[:80]}"
    if isinstance(found, str) and "`array" in message:
        shown += f"; write {json.dumps([found])}"
    if message.startswith("Invalid enum value"):
        return f"{path}: allowed are {', '.join(map(str, _allowed(path)))}{shown}"
    return f"{path}: {message[0].lower()}{message[1:]}{shown}"


def _allowed(path: str) -> tuple[Any, ...]:
    """Return the literals that the field at `path` takes."""
    struct: Any = SYSTEM
    for key in re.findall(r"[A-Za-z_]\w*", path):
        kind = next((f.type for f in msgspec.structs.fields(struct) if f.encode_name == key), None)
        if get_origin(kind) is Literal:
            return get_args(kind)
        struct = _struct_of(kind) or struct
    return ()


def _find(tree: Any, path: str) -> Any:
    for key in re.findall(r"[A-Za-z_]\w*", path):
        if isinstance(tree, dict):
            tree = tree.get(key)
    return tree


def _origins(system: System, origin: dict[str, str]) -> dict[str, str]:
    leaves = flatten(msgspec.to_builtins(system))
    return {path: origin.get(path, "default") for path in leaves}
