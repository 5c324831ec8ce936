"""The command line. `main` is the console script `orchestrator`; `commands` lists the commands, and loads those that run.

Whatever a command needs is imported when that command runs: nobody who wants a machine waits for the web server's modules.
"""

from worker_orchestrator.cli.commands import main

__all__ = ["main"]
