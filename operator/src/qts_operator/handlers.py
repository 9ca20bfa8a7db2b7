"""For `kopf run -A -m qts_operator.handlers`: the engine under kopf's own process, set by environment."""

from __future__ import annotations

import kopf

from qts_operator.__main__ import options_of, parser
from qts_operator.main import Engine
from qts_operator.shell import registry_of

ENGINE = Engine(options_of(parser().parse_args([])))
registry_of(ENGINE, owns=True, registry=kopf.get_default_registry())
