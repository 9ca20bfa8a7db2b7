"""The real bus: ZeroMQ, Redis channels and Redis Streams, with this process's keys and password."""

from __future__ import annotations

import msgspec

from qts_core.clock import SystemClock
from qts_core.errors import ConfigError
from qts_core.names import redis_prefix
from qts_core.spec import System
from qts_messaging.bus import BusOptions, Wires
from qts_messaging.fabric import Fabric
from qts_messaging.keys import CurveKeys, load_curve
from qts_messaging.redis_connection import Door
from qts_messaging.redis_pubsub import RedisTopics
from qts_messaging.redis_streams import RedisStreams
from qts_messaging.rotation import Rotation
from qts_messaging.zeromq import ZeroMQ

TRIMMER = "pads"


def real_bus(system: System, options: BusOptions) -> Fabric:
    """Return a bus over the real wires, not yet started."""
    clock = options.clock or SystemClock()
    options = msgspec.structs.replace(options, epoch_ns=options.epoch_ns or clock.wall_ns(), clock=clock)
    return Fabric(system, options, real_wires(system, options))


def real_wires(system: System, options: BusOptions) -> Wires:
    """Return the real wires of one process, not yet started; `options` has its epoch."""
    epoch = options.epoch_ns
    prefix, name = redis_prefix(options.system_name), options.name
    door, keys = Door(system.redis_url, options.secrets, name), _curve(system, options)
    direct = ZeroMQ(name, options.bind, options.peers, keys)
    topics = RedisTopics(door, prefix, name, epoch)
    streams = RedisStreams(door, prefix, name, trims=name == TRIMMER)
    rotation = Rotation(options, keys, direct, door, topics, streams)
    return Wires(direct, topics, streams, rotation)


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
