"""The service with all its previews leading to one worker, which is not in its process.

usage: elsewhere.py serve FLAG…   WORKER_PORT: where that worker is
"""

from __future__ import annotations

import os
import sys
from typing import Any

import msgspec

from worker_orchestrator.cli import main
from worker_orchestrator.door.messages import Route
from worker_orchestrator.http.previews.finding import Finding

if __name__ == "__main__":
    port, to_worker = int(os.environ.pop("WORKER_PORT")), Finding._to_worker

    def to_elsewhere(self: Finding, *words: Any) -> Route:
        return msgspec.structs.replace(to_worker(self, *words), host="127.0.0.1", port=port)

    setattr(Finding, "_to_worker", to_elsewhere)  # noqa: B010 # the service has no setting for this
    sys.argv = ["orchestrator", *sys.argv[1:]]
    main()
