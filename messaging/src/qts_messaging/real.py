"""The real bus: ZeroMQ, Redis channels and Redis Streams, with this process's keys and password."""

from __future__ import annotations

import msgspec

from qts_core.acl import TRIMMER
from qts_core.clock import SystemClock
from qts_core.errors import ConfigError
from qts_core.roster import BY_WIRE
from qts_core.spec import System
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.keys import CurveKeys, load_curve
from qts_messaging.redis_connection import Door
from qts_messaging.redis_names import RedisNames
from qts_messaging.redis_pubsub import RedisTopics
from qts_messaging.redis_streams import RedisStreams
from qts_messaging.rotation import Rotation
from qts_messaging.standby import Standby
from qts_messaging.zeromq import ZeroMQ


def real_bus(system: System, options: BusOptions) -> Fabric:
    """Return a bus over the real wires, not yet started."""
    clock = options.clock or SystemClock()
    options = msgspec.structs.replace(options, epoch_ns=options.epoch_ns or clock.wall_ns(), clock=clock)
    return Fabric(system, options, real_wires(system, options))


def real_wires(system: System, options: BusOptions) -> Wires:
    """Return the real wires of one process, not yet started; `options` has its epoch."""
    epoch = options.epoch_ns
    name, names = options.name, RedisNames(options.system_name, options.name)
    door, keys = Door(system.redis_url, options.secrets, name), _curve(system, options)
    direct = ZeroMQ(name, options.bind, options.peers, keys)
    topics = RedisTopics(door, names, epoch)
    off = frozenset(w for w, load in BY_WIRE.items() if load.agent and not system.enabled(w))
    streams = RedisStreams(door, names, (*BY_WIRE, *options.peers), trims=name == TRIMMER, gone=off)
    rotation = Rotation(options, keys, direct, door, topics, streams)
    return Wires(direct, topics, streams, rotation, Standby(door, names, epoch))


def _curve(system: System, options: BusOptions) -> CurveKeys | None:
    """Read the CURVE keys; None only where the configuration says so."""
    if system.messaging.encryption == "none":
        return None
    if options.secrets is None:
        raise ConfigError(
            "messaging.encryption is curve, but there is no secrets folder: set QTS_SECRETS, "
            "or messaging.encryption to none"
        )
    return load_curve(options.secrets, options.name)
