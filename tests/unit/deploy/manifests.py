"""What Helm made of the chart, as it stands in the tree: the base, and the same with every option on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["BASE", "DEPLOY", "EVERYTHING", "REPLICAS", "WAYS", "one"]

DEPLOY: Final = Path(__file__).parents[3] / "deploy"


def _read(*files: Path) -> list[dict[str, Any]]:
    return [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8")) if each]


def _base(name: str) -> list[dict[str, Any]]:
    folder = DEPLOY / "kustomize" / name
    named = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return _read(*(folder / each for each in named))


BASE: Final = _base("base")
"""The chart with its own values."""
REPLICAS: Final = _base("replicas")
"""The chart with three replicas, which have their records in the cluster."""
EVERYTHING: Final = _read(DEPLOY / "rendered" / "everything.yaml")
WAYS: Final = {"base": BASE, "everything": EVERYTHING}


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of this kind."""
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found
