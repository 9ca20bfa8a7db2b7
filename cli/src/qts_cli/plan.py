"""`qts plan`: what the operator would do for a resource in a file, against nothing or against a cluster."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter

from qts_cli import plan_cluster, rules
from qts_cli.__main__ import environment
from qts_core import config, names, resource
from qts_core.errors import ConfigError
from qts_operator.explain import details, lines
from qts_operator.objects import desired
from qts_operator.objects.frame import Defaults
from qts_operator.plan import Action, Apply, Create, line
from qts_operator.plan import plan as difference
from qts_operator.resolve import resolve
from qts_operator.snapshot import Snapshot

Tree = dict[str, Any]
_LABEL = re.compile(rf"({names.LABEL_WORD})?")  # the value of one, or a key's name
_DOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEYS = {"apiVersion", "kind", "metadata", "spec", "status"}
_NEW_UID = "00000000-0000-0000-0000-000000000000"


NOTHING = (
    "against nothing, with images of the operator's defaults; --cluster plans against what a cluster holds. "
    "What a change may not touch, and what a cluster's policies refuse, only its API server tells"
)


def plan(
    *,
    file: Annotated[Path, Parameter(name=["--file", "-f"])],
    namespace: Annotated[str | None, Parameter(name=["--namespace", "-n"])] = None,
    summary: Annotated[bool, Parameter(negative=())] = False,
    cluster: Annotated[bool, Parameter(negative=())] = False,
    operator_namespace: str = "qts-system",
) -> int:
    """Print what the operator would write for a resource, and which pods roll; exit 2 when it is refused.

    Parameters
    ----------
    file
        YAML with one or more resources of kind QuantumTradingSystem.
    namespace
        Namespace of resources that name none; without it, default.
    summary
        One line per object instead of whole objects and fields.
    cluster
        Plan against the cluster that kubectl talks to, after its API server has checked the resource.
    operator_namespace
        Namespace of the operator, whose Deployment tells the images.
    """
    _check_namespace("--namespace", namespace)
    found = resources(file)
    for cr in found:
        with _told_of(file):
            check(cr)
    wanted = [(cr, cr["metadata"].get("namespace") or namespace or "default") for cr in found]
    if cluster:
        asyncio.run(_against_cluster(wanted, operator_namespace, summary))
        return 0
    with _told_of(file):
        plans = [actions_for(cr, where) for cr, where in wanted]
    print(f"# {NOTHING}")
    for actions in plans:
        _show(actions, {}, summary)
    return 0


async def _against_cluster(wanted: list[tuple[Tree, str]], operator_namespace: str, summary: bool) -> None:
    async with plan_cluster.opened(environment().get("KUBECONFIG")) as api:
        for cr, where in wanted:
            kept = await plan_cluster.admitted(api, cr, where)
            told = await plan_cluster.planned(api, kept, operator_namespace)
            print(f"# {where}/{cr['metadata']['name']} against the cluster")
            for note in told.notes:
                print(f"# {note}")
            if not told.actions:
                print("# nothing to do")
            _show(told.actions, told.live, summary)


def _show(actions: list[Action], live: plan_cluster.Live, summary: bool) -> None:
    for action, text in zip(actions, lines(actions, live), strict=True):
        if summary:
            print(text)
            continue
        note = "  (content is made once, when it is created)" if isinstance(action, Create) else ""
        print(f"---\n# {line(action)}{note}")
        if isinstance(action, Create) or (isinstance(action, Apply) and action.uid is None):
            print(yaml.safe_dump(action.manifest, sort_keys=False, width=110), end="")
        for detail in details(action, live):
            print(f"#   {detail}")


def resources(file: Path) -> list[Tree]:
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


@contextmanager
def _told_of(file: Path) -> Iterator[None]:
    """Say of which file a ConfigError speaks."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{file}: an alias (*) stands within what it stands for; write that out") from None


def _check_names(metadata: Tree) -> None:
    """Refuse what Kubernetes takes for no name; a system's own has a rule of the definition."""
    labels = metadata.get("labels") or {}
    _check_namespace("metadata.namespace", metadata.get("namespace"))
    if not isinstance(labels, dict):
        raise ConfigError(f"metadata.labels: expected a map, found {labels!r}")
    for key, value in labels.items():
        domain, sign, own = str(key).rpartition("/")
        if not (own and _LABEL.fullmatch(own) and (_DOMAIN.fullmatch(domain) or not sign)):
            rule = "PREFIX/NAME or NAME, as a prefix a DNS name, the name of 1 to 63 letters, digits, - _ ."
            raise ConfigError(f"metadata.labels: expected keys of {rule}, found {key!r}")
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            rule = "text of up to 63 letters, digits, - _ . that begins and ends with a letter or digit"
            raise ConfigError(f"metadata.labels.{key}: expected {rule}, found {value!r}")


def _check_namespace(where: str, name: str | None) -> None:
    if name and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", name):
        rule = "at most 63 of a-z, 0-9 and -, a letter or digit first and last"
        raise ConfigError(f"{where}: expected {rule}, found {name!r}")


def check(cr: Tree) -> None:
    """Raise a ConfigError that names the field by its path where one is wrong in itself."""
    metadata, spec = cr.get("metadata"), cr.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ConfigError("metadata.name: required, as text")
    if not isinstance(metadata.get("namespace"), str | None):
        raise ConfigError(f"metadata.namespace: expected text, found {metadata['namespace']!r}")
    config.refuse_halves(cr)
    if strange := sorted(map(str, cr.keys() - _KEYS)):
        raise ConfigError(f"{strange[0]}: unknown field; a resource has {', '.join(sorted(_KEYS))}")
    _check_names(metadata)
    unknown = resource.unknown_fields(spec)
    if unknown:
        raise ConfigError(f"{unknown[0]}: unknown field")
    resource.read(spec)
    if refused := rules.broken(cr):
        raise ConfigError(refused)


def actions_for(cr: Tree, namespace: str) -> list[Action]:
    """Return the operator's own plan against nothing; ConfigError names a refused field by its path."""
    snapshot = Snapshot(
        namespace=namespace,
        name=cr["metadata"]["name"],
        uid=_NEW_UID,
        generation=1,
        now=0.0,
        spec=cr.get("spec") or {},
    )
    frame, _ = resolve(snapshot, Defaults())
    return difference(desired(frame), {}, _NEW_UID)
