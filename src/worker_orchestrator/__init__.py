"""A durable warm pool of worker containers on plain Docker, behind a small HTTP API."""

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when somebody asks: reading the package's metadata takes longer than many a command."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 # as above

        return version("worker-orchestrator")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
