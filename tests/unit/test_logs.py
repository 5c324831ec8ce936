"""Log lines: they stop nothing, and tell no secret."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator import logs

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


_KEYS = st.sampled_from(["machine", "project", "why", "generation", "request", "z", "a_b"])
_VALUES = st.text(max_size=20) | st.integers() | st.booleans() | st.floats(allow_nan=False)


@given(event=st.text(max_size=30), level=st.sampled_from(["info", "error"]), more=st.dictionaries(_KEYS, _VALUES))
def test_a_line_for_people_is_the_one_that_structlog_makes(event: str, level: str, more: dict[str, object]) -> None:
    told = {"event": event, "level": level, "timestamp": "2026-01-31T12:00:00.000001", **more}
    full = structlog.dev.ConsoleRenderer(colors=False, pad_event_to=12)
    assert logs._Console(colors=False)(None, level, dict(told)) == full(None, level, dict(told))


def test_what_is_said_together_is_written_together_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("json")
    log = structlog.get_logger()

    async def turn() -> None:
        log.info("first", machine="m", nothing=None)
        log.info("second", path=Path("/x"))
        assert stream.getvalue() == ""
        await asyncio.sleep(2 * logs._GATHER_S)
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert [(line["event"], line.get("path")) for line in lines] == [("first", None), ("second", "PosixPath('/x')")]
        assert "nothing" not in lines[0]

    asyncio.run(turn())
    log.info("third")
    assert json.loads(stream.getvalue().splitlines()[-1])["event"] == "third"
    structlog.reset_defaults()
