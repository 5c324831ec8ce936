"""Pages of the reference that are made from the source."""

from __future__ import annotations

from website.reference.api import api
from website.reference.command_line import command_line
from website.reference.errors import errors
from website.reference.metrics import metrics
from website.reference.settings import settings

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """The Markdown of each page by its name, in the order of the navigation."""
    return {
        "settings": settings(),
        "command-line": command_line(),
        **api(),
        "errors": errors(),
        "metrics": metrics(),
    }
