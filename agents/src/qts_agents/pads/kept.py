"""The state of PADS as bytes and back: what a header in the middle of a journal holds (pure).

It is saved between rounds only, so that nothing under way has to be described.
"""

from __future__ import annotations

from qts_agents import graph
from qts_agents.kernels.indicators import Indicators
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.actions import Action
from qts_agents.pads.agent import CODE, Pads
from qts_agents.pads.authority import Authority
from qts_agents.pads.baselines import Baselines
from qts_agents.pads.changepoint import ChangePoints
from qts_agents.pads.cycle import Cycle
from qts_agents.pads.desk import Desk, Quotes
from qts_agents.pads.hmm import Hmm, Parameters
from qts_agents.pads.margin import Margin
from qts_agents.pads.outcomes import Frequencies, Outcomes, Waiting
from qts_agents.pads.panarchy import Panarchy
from qts_agents.pads.regime import Regime
from qts_agents.pads.reputation import Reputation
from qts_agents.pads.risk import Risk
from qts_agents.pads.rounds import Circuit, Rounds
from qts_agents.pads.scale import Ring, Scale
from qts_agents.pads.scorecard import Scorecard
from qts_agents.pads.shapley import Credit
from qts_agents.pads.warning import Tally, Trend, Watch
from qts_core.spec import System
from qts_messaging.messages import RiskAlert

#: every class that a PADS is made of
KNOWN: graph.Table = {
    kind.__name__: kind
    for kind in (
        Account, Authority, Bar, Baselines, ChangePoints, Circuit, Credit, Cycle, Desk, Frequencies, Hmm,
        Indicators, Margin, Outcomes, Pads, Panarchy, Parameters, Quotes, Regime, Reputation, Ring, Risk,
        RiskAlert, Rounds, Scale, Scorecard, Tally, Trend, Waiting, Watch,
    )
}  # fmt: skip


def save(pads: Pads) -> bytes:
    """Return everything that `pads` is, but for its settings."""
    pads.settle()
    return graph.dump(pads, CODE, KNOWN)


def restore(raw: bytes, system: System) -> Pads:
    """Return the PADS that `save` described; ConfigError when it is damaged or does not fit."""
    return graph.load(raw, Pads, CODE, KNOWN, (system, system.pads))


def checkpoint(pads: Pads, now_ns: int) -> list[Action]:
    """Return a header that holds the state, from which a journal can be read without what is before it.

    Nothing while a round is under way.
    """
    return pads.begin(pads.system_name, now_ns, save(pads)) if pads.between_rounds else []
