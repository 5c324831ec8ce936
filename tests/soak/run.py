"""Starts a soak in namespaces of its own, as root.   MINUTES: of its long acts; ACTS: only these, with commas between."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.daemon import alone

ROOT = Path(__file__).parents[2]


def main() -> int:
    only = [word for act in os.environ.get("ACTS", "").split(",") if act.strip() for word in ("--only", act.strip())]
    keep = ("--keep", str(ROOT / "build" / "soak"))
    words = ("-B", "-m", "tests.soak.soak", "--minutes", os.environ.get("MINUTES") or "10", *only, *keep)
    return subprocess.run(alone(sys.executable, *words), stdin=subprocess.DEVNULL, cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
