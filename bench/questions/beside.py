"""What a log follower, ten event streams and a stuck command cost an assign: with and without them in turn, on one service.

The followers read in a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from bench import load
from bench.run import Run
from bench.subjects import Subject, ask, service

__all__ = ["beside"]

IDLE: Final = 4
SETTLE_S: Final = 1.0
FOLLOWERS: Final = """
import http.client, json, sys, threading
port, machine = int(sys.argv[1]), sys.argv[2]
def follow(path):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path, headers={"Host": "localhost"})
    response = connection.getresponse()
    while response.read1(65536): pass
def stuck():
    connection = http.client.HTTPConnection("127.0.0.1", port)
    body = json.dumps({"command": ["sh", "-c", "while :; do echo busy; sleep 0.1; done"], "timeout_seconds": 3000})
    connection.request("POST", f"/v1/machines/{machine}/exec", body, {"Host": "localhost"})
    connection.getresponse().read()
paths = ["/v1/events"] * 10 + [f"/v1/machines/{machine}/logs?follow=true"]
for path in paths: threading.Thread(target=follow, args=(path,), daemon=True).start()
print("begun", flush=True)
stuck()
"""


def beside(run: Run) -> None:
    with service("--min-idle", str(IDLE), "--max-machines", str(IDLE + 1)) as subject:
        subject.await_idle(IDLE)
        status, body = ask(subject.port, "PUT", "/v1/projects/watched/machine")
        assert status == 201, body
        machine = json.loads(body)["id"]
        subject.await_idle(IDLE)
        for side in run.interleaved(7, ("quiet", "busy")):
            if side == "quiet":
                _measure(run, side, subject)
            else:
                with _followers(subject, machine):
                    _measure(run, side, subject)
                time.sleep(SETTLE_S)


def _measure(run: Run, side: str, subject: Subject) -> None:
    found = load.opened(subject.port, 100, run.seconds(4.0, 2.0), _pair)
    run.book.add_times(f"beside.{side}", found.took_ms["assign"])


def _pair(number: int) -> tuple[bytes, bytes]:
    path = f"/v1/projects/p{number % IDLE}/machine"
    return load.request("PUT", path), load.request("DELETE", path)


@contextmanager
def _followers(subject: Subject, machine: str) -> Iterator[None]:
    words = [sys.executable, "-c", FOLLOWERS, str(subject.port), machine]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as followers:
        assert followers.stdout is not None
        try:
            followers.stdout.readline()
            time.sleep(SETTLE_S)
            yield
        finally:
            followers.kill()
