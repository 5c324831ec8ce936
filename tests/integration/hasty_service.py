"""The service with no pauses between the restarts of a project's machine: one that ends by itself fails for good in seconds.

usage: hasty_service.py serve FLAG…
"""

from __future__ import annotations

import sys

from worker_orchestrator.cli import main
from worker_orchestrator.core import brake

if __name__ == "__main__":
    setattr(brake, "RESTART_PAUSES_S", (0.0, 0.1, 0.1))  # noqa: B010 # of another length than it has
    sys.argv = ["orchestrator", *sys.argv[1:]]
    main()
