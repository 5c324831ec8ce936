"""The URL at which the preview of a project is seen."""

from __future__ import annotations

from typing import Final

from worker_orchestrator.core.preview_names import label_of
from worker_orchestrator.http.access.authority import USUAL_PORTS, port_of

__all__ = ["NAME", "NO_URLS", "PreviewUrls", "port_at"]

NAME: Final = "{name}"
"""What stands for the name of the project in a template."""


class PreviewUrls:
    """Makes them of a template, such as `http://{name}.localhost:9092/`. Empty: there are none."""

    def __init__(self, template: str = "") -> None:
        self._template = template

    def of(self, project: str | None, port: str = "") -> str | None:
        """That of this project, or of its port of this name; None if it has none."""
        if not self._template or project is None:
            return None
        label = label_of(project, port)
        return None if label is None else self._template.replace(NAME, label)


NO_URLS: Final = PreviewUrls()


def port_at(template: str) -> int:
    """The port of all addresses that this template makes."""
    scheme, _, rest = template.partition("://")
    return port_of(rest.rstrip("/").replace(NAME, "name"), USUAL_PORTS[scheme])
