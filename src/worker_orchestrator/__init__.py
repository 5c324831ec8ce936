"""A durable warm pool of worker containers on plain Docker, behind a small HTTP API."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("worker-orchestrator")
