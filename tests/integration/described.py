"""openapi.yaml as the tests read it, and Schemathesis set up to be the same on each run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, settings
from schemathesis import Case, checks

import worker_orchestrator

__all__ = ["DESCRIBED", "EXCLUDED", "SCHEMA", "Operation", "bounded", "is_positive", "operations", "resolved"]

OPENAPI: Final = Path(worker_orchestrator.__file__).parent / "http" / "openapi.yaml"
DESCRIBED: Final[dict[str, Any]] = yaml.safe_load(OPENAPI.read_text(encoding="utf-8"))
SCHEMA: Final = schemathesis.openapi.from_dict(DESCRIBED)
EXCLUDED: Final = [
    checks.not_a_server_error,  # each suite knows which there are
    checks.use_after_free,  # a project that was released may come back at once, and gets a machine
    checks.ensure_resource_availability,  # the machine of one project may be released under another name
]
_NO_OPERATIONS: Final = {"parameters", "summary", "description", "servers"}

bounded = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def is_positive(case: Case[Any]) -> bool:
    """Whether the case fits its description."""
    return case.meta is None or case.meta.generation.mode.is_positive


def resolved(node: Any) -> Any:
    """The node, or what it refers to."""
    while isinstance(node, dict) and "$ref" in node:
        found: Any = DESCRIBED
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, with the parameters of its path."""

    id: str
    method: str
    path: str
    said: dict[str, Any]
    parameters: list[dict[str, Any]]

    @property
    def responses(self) -> dict[str, Any]:
        return {status: resolved(response) for status, response in self.said["responses"].items()}


def operations(prefix: str) -> Iterator[Operation]:
    """Those of all paths that begin so."""
    for path, item in DESCRIBED["paths"].items():
        if not path.startswith(prefix):
            continue
        for method in (name for name in item if name not in _NO_OPERATIONS):
            said = item[method]
            parameters = [resolved(one) for one in (*item.get("parameters", ()), *said.get("parameters", ()))]
            yield Operation(said["operationId"], method.upper(), path, said, parameters)
