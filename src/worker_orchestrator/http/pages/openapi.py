"""`/openapi.json`: what openapi.yaml says, of this version, at whatever address the service was asked.

People write openapi.yaml, `make openapi` makes openapi.json of it. So the service needs no YAML, and a test sees that
the two say the same.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from worker_orchestrator import __version__
from worker_orchestrator.http.pages.docs import Asset

__all__ = ["description"]


@cache
def description() -> Asset:
    """The description of the API. Its one server is where it comes from: on any port, behind a proxy, under any path."""
    read = msgspec.json.decode(resources.files("worker_orchestrator.http").joinpath("openapi.json").read_bytes())
    read["info"]["version"] = __version__
    read["servers"] = [{"url": "./"}]
    return Asset.of("application/json", msgspec.json.encode(read))
