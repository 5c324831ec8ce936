"""How fast a service on pods is where a fake kubelet runs them: the API server and the service are all that is measured.

It needs the cluster that KUBECONFIG names, without nodes of its own: `scripts/kubernetes-apiserver` will do. Starts, ends
and addresses of pods are those of `fake_kubelet.py`: nothing here says how soon a real kubelet starts one.

usage: python -m tests.nodes.speed [ACT…]
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.nodes.fake_kubelet import NODE
from tests.nodes.service import PORT, Service, until

from worker_orchestrator.engines.kubernetes.calls import Refusal
from worker_orchestrator.engines.kubernetes.client import Client
from worker_orchestrator.engines.kubernetes.kubeconfig import find_access

MACHINES: Final = 2000
QUIET_S: Final = 60.0
TAKES_S: Final = 1.0
"""From a create that the fake kubelet hears of until the pod is Ready: about what a real one takes."""
ROUNDS: Final = 5
_WARM_WITHIN_S: Final = 1200.0
_COUNTED: Final = re.compile(
    r"^apiserver_(?P<kind>request_total|longrunning_(?:requests|gauge))\{(?P<labels>.*)\} (?P<count>\S+)$", re.MULTILINE
)

LIMITS: Final = {
    "watches of pods": 1.0, "processor of a tick": 50.0,
    "longest that a tick keeps others waiting": 50.0, "memory of the service": 250.0, "warm assign by bare merge patch": 2.2,
    "20 at once by 20 raw pods": 1.1, "from Ready to handed out": 100.0,
}  # fmt: skip


class Verdict:
    """What was measured, beside its limit."""

    def __init__(self) -> None:
        self.missed = list[str]()

    def tell(self, what: str, value: float, unit: str = "") -> None:
        limit = LIMITS.get(what)
        beside = "" if limit is None else f" (at most {limit:g})"
        print(f"{what}: {value:.4g} {unit}{beside}")
        if limit is not None and value > limit:
            self.missed.append(what)


@asynccontextmanager
async def kubelet(takes_s: float) -> AsyncIterator[Path]:
    """The fake kubelet as a process of its own, while the block lasts; the file in which it tells of pods that are Ready."""
    with tempfile.TemporaryDirectory() as folder:
        log, said = Path(folder, "ready"), Path(folder, "said")
        words = ["--takes", str(takes_s), "--ports", str(PORT), "--log", str(log)]
        with said.open("wb") as output:  # noqa: ASYNC230 # nothing else happens
            process = subprocess.Popen(  # noqa: ASYNC220 # nothing else happens
                [sys.executable, "-m", "tests.nodes.fake_kubelet", *words], stderr=output
            )
        client = Client(find_access())
        try:
            await until(lambda: _is_node_ready(client), "the fake node is Ready", 60)
            yield log
            assert process.poll() is None, said.read_text()  # noqa: ASYNC240
        finally:
            process.terminate()
            process.wait()
            with suppress(Refusal):
                await client.call("DELETE", f"/api/v1/nodes/{NODE}")
            await client.aclose()


async def _is_node_ready(client: Client) -> bool:
    with suppress(Refusal):
        node = await client.call("GET", f"/api/v1/nodes/{NODE}")
        conditions = {each["type"]: each["status"] for each in node["status"].get("conditions") or ()}
        return conditions.get("Ready") == "True" and not node["spec"].get("taints")
    return False


def _ready_at(log: Path) -> dict[str, float]:
    """By pod, in seconds of this computer's monotonic clock."""
    pairs = [line.split() for line in log.read_text().splitlines()]
    return {name: float(at) for name, at in pairs}


async def counted(client: Client) -> Counter[str]:
    """What the API server was asked for about pods of one namespace: ended requests by verb, and `open` watches."""
    async with client.stream("/metrics") as lines:
        text = (await lines.read()).decode()
    found = Counter[str]()
    for one in _COUNTED.finditer(text):
        labels = dict(re.findall(r'(\w+)="([^"]*)"', one["labels"]))
        if labels.get("resource") == "pods" and labels.get("scope") == "namespace" and not labels.get("subresource"):
            kind = labels["verb"] if one["kind"] == "request_total" else f"open {labels['verb']}"
            found[kind] += int(float(one["count"]))
    return found


async def _idle(service: Service) -> int:
    status, health = await service.ask("GET", "/health")
    return int(health["machines"]["idle"]) if status == 200 else 0


async def _warm(service: Service, count: int, pause_s: float = 0.05) -> None:
    async def is_warm() -> bool:
        return await _idle(service) >= count

    await until(is_warm, f"{count} are idle", _WARM_WITHIN_S, pause_s)


async def many(verdict: Verdict) -> None:
    """2,000 machines that nobody asks for: what is read of the API server in a minute, memory, and what a tick costs."""
    async with kubelet(0.0), Service("--min-idle", str(MACHINES), "--max-machines", str(MACHINES)) as service:
        begun_at = time.monotonic()
        await _warm(service, MACHINES, 1.0)
        print(f"{MACHINES} machines idle after {time.monotonic() - begun_at:.0f} s")
        await asyncio.sleep(10)
        before, cpu_before = await counted(service.client), service.cpu_s
        await asyncio.sleep(QUIET_S)
        after = await counted(service.client)
        print(f"asked for in {QUIET_S:g} s: {dict(after - before)}; processor {service.cpu_s - cpu_before:.2f} s")
        verdict.tell("watches of pods", after["open WATCH"])
        verdict.tell("memory of the service", service.memory_mib, "MiB")
        took = json.loads(await _ticks(service))
        verdict.tell("processor of a tick", took["cpu_ms"], "ms")
        verdict.tell("longest that a tick keeps others waiting", took["longest_ms"], "ms")
        verdict.tell("a tick with its listing", took["wall_ms"], "ms")


