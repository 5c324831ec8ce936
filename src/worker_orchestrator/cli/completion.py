"""`orchestrator completion`: the script by which a shell completes commands, options, projects and machine ids."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

__all__ = ["COMMANDS"]

_PROGRAM: Final = "orchestrator"
_VARIABLE: Final = "_ORCHESTRATOR_COMPLETE"
_WHOLE_DESCRIPTION: Final = ('(string split ","', '(string split --max 1 ","')
"""click's script for fish cuts a description, and a value, at its first comma."""


@click.command(short_help="Print a completion script for your shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands, options, projects and machine ids in SHELL.

    \b
    bash:  echo 'eval "$(orchestrator completion bash)"' >>~/.bashrc
    zsh:   echo 'eval "$(orchestrator completion zsh)"' >>~/.zshrc
    fish:  orchestrator completion fish >~/.config/fish/completions/orchestrator.fish
    """  # noqa: D301 # click reads the backspace
    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    script = kind(click.get_current_context().find_root().command, {}, _PROGRAM, _VARIABLE).source()
    click.echo(script.replace(*_WHOLE_DESCRIPTION))


COMMANDS: Final = (completion,)
