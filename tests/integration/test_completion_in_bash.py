"""The completions of share/, loaded by a real bash: a command and an option are completed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "share" / "bash-completion" / "completions" / "orchestrator"
COMPLETE = """
source "$1"
function=$(complete -p orchestrator | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=(orchestrator "${@:2}")
COMP_CWORD=$#
((COMP_CWORD -= 1))
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
"$function" orchestrator "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("words", "expected"), [(("rel",), {"release", "reload"}), (("serve", "--trac"), {"--traces"})]
)
def test_bash_completes(words: tuple[str, ...], expected: set[str]) -> None:
    found = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": found},
        timeout=30,
        check=False,
    )
    assert set(done.stdout.split()) == expected, done.stderr
