"""An object graph as MessagePack and back, exact to the bit (pure; no pickle: only classes of a given table).

Scalars travel as they are, everything else as a tagged list. Arrays keep dtype and shape, settings are named
and not copied, so that a state can be read only beside the settings it was made under.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from qts_core.errors import ConfigError
from qts_core.sections import Section

T = TypeVar("T")
Table = dict[str, type]
#: tag → container that is rebuilt from the list of its items
_MAKERS: dict[str, Callable[[Any], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
    "dict": dict,
    "odict": OrderedDict,
    "counter": lambda pairs: Counter(dict(pairs)),
}
_TAGS: dict[type, str] = {
    list: "list",
    tuple: "tuple",
    set: "set",
    frozenset: "frozenset",
    dict: "dict",
    OrderedDict: "odict",
    Counter: "counter",
}


class Packed(Protocol):
    """A class that says itself what of it is kept; for rings and what wraps objects of a library."""

    def pack(self) -> Any:
        """Return what `unpack` needs, of types that the graph can hold."""
        ...

    @classmethod
    def unpack(cls, kept: Any) -> Any:
        """Return an object that goes on as the packed one would."""
        ...


class _Document(msgspec.Struct, frozen=True):
    version: str
    root: Any


def dump(root: object, version: str, known: Table) -> bytes:
    """Return the bytes of everything reachable from `root`; TypeError names a class that `known` lacks."""
    names = {kind: name for name, kind in known.items()}
    return msgspec.msgpack.encode(_Document(version, _plain(root, names)))


def load(raw: bytes, kind: type[T], version: str, known: Table, settings: tuple[Section, ...]) -> T:
    """Return the object that `raw` holds.

    ConfigError when it is of another version, damaged, or does not fit the classes as they are.
    """
    try:
        document = msgspec.msgpack.decode(raw, type=_Document)
        if document.version != version:
            raise ConfigError(f"the state has version {document.version}; this build reads {version}")
        root = _live(document.root, known, {type(s).__name__: s for s in settings})
    except msgspec.MsgspecError as error:
        raise ConfigError(f"the state is damaged ({error})") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"the state does not fit ({type(error).__name__}: {error})") from error
    if not isinstance(root, kind):
        raise ConfigError(f"the state is one of {type(root).__name__}, not of {kind.__name__}")
    return root


def _plain(value: Any, names: dict[type, str]) -> Any:
    """Return `value` in tagged lists and scalars."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, np.ndarray):
        data = np.ascontiguousarray(value)
        return ["array", data.dtype.str, list(value.shape), data.tobytes()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Section):
        return ["settings", type(value).__name__]
    if isinstance(value, deque):
        return ["deque", value.maxlen, [_plain(x, names) for x in value]]
    tag = _TAGS.get(type(value))
    if tag is not None:
        return [tag, [_plain(x, names) for x in _items(value)]]
    name = names.get(type(value))
    if name is None:
        raise TypeError(f"{type(value).__name__} is not in the table of classes that are kept")
    if hasattr(value, "pack"):
        return ["packed", name, _plain(value.pack(), names)]
    return ["object", name, {k: _plain(v, names) for k, v in _fields(value).items()}]


def _items(value: Any) -> Any:
    """Return the items of a container in an order that is the same for equal containers."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return value.items() if isinstance(value, dict) else value


def _fields(value: Any) -> dict[str, Any]:
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    transient = getattr(value, "TRANSIENT", ())
    return {name: held for name, held in vars(value).items() if name not in transient}


def _live(plain: Any, known: Table, settings: dict[str, Section]) -> Any:
    """Return what `_plain` was given."""
    if not isinstance(plain, list):
        return plain
    tag = plain[0]
    if tag == "array":
        return np.frombuffer(plain[3], dtype=np.dtype(plain[1])).reshape(plain[2]).copy()
    if tag == "settings":
        return settings[plain[1]]
    if tag == "deque":
        return deque((_live(x, known, settings) for x in plain[2]), plain[1])
    if tag in _MAKERS:
        return _MAKERS[tag]([_live(x, known, settings) for x in plain[1]])
    kind: Any = known[plain[1]]
    if tag == "packed":
        return kind.unpack(_live(plain[2], known, settings))
    if tag != "object":
        raise ValueError(f"tag {tag!r}")
    fields = {name: _live(x, known, settings) for name, x in plain[2].items()}
    return _built(kind, fields)


def _built(kind: Any, fields: dict[str, Any]) -> Any:
    if issubclass(kind, msgspec.Struct):
        return kind(**fields)
    made = kind.__new__(kind)
    made.__dict__.update(getattr(kind, "TRANSIENT", {}), **fields)
    return made
