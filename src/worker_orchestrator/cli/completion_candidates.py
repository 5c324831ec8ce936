"""What the shell offers after Tab: the projects, machines and pools that the service knows, if it answers at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker_orchestrator.client import Client

__all__ = ["complete_path", "complete_pool", "complete_project", "complete_project_or_id"]

_TIMEOUT_S: Final = 0.5
"""A person who pressed Tab does not wait longer."""


def complete_project(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _matches(ctx, incomplete, lambda client: [m.project or "" for m in client.machines()])


def complete_project_or_id(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Projects that have a machine, and ids of machines."""
    return _matches(
        ctx, incomplete, lambda client: [name for m in client.machines() for name in (m.project or "", m.id)]
    )


def complete_pool(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return _matches(ctx, incomplete, lambda client: [pool.name for pool in client.pools()])


def complete_path(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Projects and ids, each with a colon; if none matches, files of this computer."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 # only for completion

    def workers(client: Client) -> list[str]:
        return [name for m in client.machines() for name in (f"{m.project}:" if m.project else "", f"{m.id}:")]

    return [*map(CompletionItem, _matches(ctx, incomplete, workers))] or [CompletionItem(incomplete, type="file")]


def _matches(ctx: click.Context, incomplete: str, names_of: Callable[[Client], list[str]]) -> list[str]:
    from worker_orchestrator.cli.service_connection import open_client, read_token  # noqa: PLC0415 # only for completion

    general = ctx.find_root().params  # the same options before the command's name
    try:
        url, file = (ctx.params.get(name) or general.get(name) for name in ("url", "token_file"))
        with open_client(url, file and read_token(file), timeout_s=_TIMEOUT_S) as client:
            names = {name for name in names_of(client) if name}
    except Exception:  # noqa: BLE001 # whatever is wrong, Tab must never print a traceback into the command that is typed
        return []
    return sorted(name for name in names if name.startswith(incomplete))
