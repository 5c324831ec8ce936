"""The command line. `main` is the console script `orchestrator`; `commands` has the table of all commands.

A module with the name of a command is that command. The options of those that work where the service runs (`serve`, `down`,
`recover`, `backup`, `doctor`, `config`) are in `service_commands`. A command imports what it needs when it runs, so that
`orchestrator assign` does not wait until the modules of the server are loaded.
"""

from worker_orchestrator.cli.commands import main

__all__ = ["main"]
