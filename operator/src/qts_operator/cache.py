"""The last seen state of the cluster, as digests by system; late and repeated events change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

from qts_operator.expectations import not_older

Name = tuple[str, str]  # namespace, name
GRAVES = 4096  # deletions that are remembered, so that a late event of the dead is told from a new object


class Item(Protocol):
    """What the cache needs to know of an entry."""

    @property
    def namespace(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def uid(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> str: ...  # noqa: D102
    @property
    def system(self) -> str: ...  # noqa: D102


T = TypeVar("T", bound=Item)


class Store(Generic[T]):
    """Entries of one kind, in the form that `keep` gives them; `whole` undoes it."""

    def __init__(
        self, keep: Callable[[T], Any] | None = None, whole: Callable[[Any], T] | None = None
    ) -> None:
        self._keep, self._whole = keep or _itself, whole or _itself
        self.listed: set[str | None] = set()  # scopes that were listed: namespaces, or None for all
        self._items: dict[Name, Any] = {}  # each is an Item too
        self._by_system: dict[Name, tuple[Name, ...]] = {}  # in order; a set takes ten times the room
        self._tombstones: dict[Name, str] = {}

    def __len__(self) -> int:
        return len(self._items)

    def get(self, namespace: str, name: str) -> T | None:
        """Return one entry."""
        known = self._items.get((namespace, name))
        return None if known is None else self._whole(known)

    def of(self, namespace: str, system: str) -> list[T]:
        """Return the entries of one system, by name."""
        items, whole = self._items, self._whole
        return [whole(items[key]) for key in self._by_system.get((namespace, system), ())]

    def systems(self) -> Iterable[Name]:
        """Return the namespace and name of every system that has entries."""
        return self._by_system.keys()

    def all(self) -> list[T]:
        """Return every entry."""
        return list(map(self._whole, self._items.values()))

    def shows(self, namespace: str, name: str, uid: str, version: str) -> bool:
        """Tell whether a version of an object, or a younger one, is known."""
        known = self._items.get((namespace, name))
        return known is not None and known.uid == uid and not_older(known.version, version)

    def seen(self, namespace: str, name: str) -> str | None:
        """Return the version of an object that was seen last, be it of its end."""
        known = self._items.get((namespace, name))
        return self._tombstones.get((namespace, name)) if known is None else known.version

    def put(self, item: T, *, read: bool = False) -> bool:
        """Take an added or changed object; False when it is older than what is known.

        `read`: somebody just asked the server for it. A watch tells an object that lost our label gone at the
        very version at which it lives on; a deleted one lived at an earlier version only.
        """
        key = (item.namespace, item.name)
        known = self._items.get(key)
        if self.shows(item.namespace, item.name, item.uid, item.version):
            return False
        grave = self._tombstones.get(key)
        if grave is not None and not_older(grave, item.version) and not (read and grave == item.version):
            return False
        if known is not None and known.system != item.system:
            self._unlink(key, known)
            known = None
        self._items[key] = self._keep(item)
        if known is None and item.system:
            group = (item.namespace, item.system)
            self._by_system[group] = tuple(sorted((*self._by_system.get(group, ()), key)))
        return True

    def remove(self, item: T) -> bool:
        """Take a deletion; a late event of an earlier object of the same name changes nothing."""
        key = (item.namespace, item.name)
        known = self._items.get(key)
        self._tombstones[key] = item.version
        if len(self._tombstones) > GRAVES:
            del self._tombstones[next(iter(self._tombstones))]
        if known is None or known.uid != item.uid:
            return False
        self._unlink(key, known)
        del self._items[key]
        return True

    def replace(self, items: Iterable[T], within: str | None = None) -> list[T]:
        """Take a full list of one namespace, or of all.

        Returns every entry that the watch had missed: new, changed or vanished. Entries of other namespaces
        stay: each watched namespace is listed by a reflector of its own into the same store.
        """
        fresh = {(item.namespace, item.name): item for item in items}
        changed: list[T] = []
        for key, known in list(self._items.items()):
            if key not in fresh and within in (None, known.namespace):
                changed.append(self._whole(known))
                self._unlink(key, known)
                del self._items[key]
        for key, item in fresh.items():
            self._tombstones.pop(key, None)
            if self.put(item):
                changed.append(item)
        self.listed.add(within)
        return changed

    def _unlink(self, key: Name, item: Item) -> None:
        if not item.system:
            return
        group = (item.namespace, item.system)
        rest = tuple(other for other in self._by_system[group] if other != key)
        if rest:
            self._by_system[group] = rest
        else:
            del self._by_system[group]


def _itself(item: Any) -> Any:
    return item
