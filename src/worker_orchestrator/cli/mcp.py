"""`orchestrator mcp`: a machine as tools of an agent, over standard input and output; `mcp install` tells its client.

The SDK of the protocol is an extra of the package, and is imported when the server starts.
"""

from __future__ import annotations

import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from worker_orchestrator.cli.durations import seconds_of
from worker_orchestrator.cli.exit_codes import FAILED, CommandFailed
from worker_orchestrator.cli.mcp_install import install
from worker_orchestrator.cli.mcp_project import project_of
from worker_orchestrator.cli.service_connection import open_async_client, with_client

if TYPE_CHECKING:
    from worker_orchestrator.client import Client

__all__ = ["COMMANDS"]

_YEAR_S: Final = 31_536_000
_MISSING: Final = "This needs a package that is not installed: run `pip install 'worker-orchestrator[mcp]'`."


@click.group(short_help="Give an agent a machine, as tools over MCP.", invoke_without_command=True)
@click.option(
    "--project",
    metavar="NAME",
    help="The project whose machine it is. Default: one of its own for each user, computer and working directory.",
)
@click.option("--pool", metavar="NAME", help="A machine of exactly this pool. Default: one of the pool default.")
@click.option("--unpinned", is_flag=True, help="Also offer machines of other projects: assign, release, list_machines.")
@click.option("--read-only", is_flag=True, help="Offer only what reads; no machine is assigned.")
@click.option(
    "--ttl",
    metavar="DURATION",
    default="1h",
    show_default=True,
    callback=seconds_of(0, _YEAR_S),
    help="A machine that the model got is lost so long after the last call; 0: never.",
)
@click.option(
    "--idle-timeout",
    metavar="DURATION",
    default="30m",
    show_default=True,
    callback=seconds_of(0, _YEAR_S),
    help="It is lost when it has not been used for so long; 0: never.",
)
@click.option(
    "--max-machines",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="How many machines one session may get.",
)
@click.option(
    "--longest-command",
    metavar="DURATION",
    default="10m",
    show_default=True,
    callback=seconds_of(1, 3600),
    help="How long a command may take.",
)
@click.option(
    "--output-limit",
    type=click.IntRange(1000, 1_000_000),
    default=30_000,
    show_default=True,
    metavar="CHARACTERS",
    help="How much of an output, or of a file, one call returns.",
)
@with_client
@click.pass_context
def mcp(
    ctx: click.Context, /, client: Client, *, project: str | None, unpinned: bool, read_only: bool, **given: Any
) -> None:
    """Serve one MCP client over standard input and output, until it closes them.

    The model gets the machine of one project when it first uses it. `orchestrator mcp install CLIENT` makes an entry for
    this in the configuration of a client.
    """
    if ctx.invoked_subcommand is not None:
        return
    if find_spec("mcp") is None:
        raise CommandFailed(_MISSING, FAILED)
    from worker_orchestrator.mcp.machines import Limits  # noqa: PLC0415 # it loads the client

    limits = Limits(
        ttl_s=given["ttl"],
        idle_timeout_s=given["idle_timeout"],
        max_machines=given["max_machines"],
        longest_command_s=given["longest_command"],
        output_characters=given["output_limit"],
        pool=given["pool"],
        is_read_only=read_only,
        is_pinned=not unpinned,
    )
    _serve(client.url, project or project_of(Path.cwd()), limits)


def _serve(url: str, project: str, limits: Any) -> None:
    import asyncio  # noqa: PLC0415 # it is slow to load

    from worker_orchestrator.mcp.machines import Machines  # noqa: PLC0415 # as above
    from worker_orchestrator.mcp.server import serve_stdio  # noqa: PLC0415 # as above
    from worker_orchestrator.mcp.tools import Tools  # noqa: PLC0415 # as above

    async def serve() -> None:
        async with open_async_client(url) as client:
            await serve_stdio(Tools(Machines(client, project, limits)))

    # A thread waits for the next line, and nothing ends it: a signal ends the process. The service kills what runs for it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(serve())


mcp.add_command(install)

COMMANDS: Final = (mcp,)
