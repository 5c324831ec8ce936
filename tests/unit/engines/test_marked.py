"""The search for what a command left behind, on this computer: in a session of its own, so that nobody else is in reach."""

from __future__ import annotations

import subprocess
import sys

import pytest

from worker_orchestrator.engines.marked import SCRIPT, new_mark

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

TOGETHER = """
env "$2" sleep 60 >/dev/null & marked=$!
sleep 60 >/dev/null & other=$!
until tr '\\0' '\\n' </proc/$marked/environ | grep -q "^$2$"; do sleep 0.01; done
sh -c "$1" sh "$2"
kill -0 $other && echo " and the other lives"
kill $other
"""


def test_the_session_of_the_search_is_not_taken_for_that_of_the_command() -> None:
    """Else it kills whoever shares it, and itself."""
    words = ["sh", "-c", TOGETHER, "sh", SCRIPT, new_mark()]
    done = subprocess.run(words, start_new_session=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "gone and the other lives\n", done.stderr
