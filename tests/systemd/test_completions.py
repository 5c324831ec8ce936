"""The completions of share/, where Debian's zsh and fish look for them, and what `orchestrator completion zsh` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from tests.integration.terminals import on_a_terminal
from tests.systemd.computer import BIN, Computer

SHARE: Final = f"{BIN.removesuffix('/bin')}/share"
CASES: Final = (
    ("orchestrator rel", {"release", "reload"}),
    ("orchestrator serve --trac", {"--traces"}),
    ("orchestrator completion ", {"bash", "zsh", "fish"}),
)
IN_ZSH: Final = (
    f"fpath=({SHARE}/zsh/site-functions $fpath); autoload -Uz compinit; compinit -u -D",
    'autoload -Uz compinit; compinit -u -D; eval "$(orchestrator completion zsh)"',
)


def completed_by_fish(computer: Computer, typed: str) -> dict[str, str]:
    """What Tab offers, and how fish describes it. `complete -C` prints that."""
    said = computer.run("env", f"XDG_DATA_DIRS={SHARE}:/usr/share", "fish", "-c", f"complete -C '{typed}'")
    assert not said.err
    return {word: what for word, _, what in (line.partition("\t") for line in said.out.splitlines())}


@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_fish_completes(computer: Computer, typed: str, expected: set[str]) -> None:
    assert completed_by_fish(computer, typed).keys() == expected


def test_fish_describes_a_command_in_full(computer: Computer) -> None:
    assert completed_by_fish(computer, "orchestrator ini") == {
        "init": "Ask a few questions, and write orchestrator.toml."
    }


@pytest.mark.parametrize("set_up", IN_ZSH, ids=("in share", "by eval"))
@pytest.mark.parametrize(("typed", "expected"), CASES)
def test_zsh_completes(computer: Computer, tmp_path: Path, typed: str, expected: set[str], set_up: str) -> None:
    """On a terminal, as somebody types. The second Tab lists what there is, if it is more than one word."""
    with on_a_terminal(computer.words("zsh", "-f", "-i"), cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}) as screen:
        screen.type(f"{set_up}; print -r -- re''ady\n")
        screen.await_text("ready")
        screen.forget()
        screen.type(f"{typed}\t\t")
        for word in expected:
            screen.await_text(word)
