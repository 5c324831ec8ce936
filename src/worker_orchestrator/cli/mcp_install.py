"""`orchestrator mcp install`: the entry for our server in the configuration of an MCP client.

What else is in the file stays. A file that is not understood is refused, and no secret is written unless the user says so.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from click.core import ParameterSource

from worker_orchestrator.cli.exit_codes import FAILED, USAGE, CommandFailed
from worker_orchestrator.cli.mcp_project import project_of

__all__ = ["install"]

_TOKEN: Final = "ORCHESTRATOR_TOKEN"  # noqa: S105 # the name of a variable
_HIDDEN: Final = "(the token)"


class _Place(NamedTuple):
    """Where a client looks: a file, and the object in it that has the servers by their names.

    `extra` is what each of its entries has besides; `is_global`: the file is that of a user, not of a folder.
    """

    title: str
    file: Callable[[], Path]
    servers: str = "mcpServers"
    extra: tuple[tuple[str, str], ...] = ()
    is_global: bool = False


def _desktop() -> Path:
    """Where Claude Desktop keeps its settings on this system."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming")
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "Claude" / "claude_desktop_config.json"


_STDIO: Final = (("type", "stdio"),)
_PLACES: Final = {
    "claude-code": _Place("Claude Code", lambda: Path(".mcp.json"), extra=_STDIO),
    "claude-desktop": _Place("Claude Desktop", _desktop, is_global=True),
    "cursor": _Place("Cursor", lambda: Path(".cursor", "mcp.json")),
    "vscode": _Place("VS Code", lambda: Path(".vscode", "mcp.json"), servers="servers", extra=_STDIO),
}


@click.command(short_help="Write the entry for an MCP client.")
@click.argument("client", type=click.Choice(list(_PLACES)))
@click.option("--name", default="worker", show_default=True, metavar="NAME", help="What the entry is called.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--write-token", is_flag=True, help=f"Write the value of {_TOKEN} into the file, for all who can read it."
)
@click.pass_context
def install(ctx: click.Context, client: str, name: str, *, yes: bool, write_token: bool) -> None:
    """Show the entry for CLIENT, ask, and write it into the configuration of CLIENT.

    \b
    Options of the server stand before `install`, and are kept in the entry:
    orchestrator mcp --read-only install cursor

    The file of Claude Code, Cursor and VS Code is that of the folder in which you are. The file as it was is kept, with
    `.bak` at the end of its name.
    """  # noqa: D301 # click reads the backspace
    place = _PLACES[client]
    file = place.file().resolve()
    before, document = _read(file, place)
    entry = _entry(ctx, place, write_token=write_token)
    servers: dict[str, Any] = document.setdefault(place.servers, {})
    if servers.get(name) == entry:
        click.echo(f"{file} has this entry already.")
        return
    click.echo(
        f"{file} ({place.title}), {place.servers}, {'replaces' if name in servers else 'adds'} {name}:", err=True
    )
    click.echo(json.dumps({name: _shown(entry)}, indent=2, ensure_ascii=False), err=True)
    _tell_of_token(place, entry)
    if not yes and not click.confirm("Write it?", err=True):
        raise CommandFailed(f"{file} was not changed.", FAILED)
    servers[name] = entry
    _write(file, before, document, is_secret=write_token)
    click.echo(f"Wrote {file}. Restart {place.title}, or reload its MCP servers.")


def _read(file: Path, place: _Place) -> tuple[str | None, dict[str, Any]]:
    """The text of the file, None if there is none, and what it means. Raises CommandFailed."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None, {}
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror or "it cannot be read") if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CommandFailed(f"{file} was not changed: {why}.", FAILED) from None
    try:
        document = json.loads(text, object_pairs_hook=_without_twins) if text.strip() else {}
    except (ValueError, RecursionError) as error:
        raise CommandFailed(
            f"{file} was not changed, since it is not plain JSON ({error}). Add the entry by hand: docs/mcp.md has it.",
            FAILED,
        ) from None
    if not isinstance(document, dict) or not isinstance(document.get(place.servers, {}), dict):
        raise CommandFailed(
            f"{file} was not changed, since it does not have an object {place.servers} at its root. Is it of another "
            f"version of {place.title}? Add the entry by hand: docs/mcp.md has it.",
            FAILED,
        )
    return text, document


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return document


def _entry(ctx: click.Context, place: _Place, *, write_token: bool) -> dict[str, Any]:
    """How the client is to start the server, with the options that were given here. Raises CommandFailed."""
    server = ctx.parent
    assert server is not None, "it is a subcommand"
    program = shutil.which("orchestrator")
    command = [program] if program else [sys.executable, "-m", "worker_orchestrator"]
    options = _options_given(server)
    if place.is_global and "--project" not in options:
        options += ["--project", project_of(Path.cwd())]  # this client starts its servers in no folder of a project
    entry: dict[str, Any] = {**dict(place.extra), "command": command[0], "args": [*command[1:], "mcp", *options]}
    if write_token:
        token = os.environ.get(_TOKEN)
        if not token:
            raise CommandFailed(f"--write-token needs {_TOKEN} in the environment.", USAGE)
        entry["env"] = {_TOKEN: token}
    return entry


def _options_given(server: click.Context) -> list[str]:
    """The options of `orchestrator mcp` on this command line, and the service that it would talk to."""
    values = dict(server.params)
    general = server.obj  # the options before the command's name
    values["url"] = values.get("url") or (general and general.url) or os.environ.get("ORCHESTRATOR_URL")
    token_file = (
        values.get("token_file") or (general and general.token_file) or os.environ.get("ORCHESTRATOR_TOKEN_FILE")
    )
    values["token_file"] = token_file and str(Path(token_file).absolute())
    options: list[str] = []
    for parameter in server.command.params:
        name = parameter.name or ""
        is_given = server.get_parameter_source(name) is ParameterSource.COMMANDLINE or name in {"url", "token_file"}
        if not is_given or not (value := values.get(name)):
            continue
        flag = parameter.opts[0]
        options += [flag] if value is True else [flag, f"{value}s" if parameter.metavar == "DURATION" else str(value)]
    return options


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "env": dict.fromkeys(entry["env"], _HIDDEN)} if "env" in entry else entry


def _tell_of_token(place: _Place, entry: dict[str, Any]) -> None:
    if "env" in entry:
        click.echo("The token will be in this file: who can read it can use the service. Keep it out of git.", err=True)
    elif "--token-file" not in entry["args"] and os.environ.get(_TOKEN):
        click.echo(
            f"The token is not written. {place.title} must have {_TOKEN} in its environment; or name a file that has it "
            "(--token-file), or write it (--write-token).",
            err=True,
        )


def _write(file: Path, before: str | None, document: dict[str, Any], *, is_secret: bool) -> None:
    """Replace the file at once, after a copy of it was made. Its mode stays. Raises CommandFailed."""
    text = json.dumps(document, indent=_indent(before or ""), ensure_ascii=False) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if before is not None:
            shutil.copy2(file, f"{file}.bak")
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as temporary:
                temporary.write(text)
            if before is not None:
                shutil.copymode(file, name)
            elif not is_secret:
                Path(name).chmod(0o644)
            Path(name).replace(file)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CommandFailed(f"{file} was not changed: {error.strerror}.", FAILED) from None


def _indent(text: str) -> str:
    """With what this file indents its first level."""
    for line in text.splitlines()[1:]:
        if inner := line[: len(line) - len(line.lstrip())]:
            return inner
    return "  "
