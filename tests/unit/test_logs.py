"""Log lines: they stop nothing, and tell no secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SECRET = "a-secret-that-nobody-may-read"
STORY = f"""
import sys, structlog
from worker_orchestrator import logs
logs.configure(sys.argv[1])
log = structlog.get_logger("x")
def fails(headers):
    raise ValueError("broken")
try:
    fails({{"authorization": "Bearer {SECRET}"}})
except ValueError:
    log.exception("defect")
print("went on")
"""


def run(log_format: str, stderr: int) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-c", STORY, log_format]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, timeout=30, check=False)


def test_a_traceback_shows_no_local_variables() -> None:
    for log_format in ("console", "json"):
        done = run(log_format, subprocess.PIPE)
        assert b"ValueError: broken" in done.stderr
        assert SECRET.encode() not in done.stderr


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        assert run("console", full.fileno()).stdout == b"went on\n"
