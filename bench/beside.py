"""What a log follower, ten event streams and a stuck command cost an assign: quiet and busy in turns, one service, one run.

    python bench/beside.py [ROUNDS]

Each round makes 400 first assigns of warm machines and as many releases, over one kept connection, and takes the p99 of the
assigns. The followers read in a process of their own.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration.calling import call
from tests.integration.running import Running, a_service

ASSIGNS = 400
FOLLOWERS = """
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


def round_of(service: Running) -> list[float]:
    """Milliseconds of each assign."""
    connection = http.client.HTTPConnection("127.0.0.1", service.ports.api, timeout=30)
    took = []

    def ask(method: str, project: str) -> float:
        begun = time.perf_counter()
        connection.request(method, f"/v1/projects/{project}/machine", headers={"Host": "localhost"})
        reply = connection.getresponse()
        body = reply.read()
        assert reply.status in {200, 201}, body
        return (time.perf_counter() - begun) * 1000

    for number in range(ASSIGNS):
        took.append(ask("PUT", f"p{number % 4}"))
        ask("DELETE", f"p{number % 4}")
        time.sleep(0.002)
    connection.close()
    return took


def p99(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[98]


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as folder, a_service(Path(folder) / "service", "--min-idle", "4") as service:
        service.await_idle(4)
        machine = json.loads(call(service.ports.api, "PUT", "/v1/projects/watched/machine").body)["id"]
        service.await_idle(4)
        round_of(service)
        quiet, busy = [], []
        for _ in range(rounds):
            quiet.append(round_of(service))
            words = [sys.executable, "-c", FOLLOWERS, str(service.ports.api), machine]
            with subprocess.Popen(words, stdout=subprocess.PIPE) as followers:
                assert followers.stdout is not None
                followers.stdout.readline()
                time.sleep(1)
                busy.append(round_of(service))
                followers.kill()
            time.sleep(1)
        a, b = statistics.median(map(p99, quiet)), statistics.median(map(p99, busy))
        c, d = (statistics.median(statistics.median(r) for r in rs) for rs in (quiet, busy))
        print(f"assign p50: quiet {c:.2f} ms, busy {d:.2f} ms, ratio {d / c:.2f}")
        print(
            f"assign p99: quiet {a:.2f} ms, busy {b:.2f} ms, ratio {b / a:.2f} (medians of {rounds} rounds, {ASSIGNS} each)"
        )


if __name__ == "__main__":
    main()
