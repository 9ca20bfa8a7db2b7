"""`qts support`: one archive with everything about a system, and what the operator's own checks say of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from qts_cli import support_bundle, support_explain
from qts_core.errors import ConfigError
from qts_operator.explain import against_nothing

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
    if "system.json" in bundle.files:
        try:
            bundle.put("plan.txt", "\n".join(against_nothing(json.loads(bundle.files["system.json"]))) + "\n")
        except ConfigError as error:
            bundle.missing["plan.txt"] = str(error)
    target = output or Path(f"support-{namespace}-{name}.tar.gz")
    size = bundle.write(target)
    print(f"{target}: {len(bundle.files)} files, {size} bytes")
    for file, why in sorted(bundle.missing.items()):
        print(f"missing {file}: {why}")
    return 0


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
