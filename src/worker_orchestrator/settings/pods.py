"""Reads where pods are, and what an operator wants of those of a pool: a table of orchestrator.toml, or a file.

The latter is kept as one text of JSON, so that two readings can be compared, and shown to nobody, since it may have secrets
in it. What may stand in it is judged by the engine (`engines/kubernetes/merging`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from worker_orchestrator.settings.parsers import path, text

__all__ = ["as_table", "namespace", "pod_template"]

_SHAPE: Final = "a table of a pod's metadata and spec, or the path of a file of YAML or JSON with these"


def namespace(value: Any) -> str:
    said = text(value)
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", said):
        raise ValueError("the name of a namespace: 1 to 63 lower-case letters, digits and hyphens")
    return said


def pod_template(value: Any) -> str:
    """The template as JSON. Raises ValueError."""
    table = value if isinstance(value, Mapping) else _in_file(path(value))
    if not isinstance(table, Mapping) or not table.keys() <= {"apiVersion", "kind", "metadata", "spec"}:
        raise ValueError(_SHAPE)
    try:
        return json.dumps(table, sort_keys=True)
    except (TypeError, ValueError):  # dates, and keys of several types
        raise ValueError(f"{_SHAPE}, of texts, numbers, lists and tables only") from None


def as_table(template: str) -> Mapping[str, Any] | None:
    """The template that `pod_template` returned; None if there is none."""
    table: Mapping[str, Any] | None = json.loads(template) if template else None
    return table


def _in_file(file: Path) -> Any:
    try:
        text = file.read_text("utf-8")
    except (OSError, ValueError):
        raise ValueError(f"{_SHAPE} that can be read") from None
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        import yaml  # noqa: PLC0415 # an extra, which only this needs
    except ImportError:
        raise ValueError("a file of JSON; for YAML: pip install 'worker-orchestrator[kubernetes]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise ValueError(f"{_SHAPE} without mistakes") from None
