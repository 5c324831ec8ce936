"""What Sphinx is told. It runs on the folder that `website.build` puts together, where a copy of this file is."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Any

from sphinx.application import Sphinx

project = "Worker Orchestrator"
author = copyright = "The Worker Orchestrator authors"  # noqa: A001 # Sphinx's name
version = release = version_of("worker-orchestrator")
language = "en"

extensions = ["myst_parser"]
nitpicky = True
myst_heading_anchors = 6  # of every heading, as GitHub has them
suppress_warnings = ["misc.highlighting_failure"]  # a JSON text with "…" in it is no JSON

html_theme = "furo"
html_title = project
html_copy_source = html_show_sourcelink = html_show_sphinx = False
html_static_path = ["_static"]
templates_path = ["_templates"]
html_favicon = "_static/icon.svg"
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": False}
html_permalinks_icon = "#"
smartquotes = False


def _reachable(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: object) -> None:
    """What scrolls by itself must be reached by keyboard. Sphinx has no option for this."""
    if "body" in context:
        scrolls = context["body"].replace("<pre>", '<pre tabindex="0">')
        context["body"] = scrolls.replace('<div class="table-wrapper', '<div tabindex="0" class="table-wrapper')


def setup(app: Sphinx) -> None:
    app.connect("html-page-context", _reachable)
