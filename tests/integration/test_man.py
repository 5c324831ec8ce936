"""The man page, as `man` reads it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from tests.recipes.at_hand import needs

PAGE: Final = Path(__file__).parents[2] / "share" / "man" / "man1" / "orchestrator.1"


def test_it_is_read_without_a_warning() -> None:
    needs("man", "man-db")
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "100", "MANPAGER": "cat"}
    words = ["man", "--warnings", "--encoding=UTF-8", "--local-file", str(PAGE)]
    read = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert read.stderr == ""
    assert "orchestrator assign" in read.stdout
