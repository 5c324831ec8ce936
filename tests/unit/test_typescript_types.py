"""The types of the TypeScript client are those of the service."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def test_its_types_are_made_from_the_description_as_it_stands() -> None:
    """`make typescript` makes them."""
    described = ROOT / "src" / "worker_orchestrator" / "http" / "openapi.json"
    digest = hashlib.sha256(described.read_bytes()).hexdigest()
    types = (ROOT / "clients" / "typescript" / "src" / "v1.ts").read_text(encoding="utf-8")
    assert digest in types.partition("\n")[0], "run `make typescript`"
