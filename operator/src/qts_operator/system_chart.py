"""The values of the chart of one system, and their schema."""

from __future__ import annotations

from qts_core.crd import chart_schema, spec_schema
from qts_operator.packaging import SAMPLES, Manifest, closed, images


def values() -> Manifest:
    """Return the default values; `helm test` gives up before helm itself does (5 m), and says why."""
    return {
        "name": "",
        "spec": SAMPLES["minimal"],
        "test": {"image": images()[0], "within": 240, "nodeSelector": {}, "tolerations": []},
    }


def schema() -> Manifest:
    """Return the schema of the values: a name, the resource's `spec`, and where `helm test` runs."""
    text: Manifest = {"type": "string", "maxLength": 512}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **closed(
            {
                "name": text | {"maxLength": 40},
                "spec": _optional(chart_schema(spec_schema()) | {"type": ["object", "null"]}),
                "test": closed(
                    {
                        "image": text,
                        "within": {"type": "integer", "minimum": 1},
                        "nodeSelector": {"type": "object", "additionalProperties": text},
                        "tolerations": {"type": "array", "items": {"type": "object"}},
                    }
                ),
                "global": {"type": "object"},
            }
        ),
    }


def _optional(schema: Manifest) -> Manifest:
    """Let every object of a values file also be null: that is how a default of the chart is removed."""
    if "properties" in schema:
        inner = {key: _optional(value) for key, value in schema["properties"].items()}
        return schema | {"properties": inner, "type": ["object", "null"]}
    return schema
