"""`qts plan`: what the operator would do for a resource in a file, with nothing there yet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from cyclopts import Parameter

from qts_core import names, resource
from qts_core.errors import ConfigError
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, Create, line
from qts_operator.plan import plan as difference
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

_NEW_UID = "00000000-0000-0000-0000-000000000000"


def plan(
    *,
    file: Annotated[Path, Parameter(name=["--file", "-f"])],
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    summary: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Print every object that the operator would write for a resource; exit 2 when it is refused.

    Parameters
    ----------
    file
        YAML with one or more resources of kind QuantumTradingSystem.
    namespace
        Namespace of resources that name none; without it, default.
    summary
        One line per object instead of the whole objects.
    """
    for cr in resources(file):
        actions = actions_for(cr, namespace or "default", file)
        for action in actions:
            if summary:
                print(line(action))
            elif isinstance(action, Apply | Create):
                note = "  (content is made once, when it is created)" if isinstance(action, Create) else ""
                body = yaml.safe_dump(action.manifest, sort_keys=False, width=110)
                print(f"---\n# {line(action)}{note}\n{body}", end="")
    return 0


def resources(file: Path) -> list[dict[str, Any]]:
    """Return the resources of a YAML file; ConfigError when it holds none or is damaged."""
    try:
        documents = list(yaml.safe_load_all(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file: {file} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file}: not valid YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # a date that no calendar has
        raise ConfigError(f"{file}: not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: nested too deeply for a resource") from None
    found = [each for each in documents if isinstance(each, dict) and each.get("kind") == names.KIND]
    if not found:
        raise ConfigError(f"{file}: no resource of kind {names.KIND} in it")
    for each in found:
        version = each.get("apiVersion")
        if version != names.API_VERSION:
            raise ConfigError(f"{file}: apiVersion: expected {names.API_VERSION}, found {version}")
    return found


def actions_for(cr: dict[str, Any], namespace: str, file: Path) -> list[Action]:
    """Return the operator's own plan against nothing; ConfigError names a refused field by its path."""
    metadata, spec = cr.get("metadata") or {}, cr.get("spec") or {}
    if not isinstance(metadata.get("name"), str):
        raise ConfigError(f"{file}: metadata.name: required")
    unknown = resource.unknown_fields(spec)
    if unknown:
        raise ConfigError(f"{file}: {unknown[0]}: unknown field")
    try:
        resource.read(spec)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {_refusal(str(error))}") from None
    snapshot = Snapshot(
        namespace=metadata.get("namespace") or namespace,
        name=metadata["name"],
        uid=_NEW_UID,
        generation=1,
        now=0.0,
        spec=spec,
    )
    frame, _ = resolve(snapshot, Defaults())
    return difference(desired(frame), {}, _NEW_UID)


def _refusal(text: str) -> str:
    """Put the field's path before msgspec's sentence."""
    message, sign, path = text.rpartition(" - at ")
    if not sign:
        return f"spec: {text}"
    return f"{path.strip('`').replace('$', 'spec', 1)}: {message[0].lower()}{message[1:]}"
