"""The old name of `worker_orchestrator.wire.v1`, for programs that import the shapes of results from here."""

from worker_orchestrator.wire.v1 import *  # noqa: F403 # the same names
