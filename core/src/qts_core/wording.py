"""A sentence for the fields of the resource: what `kubectl explain` says of them.

They go into the definition after its schema was hashed, so a better sentence makes no served definition
outdated. Constants of the agents (`spec.config.<agent>`) have none: each is told where it is computed.
"""

from __future__ import annotations

from typing import Any

_DEVICE = "At most one of resourceName, deviceClassName and claimTemplateName."
#: by `parent.field`, else by `field` alone; what a section says of itself stays
WORDS: dict[str, str] = {
    "root.spec": "What runs, where, and with which settings. What is left out has the operator's default.",
    "root.status": "What the operator has observed; `conditions` name reason and remedy.",
    # spec
    "paused": "The operator touches nothing and writes into `status.plan` what it would do.",
    "suspend": "All agents and the feed go to 0 replicas; Redis and its data stay.",
    "upgradePolicy": "Whether newer pod templates are taken with the next change of the spec, or at once.",
    "startup": "AllOrNothing: agents with a GPU start only when all of them find one.",
    "gangTimeout": "How long an AllOrNothing start may hold its devices without being complete: 10s to 1h.",
    "spec.config": "The keys and units of quantum_system_config.json in camelCase; times are seconds.",
    "spec.agents": "Each agent: whether and how often it runs, and how its pods are made.",
    # images
    "spec.images": "Images of the workloads; what is left out is the operator's default, and stays.",
    "images.agent": "Image of the agents on CPU and of the feed.",
    "images.agentGPU": "Image of the agents that ask for a GPU.",
    "images.redis": "Image of the Redis of ours; it is run as redis-server.",
    "pullPolicy": "When the kubelet pulls an image.",
    "pullSecrets": "Secrets of this namespace with the credentials of the registries.",
    "pullSecrets.name": "Name of the Secret.",
    # pods of an agent or of the feed
    "image": "Image of this workload; it wins over `spec.images`.",
    "requests": "What a pod is sure to get, by resource. A device is asked for with `gpu`.",
    "limits": "What a pod may take at most, by resource.",
    "nodeSelector": "Labels that a node must have.",
    "tolerations": "Taints of nodes that the pods accept.",
    "tolerations.key": "Key of the taint; left out with Exists, every taint.",
    "tolerations.operator": "Exists: any value of the key; Equal: this one.",
    "tolerations.value": "Value of the taint.",
    "tolerations.effect": "Effect of the taint; left out: every effect.",
    "tolerationSeconds": "How long a pod stays on a node with a NoExecute taint; left out: for ever.",
    "affinity": "Affinity as in a pod; the API server checks it when the pods are made.",
    "env": "Environment variables, by value. QTS_*, OTEL_RESOURCE*, POD_NAME, POD_UID, NODE_NAME are ours.",
    "env.name": "Name of the variable.",
    "env.value": "Its value.",
    "maxRestarts": "Restarts within `window`; then the agent is left as it is. 0: none at all.",
    "window": "Time in which restarts are counted: 1m to 24h.",
    "backoff": "Base of the pause between two restarts, doubled with each: 1s to 1h.",
    "enabled": "Whether the agent runs. PADS always does.",
    "replicas": "Pods of the agent. One works, the others stand by; it has one vote.",
    "replicasManagedBy": "External: an autoscaler has the number of pods, which begins at `replicas`.",
    "topologySpreadConstraints": "How the pods of the agent are spread over nodes or zones.",
    "maxSkew": "How many pods more one place may have than another.",
    "topologyKey": "Label of the nodes that tells one place from another.",
    "whenUnsatisfiable": "Whether a pod waits where the skew would grow too large.",
    "priorityClassName": "PriorityClass of the pods; it must exist.",
    "runtimeClassName": "RuntimeClass of the pods; it must exist.",
    "podLabels": "Further labels of the pods.",
    "podAnnotations": "Further annotations of the pods; a change replaces them.",
    "claimName": "PersistentVolumeClaim with files that the pod reads, at /data.",
    "terminationGracePeriodSeconds": "Seconds that a pod has for its end.",
    "port": "Port for the messages of the agents; a change replaces all pods.",
    "gpu.mode": "Required: no pod without a device; Preferred: on CPU where none is to be had; None: on CPU.",
    "gpu.count": "Devices of each pod.",
    "resourceName": f"Resource of a device plugin, by default nvidia.com/gpu. {_DEVICE}",
    "deviceClassName": f"DRA: each pod claims devices of this DeviceClass. {_DEVICE}",
    "claimTemplateName": f"DRA: each pod claims by this ResourceClaimTemplate of yours. {_DEVICE}",
    "fallbackAfter": "How long Preferred waits for a device: 10s to 1h.",
    # market
    "market.replay": "The data that are replayed: a data set, or files on a claim.",
    "market.source": "Which feed runs. External: none of ours; somebody else publishes the bars.",
    "symbols": "Symbols to publish; left out: all of the data set, simulated BTC/USDT.",
    "fee": "Fee a side as a fraction of the price; left out: the data set's.",
    "market.spread": "Spread as a fraction of the price; left out: the data set's.",
    "replay.claimName": "PersistentVolumeClaim with the file of `path`.",
    "dataset": "A data set that ships in the image; or give claimName and path.",
    "replay.path": "File of bars on the claim, CSV or Parquet.",
    "orders": "File of order events on the claim.",
    "speed": "Seconds of data a second; 0: as decisions allow; left out: a bar per marketUpdateInterval.",
    "repeat": "Begin again at the end of the data.",
    "stamp": "Whether the time of a row is the close or the open of its bar.",
    "tsUnit": "Unit of the times in the file.",
    "predictability": "Of simulated bars: 1 plants a known structure.",
    # redis, messages, policies
    "redis.mode": "Managed: the operator runs Redis; External: it is there already. Cannot be changed.",
    "redis.url": "Address of an external Redis, without a password.",
    "urlSecretRef.name": "Name of the Secret.",
    "urlSecretRef.key": "Its key with the address; ca.crt beside it is the server's authority.",
    "size": "Size of the claim. Cannot be changed.",
    "storageClassName": "Class of the claim, by default the cluster's. Cannot be changed.",
    "whenDeleted": "Whether the claim stays when the resource is deleted.",
    "redis.credentialsGeneration": "Raise it to change the passwords of Redis; nothing restarts.",
    "messaging.credentialsGeneration": "Raise it to change the keys of the messages; nothing restarts.",
    "encryption": "Whether messages between agents are encrypted; a change replaces all pods.",
    "networkPolicy.enabled": "Whether the operator writes NetworkPolicies.",
    "metricsFrom": "Labels of the namespaces that may read metrics; left out: all.",
    "otlpEndpoint": "Where spans go, http://HOST:PORT; left out: nowhere.",
    "sampleRatio": "Share of the rounds whose trace is exported.",
    "logLevel": "How much the pods log.",
    "podMonitor": "Auto: a PodMonitor is written where the cluster has that kind.",
    # config
    "useRealMessaging": "False: the pods do not hear each other, which MessagingReady says.",
    "horizonBars": "Bars after which the outcome of a decision is judged.",
    "systemSeed": "Seed of every random draw.",
    "hardwareOptimization": "Number of threads by the processors that the pod has.",
    "quantumCircuits": "Simulated circuits beside their classical form.",
    "numbaJit": "Compiled kernels.",
    "decisionTimeout": "Seconds that a round waits for votes.",
    "decisionInterval": "Seconds between two rounds.",
    "messageTtl": "Seconds after which a message is worth nothing.",
    "healthCheckInterval": "Seconds between two probes of a pod; a change replaces all pods.",
    "marketUpdateInterval": "Seconds between two bars.",
    "autoRestartFailed": "False: an agent that ended stays down until the spec changes.",
    "boardMembers": "Weight of each seat of the board; the weights sum to 1.",
    # status
    "status.observedGeneration": "The generation of the spec that is written in full.",
    "status.templateRevision": "The oldest revision of pod templates that a workload still has.",
    "status.agents": "Ready agents of enabled ones; the feed is not counted.",
    "status.gpus": "Devices held of devices asked for.",
    "status.images": "What omitted images resolved to.",
    "status.gang": "Where an AllOrNothing start stands.",
    "status.plan": "While paused: what would be done, at most 20 lines.",
    "status.agentStatuses": "Each enabled agent and the feed: pods, placement, restarts.",
    "status.conditions": "Each has a reason, a message, and the generation it speaks of. Ready is first.",
    "agentStatuses.name": "Name of the agent, or market.",
    "desired": "Pods that should run now.",
    "ready": "Pods that are ready.",
    "placement": "Whether its pods are made for a GPU or for CPU.",
    "agentStatuses.templateRevision": "Revision of its pod template.",
    "restarts": "Restarts by the operator since the resource was made.",
    "stopped": "It ended, and autoRestartFailed keeps it down.",
    "lastRestart": "The last restart by the operator: which pod, when and why.",
    "recentRestarts": "What counts against restartPolicy.maxRestarts.",
    "circuit": "Nodes that rejected its pods again and again, and when the next try is.",
}
#: what a section of an agent is, by the section that it is in
_AGENT = {
    "config": "Constants of this agent by name.",
    "agents": "This agent: whether it runs, how its pods are made, and its device where it may have one.",
}


def worded(schema: dict[str, Any], parent: str = "root") -> dict[str, Any]:
    """Return a schema whose fields have their sentences, where they say nothing of themselves."""
    out = dict(schema)
    if "properties" in schema:
        out["properties"] = {
            name: _told(parent, name, worded(field, name)) for name, field in schema["properties"].items()
        }
    if isinstance(schema.get("items"), dict):
        out["items"] = worded(schema["items"], parent)
    return out


def _told(parent: str, name: str, field: dict[str, Any]) -> dict[str, Any]:
    words = WORDS.get(f"{parent}.{name}") or WORDS.get(name)
    if "properties" in field:
        words = _AGENT.get(parent, words)
    return {**field, "description": words} if words and "description" not in field else field
