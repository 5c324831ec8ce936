"""Cold assigns against raw Docker calls with the same options, interleaved: one at a time, and 20 at once.

    python bench/cold.py [ROUNDS]

Raw is the least that anybody can do: POST create, POST start, GET until it answers, over one HTTP client, no bookkeeping.
The service runs as a process with --min-idle 0. Prints medians and their ratio; the order of the two swaps every round.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from worker_orchestrator.engines.docker_template import DockerOptions, make_template
from worker_orchestrator.engines.probe import http_probe
from worker_orchestrator.machine import Machine, State
from worker_orchestrator.settings import DEFAULT_ENV

IMAGE = "worker-orchestrator-example:latest"
API = 9792
DOCKER = "http://docker/v1.41"


class Raw:
    """Docker over its socket, with nothing in between."""

    def __init__(self, session: aiohttp.ClientSession, template: Any) -> None:
        self.session, self.template, self.port = session, template, 31000

    async def one(self) -> str:
        self.port += 1
        machine = Machine(f"raw-{self.port}-{time.time_ns()}", "default", "t", State.STARTING, self.port)
        body = self.template.create_body("bench", machine)
        async with self.session.post(f"{DOCKER}/containers/create", params={"name": machine.id}, json=body) as reply:
            native = (await reply.json())["Id"]
        async with self.session.post(f"{DOCKER}/containers/{native}/start") as reply:
            assert reply.status == 204, await reply.text()
        while await http_probe("127.0.0.1", self.port) is not None:
            await asyncio.sleep(0.005)
        return str(native)

    async def remove(self, natives: list[str]) -> None:
        for native in natives:
            async with self.session.delete(f"{DOCKER}/containers/{native}", params={"force": "1"}) as reply:
                await reply.read()


class Service:
    """The orchestrator, over HTTP."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session, self.count = session, 0

    async def one(self) -> str:
        self.count += 1
        async with self.session.get(f"http://127.0.0.1:{API}/p{self.count}") as reply:
            assert reply.status == 200, await reply.text()
            return str((await reply.json())["containerId"])

    async def remove(self, ids: list[str]) -> None:
        for machine_id in ids:
            async with self.session.post(f"http://127.0.0.1:{API}/destroy", json={"containerId": machine_id}) as reply:
                assert reply.status == 200, await reply.text()


async def timed(side: Raw | Service, parallel: int) -> float:
    begun = time.perf_counter()
    made = await asyncio.gather(*(side.one() for _ in range(parallel)))
    took = time.perf_counter() - begun
    assert len(set(made)) == parallel, "one each"
    await side.remove(list(made))
    return took


async def compare(raw: Raw, service: Service, parallel: int, rounds: int) -> None:
    times: dict[str, list[float]] = {"raw": [], "service": []}
    for number in range(rounds):
        order: list[tuple[str, Raw | Service]] = [("raw", raw), ("service", service)]
        for name, side in order if number % 2 else reversed(order):
            times[name].append(await timed(side, parallel))
    medians = {name: statistics.median(values) * 1000 for name, values in times.items()}
    ratios = [service / raw for raw, service in zip(times["raw"], times["service"], strict=True)]
    print(
        f"{parallel:>3} at once: raw {medians['raw']:7.1f} ms   service {medians['service']:7.1f} ms   "
        f"ratio of medians {medians['service'] / medians['raw']:.3f}   median of ratios {statistics.median(ratios):.3f}"
    )


async def main(rounds: int) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector("/var/run/docker.sock", limit=0)) as docker,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
    ):
        async with docker.get(f"{DOCKER}/images/{IMAGE}/json") as reply:
            image = await reply.json()
        async with docker.get(f"{DOCKER}/networks") as reply:
            network = next(n["Name"] for n in await reply.json() if n["Name"].startswith("worker-orchestrator-"))
        options = DockerOptions(IMAGE, env=DEFAULT_ENV, publish_addresses=("127.0.0.1", "::1"))
        raw, service = Raw(docker, make_template(options, image, network)), Service(http)
        await compare(raw, service, 1, rounds)
        await compare(raw, service, 20, max(3, rounds // 4))


def run() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as state:
        command = [sys.executable, "-m", "worker_orchestrator"]
        flags = ["--state-dir", state, "--image", IMAGE, "--log-format", "json"]
        more = ["--port", str(API), "--first-port", "32000", "--min-idle", "0"]
        with Path(state, "log").open("w") as log:
            service = subprocess.Popen([*command, "serve", *flags, *more], stderr=log)
        try:
            time.sleep(2)
            asyncio.run(main(rounds))
        finally:
            service.terminate()
            service.wait()
            subprocess.run([*command, "down", "--all", "--yes", *flags], check=False)


if __name__ == "__main__":
    run()
