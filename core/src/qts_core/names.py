"""Every label, object name, port, path and environment variable that two places must agree on."""

from __future__ import annotations

GROUP = "quantumtrading.io"
VERSION = "v1alpha1"
KIND = "QuantumTradingSystem"
PLURAL = "quantumtradingsystems"
SHORT = "qts"
API_VERSION = f"{GROUP}/{VERSION}"
CRD_NAME = f"{PLURAL}.{GROUP}"

#: the value of a label, or its key behind the prefix
LABEL_WORD = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

FIELD_MANAGER = "qts-operator"
STATUS_MANAGER = "qts-operator-status"
HANDOVER_MANAGER = "qts-operator-handover"  # holds the replicas until an autoscaler's first write

LABEL_NAME = "app.kubernetes.io/name"
LABEL_INSTANCE = "app.kubernetes.io/instance"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_VERSION = "app.kubernetes.io/version"
LABEL_SYSTEM = f"{GROUP}/system"
LABEL_AGENT = f"{GROUP}/agent"
APP_NAME = "quantum-trading-system"
MANAGED_BY = "qts-operator"

ANNOTATION_TEMPLATE_REVISION = f"{GROUP}/template-revision"
ANNOTATION_TEMPLATE_HASH = f"{GROUP}/template-hash"
ANNOTATION_DEFAULT_IMAGES = f"{GROUP}/default-images"
ANNOTATION_CONFIG_HASH = f"{GROUP}/config-hash"
ANNOTATION_HOLDERS = f"{GROUP}/holders"
ANNOTATION_CREDENTIALS = f"{GROUP}/credentials"
ANNOTATION_ACL = f"{GROUP}/acl"
ANNOTATION_REPLICAS_BEFORE_SUSPEND = f"{GROUP}/replicas-before-suspend"

PORT_HTTP = 8080
PORT_METRICS = 9464
PORT_REDIS = 6379
PORT_OTLP = 4318  # of OTLP over HTTP, as collectors listen

PATH_STARTUP = "/startupz"
PATH_LIVE = "/livez"
PATH_READY = "/readyz"
PATH_STATUS = "/statusz"
PATH_BOOK = "/bookz"  # what became of every message, as this process knows it
PATH_SCORES = "/scorez"  # how good forecasts were, as PADS knows it
PATH_KEPT = "/keptz"  # the last rounds that went wrong or were slow, as this process noted them
PATH_METRICS = "/metrics"

DIR_CONFIG = "/etc/qts"
CONFIG_FILE = "system.json"
DIR_STATE = "/var/lib/qts"
DIR_CACHE = "/var/cache/qts"
DIR_DATA = "/data"

ENV_CONFIG = "QTS_CONFIG"
ENV_SECRETS = "QTS_SECRETS"
ENV_STATE = "QTS_STATE"
ENV_SYSTEM = "QTS_SYSTEM"
ENV_HTTP_PORT = "QTS_HTTP_PORT"
ENV_METRICS_PORT = "QTS_METRICS_PORT"
ENV_PEERS = "QTS_PEERS"
ENV_BIND = "QTS_BIND"
ENV_KERNELS = "QTS_KERNELS"  # where an image keeps compiled kernels
ENV_KERNEL_CACHE = "NUMBA_CACHE_DIR"
#: threads of BLAS begin when numpy is loaded, and spin: a tenth of a second of a core in each process, and
#: our small matrices need none; besides, who replays a journal adds in the order in which it was written
ONE_BLAS_THREAD = ("OPENBLAS_NUM_THREADS", "1")
#: names that begin like configuration overrides but are paths, addresses or ports of one process
ENV_RESERVED = frozenset(
    {
        ENV_CONFIG,
        ENV_SECRETS,
        ENV_STATE,
        ENV_SYSTEM,
        ENV_HTTP_PORT,
        ENV_METRICS_PORT,
        ENV_PEERS,
        ENV_BIND,
        ENV_KERNELS,
    }
)

AGENTS_SERVICE_ACCOUNT = "agents"
CURVE_SECRET = "curve"  # noqa: S105 - the name of an object
REDIS_SECRET = "redis-auth"  # noqa: S105 - the name of an object
REDIS_PART = "redis"
REDIS_SIDE = "acl"  # the container beside it, of the agents' image
CONFIG_PART = "config"


def part(system: str, name: str) -> str:
    """Return the name of the object `name` of `system`."""
    return f"{system}-{name}"


#: what is said to all on channels
BROADCAST_TOPICS: tuple[str, ...] = ("market", "status")


#: the longest argument that our Redis takes, before it makes room for it: two of our frames
REDIS_LONGEST = "2mb"
#: before the writer's name, with which every key and channel ends
WRITER_MARK = "@"


def redis_prefix(system: str) -> str:
    """Return the prefix of every key and channel; the braces keep a system in one Cluster slot."""
    return f"qts:{{{system}}}:"


def redis_heard(system: str, name: str) -> tuple[str, ...]:
    """Return the patterns of channels that the agent `name` hears: every topic by whoever, and its own."""
    topics = (*BROADCAST_TOPICS, f"to.{name}")
    return tuple(f"{redis_prefix(system)}{topic}{WRITER_MARK}*" for topic in topics)
