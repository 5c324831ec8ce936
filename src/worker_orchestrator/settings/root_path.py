"""The setting `root_path`: under which path a proxy shows this service."""

from __future__ import annotations

import re
from typing import Any, Final

from worker_orchestrator.core.project import is_reserved

__all__ = ["root_path"]

LONGEST: Final = 200
_PATH: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")


def root_path(value: Any) -> str:
    """Without a slash at its end; empty for none. Raises ValueError with what is allowed."""
    said = value.strip().rstrip("/") if isinstance(value, str) else None
    if said == "":
        return said
    if said is not None and len(said) <= LONGEST and _PATH.fullmatch(said) and not is_reserved(said.split("/")[1]):
        return said
    raise ValueError(
        "a path such as /pool, of letters, digits, - and _, that begins with none of the service's own, such as /v1"
    )
