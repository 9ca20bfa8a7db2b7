"""Situations, ballots and views of one symbol in which nothing happens, for tests to change."""

import numpy as np

from qts_agents.kernels.indicators import Indicators
from qts_agents.pads import styles, veto
from qts_agents.pads.board import Situation, decide
from qts_agents.pads.members import Ballot, empty_ballot
from qts_agents.pads.tables import REASONS, UNKNOWN
from qts_core.sections import PadsSettings
from qts_messaging.messages import ACTIONS

FIELDS = Indicators.__struct_fields__
CALM = {"volatility": 0.5, "rsi": 50.0, "adx": 20.0, "sigma20": 0.001, "sigma100": 0.001, "ews": 0.5}
WEIGHTS = {"qar": 0.30, "qstar": 0.25, "antifragility": 0.20, "consensus": 0.15, "adaptability": 0.10}


def calm(S=1, **changes):
    values = dict.fromkeys(FIELDS, 0.0) | CALM | changes
    return Indicators(**{k: np.broadcast_to(np.float64(v), (S,)).copy() for k, v in values.items()})


def cautions(ind, af, returns):
    return veto.market_bits(
        veto.Caution(
            returns=returns,
            volume=np.ones((len(af), 10)),
            tail=ind.tail,
            volatility=ind.volatility,
            ews=ind.ews,
            illiquidity=ind.illiquidity,
            af=af,
        )
    )


def situation(S=1, ind=None, returns=None, **changes):
    quiet = np.tile([0.001, -0.001], (S, 60)) * np.tile([1, 1, -1, 1, -1, 1], (S, 20))
    ind = calm(S) if ind is None else ind
    af = changes.get("af", np.full(S, np.nan))
    row = {
        "phase": UNKNOWN,
        "regime": "normal",
        "bar_s": 60.0,
        "ind": ind,
        "cautions": cautions(ind, af, quiet if returns is None else returns),
        "imbalance": np.full(S, np.nan),
        "spread": np.full(S, np.nan),
        "cost": np.full(S, 0.001),
        "af": af,
        "frequencies": np.full((S, 3), 1 / 3),
        "flat_share": np.full(S, 1 / 3),
        "reputation": dict.fromkeys(WEIGHTS, 0.5),
        "weights": WEIGHTS,
        "appetite": np.full(S, 0.5),
        "exposure": np.zeros(S),
        "stopped": np.ones(S, dtype=bool),
        "liquidation_risk": np.full(S, np.nan),
        "bars_since_entry": np.zeros(S, dtype=np.int64),
        "horizon": 30,
        "reduce": np.zeros(S, dtype=bool),
        "manipulated": np.zeros(S, dtype=bool),
        "drawdown": 0.0,
    }
    return Situation(**(row | changes))


def ballot(rows, actions=None, S=1):
    made = empty_ballot(S)
    p, action = made.p, made.action
    for a, row in enumerate(rows):
        p[:, a] = row
    voted = np.isfinite(p).all(axis=2)
    if actions is not None:
        action[:, : len(actions)] = actions
    return Ballot(p=p, action=action, confidence=made.confidence, voted=voted)


def said(up, n=3):
    return [[up, 0.34, 0.66 - up]] * n


def verdict(b, now, **settings):
    return decide(b, now, PadsSettings(**settings))


def act(b, now, **settings):
    made = verdict(b, now, **settings)
    return ACTIONS[made.action[0]], REASONS[made.reason[0]]


def view(d=0.0, af=np.nan, phase=UNKNOWN, stopped=True, ind=None, **numbers):
    values = {"maker_s": np.nan, "maker_c": np.nan, "signal": 0.0, "dissent": 0.0} | {
        "mean_vote": 0.0,
        "agreement": 0.0,
    }
    cells = {k: np.array([v]) for k, v in (values | numbers).items()}
    scaled = np.clip(cells["signal"] / 0.05, -1, 1)
    return styles.View(
        ind=calm(**(ind or {})),
        af=np.array([af]),
        phase=phase,
        d=np.array([d]),
        stopped=np.array([stopped]),
        scaled=scaled,
        **cells,
    )