async def _ticks(service: Service) -> bytes:
    """What `bench.tick` says of ticks of this service, which ends here."""
    service.end()
    words = [sys.executable, "-m", "bench.tick", "kubernetes", str(MACHINES), json.dumps(service.settings)]
    ticking = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    said, _ = await ticking.communicate()
    assert ticking.returncode == 0, said
    return said


async def patch(verdict: Verdict) -> None:
    """A warm assign, in turns with a bare merge patch of a pod: medians of 100."""
    ours, bare = list[float](), list[float]()
    async with kubelet(0.0), Service("--min-idle", "20", "--max-machines", "200") as service:
        await _warm(service, 20)
        spec = {"containers": [{"name": "worker", "image": "any"}], "nodeSelector": {"no": "node"}}
        await service.client.call("POST", service.client.pods(), body={"metadata": {"name": "bare"}, "spec": spec})
        for number in range(120):
            begun_at = time.monotonic()
            body = {"metadata": {"annotations": {"n": str(number)}}}
            await service.client.call("PATCH", service.client.pods("bare"), body=body)
            bare.append(time.monotonic() - begun_at)
            begun_at = time.monotonic()
            status, reply = await service.ask("GET", f"/warm-{number}")
            ours.append(time.monotonic() - begun_at)
            assert status == 200, reply
            if number % 10 == 9:
                await _warm(service, 20)
    mine, theirs = statistics.median(ours[20:]) * 1000, statistics.median(bare[20:]) * 1000
    verdict.tell("warm assign", mine, "ms")
    verdict.tell("bare merge patch", theirs, "ms")
    verdict.tell("warm assign by bare merge patch", mine / theirs)


async def burst(verdict: Verdict) -> None:
    """20 at once on an empty pool, in turns with 20 raw pods of the same template; and from Ready to the reply."""
    ours, raw, late = list[float](), list[float](), list[float]()
    async with kubelet(TAKES_S) as log, Service("--min-idle", "0", "--max-machines", "60") as service:
        for turn in range(ROUNDS + 1):
            begun_at = time.monotonic()
            done = await asyncio.gather(*(_assigned(service, f"burst-{turn}-{number}") for number in range(20)))
            took_s, ready_at = time.monotonic() - begun_at, _ready_at(log)
            late += [at - ready_at[machine] for machine, at in done] if turn else []
            template = (await service.pods())[done[0][0]]
            await asyncio.gather(*(service.ask("DELETE", f"/burst-{turn}-{number}") for number in range(20)))
            await _until_gone(service)
            raw_s = await _raw_pods(service, template, log, turn)
            if turn:  # the first turn is for connections and caches
                ours.append(took_s)
                raw.append(raw_s)
    verdict.tell("20 at once", statistics.median(ours) * 1000, "ms")
    verdict.tell("20 raw pods", statistics.median(raw) * 1000, "ms")
    verdict.tell("20 at once by 20 raw pods", statistics.median(ours) / statistics.median(raw))
    verdict.tell("from Ready to handed out, of 20 at once", statistics.median(late) * 1000, "ms")


async def one(verdict: Verdict) -> None:
    """From Ready, as the API server acknowledged it, to the reply: one project at a time on an empty pool."""
    late = list[float]()
    async with kubelet(0.3) as log, Service("--min-idle", "0", "--max-machines", "60") as service:
        for turn in range(20):
            machine, at = await _assigned(service, f"one-{turn}")
            late.append(at - _ready_at(log)[machine])
    print("each of them:", ", ".join(f"{each * 1000:.0f}" for each in late), "ms")
    verdict.tell("from Ready to handed out", statistics.median(late) * 1000, "ms")
    verdict.tell("the same at most", max(late) * 1000, "ms")


async def _assigned(service: Service, project: str) -> tuple[str, float]:
    """Its machine, and when that was told."""
    status, reply = await service.ask("GET", f"/{project}")
    assert status == 200, reply
    return str(reply["containerId"]), time.monotonic()


async def _raw_pods(service: Service, template: dict[str, Any], log: Path, turn: int) -> float:
    """Seconds from the first create of 20 pods like this one until the last of them is Ready."""
    names = [f"raw-{turn}-{number}" for number in range(20)]
    spec = {key: value for key, value in template["spec"].items() if key != "nodeName"}
    begun_at = time.monotonic()
    bodies = [{"metadata": {"name": name, "labels": {"raw": "yes"}}, "spec": spec} for name in names]
    await asyncio.gather(*(service.client.call("POST", service.client.pods(), body=body) for body in bodies))

    async def are_ready() -> bool:
        return _ready_at(log).keys() >= set(names)

    await until(are_ready, "raw pods are Ready", 120, pause_s=0.01)
    took_s = max(_ready_at(log)[name] for name in names) - begun_at
    at_once = {"gracePeriodSeconds": 0}
    await service.client.call("DELETE", service.client.pods(), [("labelSelector", "raw=yes")], at_once)
    await _until_gone(service)
    return took_s


async def _until_gone(service: Service) -> None:
    async def are_gone() -> bool:
        return not await service.pods()

    await until(are_gone, "the pods are gone", 120, pause_s=0.2)


ACTS: Final[dict[str, Callable[[Verdict], Awaitable[None]]]] = {act.__name__: act for act in (one, patch, burst, many)}


def main() -> None:
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # it is a text file
    verdict = Verdict()
    for name in sys.argv[1:] or list(ACTS):
        asyncio.run(ACTS[name](verdict))  # type: ignore[arg-type] # a coroutine
    sys.exit(f"Over the limit: {', '.join(verdict.missed)}." if verdict.missed else 0)


if __name__ == "__main__":
    main()
