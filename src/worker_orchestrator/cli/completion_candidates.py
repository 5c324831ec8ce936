"""What the shell offers after a tab: the projects and machines that the service knows, if it says so at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker_orchestrator.wire.v1 import Machine

__all__ = ["names", "paths", "projects"]

_TIMEOUT_S: Final = 0.5
"""Nobody waits longer for a tab."""


def projects(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _matching(ctx, incomplete, lambda m: [m.project or ""])


def names(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Projects that have a machine, and ids of machines."""
    return _matching(ctx, incomplete, lambda m: [m.project or "", m.id])


def paths(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """As `names`, each with a colon; and files of this computer."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 # only for completion

    found = _matching(ctx, incomplete, lambda m: [f"{m.project}:" if m.project else "", f"{m.id}:"])
    return [*map(CompletionItem, found)] or [CompletionItem(incomplete, type="file")]


def _matching(ctx: click.Context, incomplete: str, of: Callable[[Machine], list[str]]) -> list[str]:
    from worker_orchestrator.cli.service_connection import connect, read_token  # noqa: PLC0415 # only for completion

    before = ctx.find_root().params
    try:
        url, file = (ctx.params.get(name) or before.get(name) for name in ("url", "token_file"))
        with connect(url, file and read_token(file), timeout_s=_TIMEOUT_S) as client:
            offered = {name for machine in client.machines() for name in of(machine) if name}
    except Exception:  # noqa: BLE001 # whatever is wrong, a tab never prints a traceback into somebody's line
        return []
    return sorted(name for name in offered if name.startswith(incomplete))
