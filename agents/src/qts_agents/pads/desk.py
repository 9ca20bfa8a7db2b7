"""All that PADS knows about one set of symbols in one epoch, one step a bar (pure)."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import Any, ClassVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from qts_agents.agent import F8
from qts_agents.columns import array
from qts_agents.kernels.convexity import antifragility, convexity_t
from qts_agents.kernels.indicators import Indicators
from qts_agents.pads import styles, veto
from qts_agents.pads.account import Account, Bar
from qts_agents.pads.authority import Authority
from qts_agents.pads.board import Situation, Verdict, decide, entries, hedging
from qts_agents.pads.margin import margin_of
from qts_agents.pads.members import QUORUM, Ballot, empty_ballot, maker_view
from qts_agents.pads.outcomes import Frequencies, Outcomes, Resolved, Waiting
from qts_agents.pads.panarchy import Panarchy, Step
from qts_agents.pads.reputation import Reputation
from qts_agents.pads.risk import Risk
from qts_agents.pads.scale import KEPT, Ring
from qts_agents.pads.scorecard import Scorecard
from qts_agents.pads.shapley import Credit
from qts_agents.pads.tables import HOLD, base_weights
from qts_core.spec import System
from qts_messaging.messages import MarketUpdate

WARM_BARS = 320
CONVEXITY_BARS = 250
NEVER = -(2**40)


class Quotes(msgspec.Struct, frozen=True):
    """Newest quotes and costs; [S], NaN without quotes."""

    spread: F8
    imbalance: F8
    depth: F8
    cost: F8  # round trip, fraction of price


class Outlook(msgspec.Struct, frozen=True):
    """What a decision needs of the bars alone."""

    bars: int  # taken so far
    af: F8
    cautions: NDArray[np.uint32]


class Turn(msgspec.Struct, frozen=True):
    """What one bar brought."""

    step: Step
    resolved: list[Resolved]


class Desk:
    """Panarchy, account, risk, records of S symbols."""

    TRANSIENT: ClassVar[dict[str, Any]] = {"_outlook": None}  # follows from the rest
    _outlook: Outlook | None

    def __init__(self, symbols: tuple[str, ...], system: System) -> None:
        S = len(symbols)
        self.symbols, self._system = symbols, system
        self.panarchy = Panarchy(S, system.pads, system.system_seed)
        self.authority = Authority(system.pads)
        self.bar_s = 1.0
        self.asof_ns = 0
        self.seq = -1
        self.bars = 0
        self.ind: Indicators | None = None
        self._quotes: Quotes | None = None
        self._digests: deque[bytes] = deque(maxlen=KEPT)  # of each bar kept: hashing all again costs a round
        hedge = system.pads.hedge_symbol
        self._hedge = symbols.index(hedge) if hedge in symbols else -1
        self.forget()

    def forget(self) -> None:
        """Begin anew with everything learned or held; the market's history stays."""
        S = len(self.symbols)
        self.account = Account(S, margin_of(self._system.pads))
        self.risk = Risk(self.symbols, self._system.pads)
        self.frequencies = Frequencies(S)
        self.outcomes = Outcomes(self._system.horizon_bars)
        self.weights = base_weights(self._system.board())
        pads = self._system.pads
        self.reputation = Reputation(tuple(self.weights), pads.reputation_rate, pads.reputation)
        self.credit = Credit(tuple(self.weights))
        self.scorecard = Scorecard(tuple(self.weights))
        self.af = np.full(S, np.nan)
        self._pool_side = np.full(S, np.nan)
        self._pnl, self._sigma = Ring(S, CONVEXITY_BARS + 1), Ring(S, CONVEXITY_BARS + 1)
        self._entered = np.full(S, NEVER, dtype=np.int64)
        self._hedged = np.zeros(S, dtype=np.bool_)  # rows that the hedge symbol stands against
        self._outlook = None

    @property
    def warm(self) -> bool:
        """Tell whether the windows of all agents are full."""
        return self.bars >= WARM_BARS

    @property
    def quotes(self) -> Quotes:
        """Return the newest quotes."""
        if self._quotes is None:
            nan = np.full(len(self.symbols), np.nan)
            return Quotes(nan, nan, nan, np.zeros(len(self.symbols)))
        return self._quotes

    def on_bar(self, update: MarketUpdate, k: int) -> Turn:
        """Take column `k` of an update: fill orders, move the cycles, resolve what is due."""
        bar, self._quotes = _read(update, k)
        self.bars += 1
        self.seq = update.seq - (array(update.close_ns).shape[0] - 1 - k)
        self.asof_ns, self.bar_s = bar.close_ns, update.bar_s
        self.account.on_bar(bar)
        done = self.panarchy.push(bar, self.seq)
        micro = self.panarchy.scales["micro"]
        self._digests.append(hashlib.sha256(micro.newest()).digest())
        self._pnl.push(self._pool_side * micro.returns(1)[:, 0])
        self._sigma.push(micro.sigma20)
        spread = self.quotes.spread
        self.ind = self.panarchy.micro(spread)
        step = self.panarchy.step(done, self.ind, self.af, spread)
        self.risk.step(self._appetite())
        resolved = self.outcomes.on_bar(bar, self.bars, self.account)
        for one in resolved:
            self._learn(one)
        return Turn(step, resolved)

    def _appetite(self) -> F8:
        """Return the target appetite A* [S] of the style that fits this bar."""
        ind, quotes = self.ind, self.quotes
        assert ind is not None  # noqa: S101
        maker = maker_view(quotes.imbalance, quotes.spread, ind.ema20_gap, ind.sigma20)
        return styles.appetite(ind, self.af, *maker, self.panarchy.held)

    def _learn(self, one: Resolved) -> None:
        w = one.waiting
        self.frequencies.learn(one.outcome, w.phase)
        self.credit.learn(w, one.outcome)
        self.scorecard.learn(w, one.outcome)
        self.reputation.learn(one.hindsight.score, one.hindsight.said)

    def outlook(self) -> Outlook:
        """Return what follows from the bars alone; a round asks for it before it asks the voters."""
        ind, known = self.ind, self._outlook
        assert ind is not None  # noqa: S101
        if known is not None and known.bars == self.bars:
            return known
        micro = self.panarchy.scales["micro"]
        pnl, sigma = self._pnl.view(CONVEXITY_BARS + 1), self._sigma.view(CONVEXITY_BARS + 1)
        af = antifragility(convexity_t(pnl[:, 1:], sigma))
        caution = veto.Caution(
            returns=micro.returns(veto.RETURNS),
            volume=micro.volumes(veto.VOLUMES),
            tail=ind.tail,
            volatility=ind.volatility,
            ews=ind.ews,
            illiquidity=ind.illiquidity,
            af=af,
        )
        self._outlook = Outlook(self.bars, af, veto.market_bits(caution))
        return self._outlook

    def situation(self, now_ns: int) -> Situation:
        """Return what the board looks at now; it takes the alerts' proposals, so call it once a round."""
        assert self.ind is not None  # noqa: S101
        outlook, account = self.outlook(), self.account
        self.af = outlook.af
        return Situation(
            phase=self.panarchy.held,
            regime=self.panarchy.regime_name(self.ind),
            bar_s=self.bar_s,
            ind=self.ind,
            cautions=outlook.cautions,
            imbalance=self.quotes.imbalance,
            spread=self.quotes.spread,
            cost=self.quotes.cost,
            af=self.af,
            frequencies=self.frequencies.in_phase(self.panarchy.held),
            flat_share=self.frequencies.flat_share(),
            reputation=self.reputation.by_seat(),
            weights=self.weights,
            appetite=self.risk.appetite,
            exposure=account.exposure(),
            stopped=np.isfinite(account.stop),
            liquidation_risk=account.liquidation_risk(),
            bars_since_entry=self.bars - self._entered,
            horizon=self._system.horizon_bars,
            reduce=self.risk.proposals(),
            manipulated=self.risk.manipulated(now_ns),
            drawdown=account.drawdown,
            hedge=self._hedge,
            hedged=self._hedged,
        )

    def decide(self, ballot: Ballot | None, now: Situation, ids: tuple[str, str, int]) -> Verdict:
        """Decide, order what was decided, and wait for its outcome.

        `ids` are decision, round and the time that it was asked about; the horizon counts from now.
        """
        verdict = decide(ballot or empty_ballot(len(self.symbols)), now, self._system.pads)
        self.risk.reduce |= now.reduce & (verdict.quorum < QUORUM)  # nobody heard what the alert asks for
        entry = entries(verdict.action) & (verdict.size != 0.0)
        hedge = (verdict.action == HOLD) & (verdict.size != 0.0)
        self.account.order(verdict.size, entry | hedge, verdict.stop, verdict.targets)
        self._hedged = hedging(verdict.action, now)
        self._entered = np.where(self.account.planned, self.bars, self._entered)
        self._pool_side = np.sign(verdict.signal)
        self.outcomes.add(
            Waiting(
                decision_id=ids[0],
                round_id=ids[1],
                asof_ns=ids[2],
                phase=now.phase,
                made=self.bars,
                pi=verdict.pi,
                p=verdict.pool.p,
                without=verdict.pool.leave_one_out,
                omega=verdict.omega,
                prior=verdict.prior,
                share=verdict.pool.share,
                cost=now.cost,
                sigma100=now.ind.sigma100,
                earned=self.account.earned(),
                equity=self.account.equity,
            )
        )
        return verdict

    def window(self) -> tuple[int, int, str]:
        """Return newest bar, its time, and the SHA-256 of the SHA-256 of each bar kept, oldest first."""
        return self.seq, self.asof_ns, hashlib.sha256(b"".join(self._digests)).hexdigest()

    def is_open(self) -> NDArray[np.bool_]:
        """Tell which symbols hold a position."""
        return np.asarray(self.account.qty != 0.0)


def _read(update: MarketUpdate, k: int) -> tuple[Bar, Quotes]:
    """Return column `k` of an update, and its quotes and costs; what stands in an invalid bar is not read."""
    spread = array(update.spread)
    paid = np.where(np.isfinite(spread), spread, update.spread_assumed)
    close = array(update.close)[:, k]
    valid = (array(update.valid)[:, k] != 0) & np.isfinite(close) & (close > 0.0)
    columns = [array(c)[:, k] for c in (update.open, update.high, update.low, update.close, update.volume)]
    table = np.where(valid, np.array(columns, dtype=np.float64), np.nan)
    prices = table[:3]
    opened, high, low = np.where(prices > 0.0, prices, np.nan)  # 0 says: none
    close, volume = table[3:]
    bar = Bar(
        close_ns=int(array(update.close_ns)[k]),
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        valid=valid,
        fee=update.fee,
        half_spread=0.5 * paid,
    )
    return bar, Quotes(spread, array(update.imbalance), array(update.depth), 2.0 * update.fee + paid)
