"""Values of the settings that are about previews."""

from __future__ import annotations

import re
from typing import Any, Final

from worker_orchestrator.core.preview_names import LONGEST_LABEL

__all__ = ["domain", "template"]

_LABEL: Final = rf"[a-z0-9]([a-z0-9-]{{0,{LONGEST_LABEL - 2}}}[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL}){{0,8}}")
_NUMBER: Final = re.compile(r"(.*\.)?\d+")
_TEMPLATE: Final = re.compile(rf"https?://\{{name\}}(\.{_LABEL}){{1,9}}(:\d{{1,5}})?/?")


def domain(value: Any) -> str:
    """What the hosts of previews end with. Raises ValueError with what is allowed."""
    said = value.strip().lower().strip(".") if isinstance(value, str) else ""
    if _DOMAIN.fullmatch(said) and not _NUMBER.fullmatch(said):
        return said
    raise ValueError("a domain whose names below it lead to this service, such as localhost or preview.example.com")


def template(value: Any) -> str:
    """The URL of a preview with {name} in the place of the project's name; empty for none. Raises ValueError."""
    said = value.strip() if isinstance(value, str) else ""
    if value == "" or _TEMPLATE.fullmatch(said):
        return said
    raise ValueError("a URL whose host begins with {name}, such as https://{name}.preview.example.com/")
