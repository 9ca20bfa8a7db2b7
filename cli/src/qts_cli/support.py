"""`qts support`: one archive with everything about a system, and what the operator's own checks say of it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from qts_cli import plan_cluster, support_bundle, support_explain
from qts_cli.__main__ import environment
from qts_cli.support_bundle import SYSTEM
from qts_core.errors import ConfigError, QtsError
from qts_operator.cluster import SYSTEMS, Cluster
from qts_operator.explain import lines

WHOLE_S = 60.0  # that a bundle may take; what gathering leaves of it is the plans', and at least:
PLAN_S = 10.0
app = App(name="support", help="Gather a system's state in one archive, or explain such an archive.")


@app.default
def support(
    name: str | None = None,
    *,
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    every: Annotated[bool, Parameter(name="--all", negative=())] = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    operator_namespace: str = "qts-system",
) -> int:
    """Write what the cluster holds of NAME, with logs and metrics, into a .tar.gz without any secret.

    Parameters
    ----------
    name
        A system in the cluster that kubectl talks to.
    namespace
        Namespace of the system; without it "default", or all with --all.
    every
        Every system instead of NAME, each in a folder of its own.
    output
        The file to write; without it support-NAMESPACE-NAME.tar.gz here.
    operator_namespace
        Namespace of the operator.
    """
    if (name is None) is not every:
        raise ConfigError("give either the NAME of a system or --all")
    if output is not None and not output.resolve().parent.is_dir():
        raise ConfigError(f"--output {output}: there is no folder {output.parent}")
    begun = time.monotonic()
    if name is not None:
        where = namespace or "default"
        bundle, stem = asyncio.run(support_bundle.gather(where, name, operator_namespace)), f"{where}-{name}"
    else:
        bundle, stem = (
            asyncio.run(support_bundle.gather_all(namespace, operator_namespace)),
            namespace or "all",
        )
    left_s = max(PLAN_S, WHOLE_S - (time.monotonic() - begun))
    asyncio.run(_plans(bundle, operator_namespace, left_s))
    target = output or Path(f"support-{stem}.tar.gz")
    size = bundle.write(target)
    print(f"{target}: {len(bundle.files)} files, {size} bytes")
    for file, why in sorted(bundle.missing.items()):
        print(f"missing {file}: {why}")
    return 0


async def _plans(bundle: support_bundle.Bundle, operator_namespace: str, left_s: float) -> None:
    """Keep what the operator would do now, without values; asked anew, for the bundle hides some."""
    found = {file: json.loads(raw)["metadata"] for file, raw in bundle.files.items() if file.endswith(SYSTEM)}
    left = {
        f"{file.removesuffix(SYSTEM)}plan.txt": (of["namespace"], of["name"]) for file, of in found.items()
    }
    try:
        async with asyncio.timeout(left_s), plan_cluster.opened(environment().get("KUBECONFIG")) as api:
            for file, key in [*left.items()]:
                bundle.put(file, support_bundle.hide(await _plan(api, *key, operator_namespace)))
                del left[file]
    except (QtsError, TimeoutError) as error:
        why = support_bundle.hide(str(error) or f"no answer within {left_s:.0f} s")
        bundle.missing |= dict.fromkeys(left, why)


async def _plan(api: Cluster, namespace: str, name: str, operator_namespace: str) -> str:
    live = await api.get(SYSTEMS, namespace, name)
    if live is None:
        return "# the system is gone\n"
    told = await plan_cluster.planned(api, live, operator_namespace)
    text = [*(f"# {note}" for note in told.notes), *(lines(told.actions, told.live) or ["# nothing to do"])]
    return "\n".join(text) + "\n"


@app.command
def explain(file: Path) -> int:
    """Say what the operator stored and what its own checks find in the rest; exit 1 when something is wrong.

    Parameters
    ----------
    file
        A .tar.gz of qts support.
    """
    told = [support_explain.explain(held) for held in support_explain.read(file)]
    print("\n\n".join("\n".join(lines) for lines, _ in told))
    return 0 if all(well for _, well in told) else 1
