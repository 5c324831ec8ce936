"""What Helm made of the chart, as it stands in the tree: the base, and the same with every option on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

__all__ = ["BASE", "DEPLOY", "EVERYTHING", "WAYS", "one"]

DEPLOY: Final = Path(__file__).parents[3] / "deploy"
_FOLDER: Final = DEPLOY / "kustomize" / "base"


def _read(*files: Path) -> list[dict[str, Any]]:
    return [each for file in files for each in yaml.safe_load_all(file.read_text("utf-8")) if each]


BASE: Final = _read(
    *(_FOLDER / name for name in yaml.safe_load((_FOLDER / "kustomization.yaml").read_text())["resources"])
)
"""The chart with its own values."""
EVERYTHING: Final = _read(DEPLOY / "rendered" / "everything.yaml")
WAYS: Final = {"base": BASE, "everything": EVERYTHING}


def one(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The only object of this kind."""
    (found,) = [each for each in manifests if each["kind"] == kind]
    return found
