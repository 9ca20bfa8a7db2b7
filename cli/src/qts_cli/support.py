"""`qts support`: one archive with everything about a system, and what the operator's own checks say of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from qts_cli import plan_cluster, support_bundle, support_explain
from qts_cli.__main__ import environment
from qts_core.errors import ConfigError, QtsError
from qts_operator.cluster import SYSTEMS
from qts_operator.explain import lines

PLAN_S = 10.0  # the rest of the minute that a bundle may take
app = App(name="support", help="Gather a system's state in one archive, or explain such an archive.")


@app.default
def support(
    name: str,
    *,
    namespace: Annotated[str, Parameter(name=["--namespace", "-n"])] = "default",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    operator_namespace: str = "qts-system",
) -> int:
    """Write what the cluster holds of NAME, with logs and metrics, into a .tar.gz without any secret.

    Parameters
    ----------
    name
        A system in the cluster that kubectl talks to.
    namespace
        Namespace of the system.
    output
        The file to write; without it support-NAMESPACE-NAME.tar.gz here.
    operator_namespace
        Namespace of the operator.
    """
    bundle = asyncio.run(support_bundle.gather(namespace, name, operator_namespace))
    asyncio.run(_plan(bundle, namespace, name, operator_namespace))
    target = output or Path(f"support-{namespace}-{name}.tar.gz")
    size = bundle.write(target)
    print(f"{target}: {len(bundle.files)} files, {size} bytes")
    for file, why in sorted(bundle.missing.items()):
        print(f"missing {file}: {why}")
    return 0


async def _plan(bundle: support_bundle.Bundle, namespace: str, name: str, operator_namespace: str) -> None:
    """Keep what the operator would do now, without values; asked anew, for the bundle hides some."""
    try:
        async with asyncio.timeout(PLAN_S), plan_cluster.opened(environment().get("KUBECONFIG")) as api:
            live = await api.get(SYSTEMS, namespace, name)
            if live is None:
                raise ConfigError("the system is gone")
            told = await plan_cluster.planned(api, live, operator_namespace)
    except (QtsError, TimeoutError) as error:
        bundle.missing["plan.txt"] = support_bundle.hide(str(error) or f"no answer within {PLAN_S:g} s")
        return
    text = [*(f"# {note}" for note in told.notes), *(lines(told.actions, told.live) or ["# nothing to do"])]
    bundle.put("plan.txt", support_bundle.hide("\n".join(text) + "\n"))


@app.command
def explain(file: Path) -> int:
    """Say what the operator stored and what its own checks find in the rest; exit 1 when something is wrong.

    Parameters
    ----------
    file
        A .tar.gz of qts support.
    """
    lines, well = support_explain.explain(support_explain.read(file))
    print("\n".join(lines))
    return 0 if well else 1
