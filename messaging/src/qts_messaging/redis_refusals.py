"""What a Redis that answers refuses, in words that name cause and remedy (pure)."""

from __future__ import annotations

from redis.exceptions import RedisError

from qts_messaging.redis_away import away

_LOGIN = "Redis refuses the login ({code}); its password must be the one of the access list"
_MEMORY = (
    "Redis refuses writes: it is out of memory (OOM); raise its maxmemory; of the operator's it is "
    "three quarters of spec.redis.resources.limits.memory, of the one that `qts run` starts it is fixed: "
    "give another by redis_url"
)
_REPLICA = (
    "Redis refuses writes: it is a replica (READONLY); its URL must lead to the primary: redis_url, in a "
    "cluster spec.redis.url or the Secret of spec.redis.urlSecretRef"
)
_RIGHTS = (
    "Redis refuses a command (NOPERM): {text}; give it the access list of this version: `qts keys redis` "
    "writes it, where the operator runs it a higher spec.redis.credentialsGeneration"
)
#: what the first word of a refusal means: its kind (of `qts_core.probes.REDIS_KINDS`), and what ends it
_WORDS = {
    "OOM": ("memory", _MEMORY),
    "MISCONF": (
        "disk",
        "Redis refuses writes: it cannot save to its disk (MISCONF); free or enlarge the disk",
    ),
    "READONLY": ("replica", _REPLICA),
    "NOREPLICAS": (
        "replica",
        "Redis refuses writes: too few of its replicas answer (NOREPLICAS); bring them back",
    ),
    "MASTERDOWN": ("replica", "Redis is a replica without its primary (MASTERDOWN); bring that back"),
    "LOADING": ("loading", "Redis loads its data; it will answer by itself"),
    "WRONGPASS": ("password", _LOGIN),
    "NOAUTH": ("password", _LOGIN),
    "NOPERM": ("rights", _RIGHTS),
}
_OTHER = ("other", "Redis refuses a command ({code}): {text}")


def refusal(error: BaseException) -> tuple[str, str]:
    """Return the kind of what the server refuses, and words with what ends it; nothing where it is away.

    A lost group, or a wait that it ended, is no refusal: who notices begins anew at once.
    """
    if not isinstance(error, RedisError):
        return "", ""
    text = str(error).strip()
    first = text.split(" ", 1)[0]
    # redis-py takes the first word off the texts that it knows
    code = error.status_code or (first if first.isupper() else "")
    if not code or code in ("NOGROUP", "UNBLOCKED"):
        return "", ""
    kind, words = _WORDS.get(code, _OTHER)
    return kind, words.format(code=code, text=text[:200])


class Refusals:
    """What is refused to each part of a wire, until the same part succeeds."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[str, str]] = {}
        self._away: dict[str, str] = {}

    def note(self, part: str, error: BaseException) -> bool:
        """Note what became of `part`; tell whether that is news."""
        before, now = self._told.get(part), refusal(error)
        self._told[part], self._away[part] = now, "" if now[0] else away(error)
        return not all(now) or now != before

    def over(self, part: str) -> None:
        """Note that `part` succeeded."""
        self._told.pop(part, None)
        self._away.pop(part, None)

    def why_away(self, part: str) -> str:
        """Return why the server was not reached by `part`; "" where it was, or nobody knows."""
        return self._away.get(part, "")

    @property
    def found(self) -> dict[str, str]:
        """Return kind → what is refused, in plain words."""
        told: dict[str, list[str]] = {}
        for kind, words in self._told.values():
            if words:
                told.setdefault(kind, []).append(words)
        return {kind: "; ".join(dict.fromkeys(each)) for kind, each in told.items()}
