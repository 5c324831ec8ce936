"""`/openapi.json`: the content of openapi.yaml, with this version, and for whatever address the service was called at.

People write openapi.yaml, and `make openapi` makes openapi.json from it. So the service needs no YAML library, and a test
compares the two.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import msgspec

from worker_orchestrator import __version__
from worker_orchestrator.http.pages import docs
from worker_orchestrator.http.pages.assets import Asset

__all__ = ["description"]


@cache
def description() -> Asset:
    """The description of the API. Its server is relative to its own address: on any port, behind a proxy, under any path."""
    document = msgspec.json.decode(resources.files("worker_orchestrator.http").joinpath("openapi.json").read_bytes())
    document["info"]["version"] = __version__
    document["servers"] = [{"url": "./"}]
    return Asset.of("application/json", msgspec.json.encode(document), policy=docs.POLICY)
