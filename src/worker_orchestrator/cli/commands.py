"""`orchestrator`: the table of its commands, their common options, and how they fail.

An error is one sentence on standard error that says what to do. The table below holds what `--help` and completion show, so
that neither loads the commands themselves.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from worker_orchestrator.cli.exit_codes import CommandFailed
from worker_orchestrator.cli.standard_output import complete_output
from worker_orchestrator.errors import OrchestratorError

__all__ = ["TABLE", "CommandGroup", "ServiceOptions", "main"]

INTERRUPTED: Final = 130


class Entry(NamedTuple):
    """One command as the help lists it, and the module of this package whose COMMANDS contain it."""

    module: str
    section: str
    help: str


_SERVICE, _PROJECTS, _MACHINES, _POOL = "The service", "Projects", "Machines", "Pools"
TABLE: Final[dict[str, Entry]] = {
    "init": Entry("init", _SERVICE, "Ask a few questions, and write orchestrator.toml."),
    "serve": Entry("service_commands", _SERVICE, "Keep a warm pool and answer the API."),
    "down": Entry("service_commands", _SERVICE, "Stop the service and remove its machines."),
    "recover": Entry("service_commands", _SERVICE, "List, adopt or remove unknown containers."),
    "backup": Entry("service_commands", _SERVICE, "Write a copy of the database."),
    "doctor": Entry("service_commands", _SERVICE, "Check this computer, and say how to fix it."),
    "config": Entry("service_commands", _SERVICE, "Show the settings and where each came from."),
    "assign": Entry("assign", _PROJECTS, "Get a machine for a project; prints its URL."),
    "keep": Entry("keep", _PROJECTS, "Keep the machine of a project for longer."),
    "release": Entry("release", _PROJECTS, "Give the machine of a project back."),
    "sleep": Entry("sleep", _PROJECTS, "Stop a project's machine, and keep it with its files."),
    "wake": Entry("sleep", _PROJECTS, "Wake a project's machine."),
    "url": Entry("preview", _PROJECTS, "Make a link to the preview of a project."),
    "open": Entry("preview", _PROJECTS, "Open the preview of a project in a browser."),
    "why": Entry("why", _PROJECTS, "Explain how a project got its machine."),
    "list": Entry("list", _MACHINES, "List machines."),
    "show": Entry("show", _MACHINES, "Show one machine."),
    "logs": Entry("logs", _MACHINES, "Print what a worker wrote."),
    "exec": Entry("exec", _MACHINES, "Run a command in a worker."),
    "cp": Entry("cp", _MACHINES, "Copy files into a worker or out of it."),
    "restart": Entry("restart", _MACHINES, "Start a project's machine again, with its files."),
    "destroy": Entry("destroy", _MACHINES, "Remove a machine with all its files."),
    "mcp": Entry("mcp", _MACHINES, "Give an agent a machine, as tools over MCP."),
    "pools": Entry("pools", _POOL, "List the pools."),
    "plan": Entry("plan", _POOL, "Say which sizes would have been right."),
    "scale": Entry("pool_commands", _POOL, "Change how many machines the pool keeps."),
    "pause": Entry("pool_commands", _POOL, "Stop making new machines for now."),
    "resume": Entry("pool_commands", _POOL, "Make new machines again."),
    "reload": Entry("reload", _POOL, "Have the service read its settings again."),
    "events": Entry("events", _POOL, "Print what happened to machines."),
    "key": Entry("key", _SERVICE, "Make, list and revoke keys of other callers."),
    "health": Entry("health", _POOL, "Print the health of the service."),
    "completion": Entry("completion", "This command", "Print a completion script for your shell."),
}
_ALIASES: Final = {"ls": "list", "ps": "list"}
_EPILOG: Final = """\
\b
First steps:
  orchestrator doctor                          is everything in place?
  orchestrator serve --image my/worker:latest  keep a pool (leave it running)
  orchestrator assign my-project               in another terminal: get a worker

\b
Exit codes: 0 done; 1 failed; 2 wrong usage or settings; 3 not found;
4 not now: no machine, engine or service is available; 5 the machine is not set up;
130 interrupted.
"""


class ServiceOptions(NamedTuple):
    """The options before the command's name that say which service is meant. None: not given."""

    url: str | None = None
    token_file: Path | None = None


class CommandGroup(click.Group):
    """A group that knows its commands by name, and imports one when it is to run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(TABLE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        name = _ALIASES.get(cmd_name, cmd_name)
        if name not in TABLE:
            return None
        from worker_orchestrator.cli.without import without  # noqa: PLC0415 # --help can do without this, too

        # Where rich is installed, structlog loads it for tracebacks that show local variables. We write none of those, and
        # without it the service needs 5 MB less and starts sooner. Commands that show tables load it when they do.
        with without("rich"):
            module = import_module(f"worker_orchestrator.cli.{TABLE[name].module}")
        commands: Sequence[click.Command] = module.COMMANDS
        return next(command for command in commands if command.name == name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and name not in TABLE and name not in _ALIASES and not name.startswith("-"):
            import difflib  # noqa: PLC0415 # only here, and not for free

            close = difflib.get_close_matches(name, TABLE, n=1)
            hint = f"Did you mean {close[0]}?" if close else "`orchestrator --help` lists the commands."
            raise click.UsageError(f"There is no command {name!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **options: Any) -> Any:
        if sys.stdout is not sys.__stdout__:  # a test or an embedding program has put another one there
            return super().main(*args, **options)
        with complete_output():
            return super().main(*args, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OrchestratorError as error:
            raise CommandFailed(error) from None
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        width = max(map(len, TABLE))
        for section in dict.fromkeys(entry.section for entry in TABLE.values()):
            with formatter.section(section):
                rows = [(name.ljust(width), entry.help) for name, entry in TABLE.items() if entry.section == section]
                formatter.write_dl(rows)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem  # noqa: PLC0415 # only for completion

        names = [CompletionItem(name, help=TABLE[name].help) for name in TABLE if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    invoke_without_command=True,
    epilog=_EPILOG,
)
@click.version_option(package_name="worker-orchestrator", prog_name="orchestrator")
@click.option(
    "--url", metavar="URL", help="The service to talk to. Default: ORCHESTRATOR_URL, else http://localhost:9092."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="File with its token. Default: ORCHESTRATOR_TOKEN or ORCHESTRATOR_TOKEN_FILE in the environment.",
)
@click.option("--no-color", is_flag=True, help="No colours; NO_COLOR in the environment does the same.")
@click.pass_context
def main(ctx: click.Context, url: str | None, token_file: Path | None, *, no_color: bool) -> None:
    """A durable warm pool of worker containers on plain Docker."""
    if no_color:
        os.environ["NO_COLOR"] = "1"  # every library that writes colours reads it
    ctx.obj = ServiceOptions(url, token_file)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        sys.exit(0)
