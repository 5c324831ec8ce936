"""`python -m website FOLDER`: build the site there. The first warning of Sphinx fails it."""

from __future__ import annotations

import sys
from pathlib import Path

from website.build import build

if __name__ == "__main__":
    build(Path(sys.argv[1]))
