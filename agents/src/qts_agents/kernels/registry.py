"""Every kernel with its forms, tolerance and source: python -m qts_agents.kernels.registry prints the table.

A name is `module.function` below `qts_agents.kernels`, or below `qts_agents` where it begins with another
folder. The forms of a kernel are the functions that its entry calls, by the name under which it calls them.
The plain form (numpy or Python) is what the compiled one must equal within the tolerance, absolute and
relative to each value.
A new kernel is one row here and one case of tests/property/cases_*.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import msgspec


class Kernel(msgspec.Struct, frozen=True):
    """One algorithm."""

    entry: str  # what agents call
    paper: str
    reference: str = ""  # plain form; empty: the entry itself is plain numpy and has no other form
    cpu: str = ""  # numba
    cuda: str = ""  # numba.cuda
    tolerance: float = 0.0


KERNELS: tuple[Kernel, ...] = (
    Kernel("adwin.adwin", "Bifet & Gavaldà 2007", "adwin.update_reference", "adwin._update", "", 1e-9),
    Kernel("cluster.cluster", "MacQueen 1967", "cluster.cluster_reference", "cluster._cluster", "", 1e-6),
    Kernel(
        "convexity.convexity_t", "Newey & West 1987; Taleb & Douady 2013",
        "convexity.rows_reference", "convexity._rows", "", 1e-9,
    ),
    Kernel(
        "ewa.ewa", "Camerer & Ho 1999",
        "ewa.ewa_reference", "ewa._populations", "ewa_gpu.populations", 1e-10,
    ),
    Kernel(
        "ewa.regret_match", "Hart & Mas-Colell 2000",
        "ewa.regret_match_reference", "ewa._match", "ewa_gpu.match", 1e-10,
    ),
    Kernel(
        "ewl.ewl", "Eisert, Wilkens & Lewenstein 1999",
        "ewl.ewl_reference", "ewl._payoffs", "ewl_gpu.payoffs", 1e-12,
    ),
    Kernel(
        "ewl.play", "Eisert, Wilkens & Lewenstein 1999", "ewl.games", "ewl._games", "ewl_gpu.games", 1e-9
    ),
    Kernel("factors.factors", "agents.md §5", "factors.reference_rows", "factors.factor_rows", "", 1e-9),
    Kernel(
        "half_space.score", "Tan, Ting & Liu 2011", "half_space.score_reference", "half_space._score",
    ),
    Kernel("hedge.hedge_update", "Freund & Schapire 1997"),
    Kernel(
        "hmm_filter.hmm_filter", "Hamilton 1989; Rabiner 1989",
        "hmm_filter.rows_reference", "hmm_filter._rows", "hmm_filter_gpu.rows", 1e-10,
    ),
    Kernel("impact.impact", "Kyle 1985", "impact.rows_reference", "impact._rows", "", 1e-9),
    Kernel(
        "indicators.indicators", "Wilder 1978; Hill 1975; agents.md §1.8",
        "indicators.reference_rows", "indicators.indicator_rows", "", 1e-9,
    ),
    Kernel(
        "lemke_howson.nash_one", "Lemke & Howson 1964; von Stengel 2002",
        "lemke_howson.batch_reference", "lemke_howson._batch", "lemke_howson_gpu.batch", 1e-10,
    ),
    Kernel(
        "market_game.payoffs", "agents.md §4", "market_game.rows_reference", "market_game._rows", "", 1e-12
    ),
    Kernel("logs.log", "fdlibm, Sun Microsystems 1993", "logs.log_reference", "logs._log", "", 1e-15),
    Kernel(
        "nash.nash_all", "Porter, Nudelman & Shoham 2008; von Stengel 2002",
        "nash._all_reference", "nash._all", "", 1e-10,
    ),
    Kernel(
        "nash.nash_choice", "Porter, Nudelman & Shoham 2008",
        "nash._choose_reference", "nash._choose", "nash_gpu.choose", 1e-10,
    ),
    Kernel(
        "online.calibrate", "agents.md §1.3", "online.calibrate_reference", "online._calibrate", "", 1e-12
    ),
    Kernel(
        "online.hedge_rows", "Freund & Schapire 1997; Herbster & Warmuth 1998",
        "online.hedge_reference", "online._hedge", "", 1e-12,
    ),
    Kernel(
        "online.logistic_rows", "Robbins & Monro 1951",
        "online.logistic_reference", "online._logistic", "", 1e-12,
    ),
    Kernel(
        "online.nlms_rows", "Nagumo & Noda 1967; Duchi et al. 2008",
        "online.nlms_reference", "online._nlms", "", 1e-12,
    ),
    Kernel("outcomes.classify", "agents.md §1.3"),
    Kernel("pelt.pelt", "Killick, Fearnhead & Eckley 2012", "pelt.search_reference", "pelt._search"),
    Kernel(
        "permutation.round_trips", "Fisher 1935; Durstenfeld 1964; Phipson & Smyth 2010",
        "permutation.trips_reference", "permutation._trips", "permutation_gpu.round_trips", 1e-12,
    ),
    Kernel("phase.last_rank", "agents.md §3", "phase.ranks_reference", "phase._ranks"),
    Kernel("phase.newest_rank", "agents.md §3", "phase.ranks_reference", "phase._ranks"),
    Kernel("phase.recent", "Box & Jenkins 1970", "phase.recent_reference", "phase._recent", "", 1e-12),
    Kernel("phase.pcr_phase", "Gunderson & Holling 2002; agents.md §3"),
    Kernel("philox.uniforms", "Salmon et al. 2011", "philox.uniform", "philox._uniforms"),
    Kernel("philox.normal_rows", "Wichura 1988 (AS 241)", "philox.normals_reference", "philox._normals"),
    Kernel(
        "pool.lmsr_pool", "Hanson 2003, 2007",
        "pool.lmsr_reference", "pool._lmsr_kernel", "pool_gpu.lmsr", 1e-12,
    ),
    Kernel(
        "pool.log_pool", "Genest & Zidek 1986",
        "pool.log_pool_reference", "pool._log_pool_kernel", "", 1e-12,
    ),
    Kernel("prospect.prospect_value", "Tversky & Kahneman 1992", cuda="prospect_gpu.values"),
    Kernel(
        "qre.qre", "McKelvey & Palfrey 1995; Turocy 2005",
        "qre.follow_reference", "qre._follow", "qre_gpu.follow", 1e-10,
    ),
    Kernel(
        "qtable.train", "van Hasselt 2010; van Seijen et al. 2009",
        "qtable_reference.train", "qtable._train",
    ),
    Kernel(
        "qtable.serve", "van Hasselt 2010", "qtable_reference.serve", "qtable._serve", "qtable_gpu.serve"
    ),
    Kernel("readout.readout", "agents.md §6", "readout.readout_reference", "readout._readout", "", 1e-12),
    Kernel(
        "replicator.replicate", "Taylor & Jonker 1978; Taylor 1979",
        "replicator.flow_reference", "replicator._flow", "replicator_gpu.flow", 1e-10,
    ),
    Kernel("recall.recall", "agents.md §4", "recall.recall_reference", "recall._recall", "", 1e-12),
    Kernel(
        "reupload.forecast", "Pérez-Salinas et al. 2020",
        "reupload_reference.forecast", "reupload._forecast", "reupload_gpu.forecast", 1e-12,
    ),
    Kernel(
        "reupload.gradient", "Jones & Gacon 2020",
        "reupload_reference.gradient", "reupload._gradient", "", 1e-12,
    ),
    Kernel(
        "rolling.rolling_moments", "Chan, Golub & LeVeque 1983",
        "rolling._moments_reference", "rolling._moments", "rolling_gpu.moments", 1e-9,
    ),
    Kernel("rolling.rolling_rank", "agents.md §1.8", "rolling._ranks_reference", "rolling._ranks"),
    Kernel(
        "rolling.rolling_entropy", "Shannon 1948",
        "rolling._entropies_reference", "rolling._entropies", "", 1e-12,
    ),
    Kernel("scaling.scaled", "agents.md §1.8", "scaling.scaled_reference", "scaling._scaled"),
    Kernel("shapley.chances", "Hanson 2007", "shapley.chances_reference", "shapley._chances", "", 1e-12),
    Kernel("shapley.shapley", "Shapley 1953", "shapley.shapley_reference", "shapley._shapley", "", 1e-12),
    Kernel(
        "statevector.probabilities", "Nielsen & Chuang 2000",
        "statevector.probabilities_reference", "statevector._run", "statevector_gpu.run", 1e-12,
    ),
    Kernel(
        "surrogates.taus", "Theiler et al. 1992; Kendall 1938",
        "surrogates.taus_reference", "surrogates._taus", "surrogates_gpu.taus", 1e-12,
    ),
    Kernel("sumtree.update", "Schaul et al. 2016", "sumtree.update_reference", "sumtree._update"),
    Kernel("sumtree.sample", "Schaul et al. 2016", "sumtree.sample_reference", "sumtree._draw"),
    Kernel(
        "tiles.train", "Albus 1975; Sutton & Barto 2018, ch. 9.5.4; van Hasselt 2010",
        "tiles_reference.train", "tiles._train",
    ),
    Kernel(
        "tiles.serve", "Sutton & Barto 2018, ch. 9.5.4",
        "tiles_reference.serve", "tiles._serve", "tiles_gpu.serve",
    ),
    Kernel(
        "trend_convexity.trend_convexity", "Taleb & Douady 2013",
        "trend_convexity.rows_reference", "trend_convexity._rows", "", 1e-9,
    ),
    Kernel(
        "market.simulate.Simulation", "agents.md §7",
        "market.simulate.rows_reference", "market.simulate._rows_jit",
    ),
    Kernel(
        "pads.hmm.fit", "Hamilton 1989; Baum et al. 1970",
        "pads.hmm.smooth_reference", "pads.hmm._smooth", "", 1e-9,
    ),
    Kernel("pads.veto.market_bits", "agents.md §2.5", "pads.veto.rows_reference", "pads.veto._rows"),
)  # fmt: skip
#: files of this folder that hold no kernel of their own
PARTS: dict[str, str] = {
    "backend": "the switch between forms, threads, the count of compilations",
    "crossover": "which backend computes a batch, measured",
    "dominance": "which strategies `nash` need not try",
    "gpu": "the device: found, checked, given up",
    "inner": "how a function that only kernels call is compiled",
    "lanes": "what one circuit of a block does, on a CPU's vector unit or a GPU's thread",
    "launch": "one launch on a device",
    "linear": "small linear systems of `nash` and `qre`",
    "made": "the batches on which `crossover` times a kernel",
    "nth": "the k-th smallest number, for `indicators`",
    "registry": "this table",
    "sums": "short rows added as numpy adds them",
    "supports": "the pairs of supports that `nash` tries, and its room",
    "vertices": "which supports `nash` solves",
}
_FOLDERS = ("market.", "pads.")


def place(name: str) -> tuple[Any, str]:
    """Return the module and the attribute that a name of the table stands for."""
    module, _, attribute = name.rpartition(".")
    package = "qts_agents." if name.startswith(_FOLDERS) else "qts_agents.kernels."
    return importlib.import_module(package + module), attribute


def resolve(name: str) -> Callable[..., Any]:
    """Return the function that a name of the table stands for."""
    module, attribute = place(name)
    found: Callable[..., Any] = getattr(module, attribute)
    return found


def lines() -> list[str]:
    """Return the table for people."""
    forms = [(k.entry, k.reference, k.cpu, k.cuda, f"{k.tolerance:g}", k.paper) for k in KERNELS]
    rows = [("kernel", "reference", "CPU", "CUDA", "tolerance", "source"), *forms]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


if __name__ == "__main__":
    print("\n".join(lines()))  # noqa: T201 - what it is for
