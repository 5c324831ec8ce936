"""The service, whose door for agents leads to the tools that the conformance suite wants, in place of ours.

usage: diagnostic_service.py serve FLAG…
"""

from __future__ import annotations

import sys

from tests.mcp_conformance.diagnostic import diagnostic

from worker_orchestrator.cli import main
from worker_orchestrator.mcp import server

if __name__ == "__main__":
    setattr(server, "server_of", lambda _tools: diagnostic())  # noqa: B010 # it takes no tools of ours
    sys.argv = ["orchestrator", *sys.argv[1:]]
    main()
