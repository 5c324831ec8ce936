"""Log lines: they stop nothing, and tell no secret."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from worker_orchestrator.telemetry import logs

SECRET = "a-secret-that-nobody-may-read"
STORY = f"""
import sys, structlog
from worker_orchestrator.telemetry import logs
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
LIBRARY = """
import logging
from worker_orchestrator.telemetry import logs
logs.configure("json")
log = logging.getLogger("some.library")
log.info("not told")
log.warning("odd: %s", "a\\nb")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("broken")
"""


def run(log_format: str, stderr: int) -> subprocess.CompletedProcess[bytes]:
    words = [sys.executable, "-c", STORY, log_format]
    return subprocess.run(words, stdout=subprocess.PIPE, stderr=stderr, timeout=30, check=False)


def test_a_traceback_shows_no_local_variables() -> None:
    for log_format in ("console", "json"):
        done = run(log_format, subprocess.PIPE)
        assert b"ValueError: broken" in done.stderr
        assert SECRET.encode() not in done.stderr


def test_what_a_library_says_is_json_as_well() -> None:
    done = subprocess.run([sys.executable, "-c", LIBRARY], stderr=subprocess.PIPE, timeout=30, check=True)
    odd, broken = map(json.loads, done.stderr.splitlines())
    assert (odd["event"], odd["level"], odd["logger"]) == ("odd: a\nb", "warning", "some.library")
    assert _TIME.match(odd["timestamp"])
    assert "ZeroDivisionError" in broken["exception"]


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    with Path("/dev/full").open("wb") as full:
        assert run("console", full.fileno()).stdout == b"went on\n"


_KEYS = st.sampled_from(["machine", "project", "why", "generation", "request", "z", "a_b"])
_VALUES = st.none() | st.text(max_size=20) | st.integers(-(2**60), 2**60) | st.booleans() | st.floats(allow_nan=False)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}")


@pytest.mark.parametrize("log_format", ["console", "json"])
@given(event=st.text(max_size=30), more=st.dictionaries(_KEYS, _VALUES))
def test_the_short_way_says_what_structlog_says(log_format: str, event: str, more: dict[str, object]) -> None:
    """Every key in its place, the time in its form."""
    with contextlib.redirect_stderr(io.StringIO()) as stream:
        logs.configure(log_format)
        structlog.get_logger().info(event, **more)
        structlog.configure(wrapper_class=logs._Filtering)
        structlog.get_logger().info(event, **more)
        structlog.reset_defaults()
    said = stream.getvalue()
    once, rest = said[: len(said) // 2], said[len(said) // 2 :]
    assert len(_TIME.findall(said)) >= 2
    assert _TIME.sub("", once, count=1) == _TIME.sub("", rest, count=1)


def test_what_is_said_together_is_written_together_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("json")
    log = structlog.get_logger()

    async def turn() -> None:
        log.info("first", machine="m", nothing=None)
        log.info("second", path=Path("/x"))
        assert stream.getvalue() == ""
        await asyncio.sleep(2 * logs._COLLECT_S)
        lines = [json.loads(line) for line in stream.getvalue().splitlines()]
        assert [(line["event"], line.get("path")) for line in lines] == [("first", None), ("second", "PosixPath('/x')")]
        assert "nothing" not in lines[0]

    asyncio.run(turn())
    log.info("third")
    assert json.loads(stream.getvalue().splitlines()[-1])["event"] == "third"
    structlog.reset_defaults()
