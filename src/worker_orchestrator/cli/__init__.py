"""The command line. `main` is the console script `orchestrator`; each command has a module of its own."""

from worker_orchestrator.cli.commands import main

__all__ = ["main"]
