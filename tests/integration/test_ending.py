"""Workers of projects get a signal and have time to end, and so does the service: on real Docker, also on a silent one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.contract.tcp_proxy import BesideTcpProxy, How, TcpProxy
from tests.integration.calling import call
from tests.integration.docker_command import docker_json, engine_socket, processes_of
from tests.integration.inside import a_probe_image
from tests.integration.late_service import FLAGS, put
from tests.integration.running import Running, a_service, orchestrator
from tests.integration.waiting import eventually

from worker_orchestrator.service.ending import END_S

Start = Callable[..., Running]
_SERVES = "httpd -f -p 9092 -h /srv & while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def stubborn(example_image: str) -> Iterator[str]:
    with a_probe_image(f"""ENTRYPOINT ["sh", "-c", "trap '' TERM; {_SERVES}"]""") as tag:
        yield tag


def is_stopping(service: Running, machine_id: str) -> bool:
    rows = service.rows(f"SELECT state FROM machine WHERE id = '{machine_id}'")
    return rows == [("stopping",)]


def test_an_operator_need_not_wait_for_a_worker_that_does_not_end(start: Start, stubborn: str, tmp_path: Path) -> None:
    service = start("--image", stubborn, "--min-idle", "0", "--stop-timeout", "600")
    worker = service.assign("p1")["containerId"]
    answers: list[int] = []
    asks = threading.Thread(target=lambda: answers.append(service.post_destroy(worker).status))
    asks.start()
    eventually(lambda: is_stopping(service, worker), "it is on record as stopping")
    assert docker_json("inspect", worker)["State"]["Status"] in {"running", "stopping"}
    other = service.assign("p2")["containerId"]  # nobody else waits
    url = f"http://localhost:{service.ports.api}"
    for name in (worker, "p2"):
        begun_at = time.monotonic()
        done = orchestrator("destroy", name, "--now", "--yes", "--url", url, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - begun_at < 30
    asks.join(30)
    assert answers == [200], "and whoever waited hears that it is gone"
    assert not {worker, other} & set(service.containers())


def test_a_worker_that_is_ending_is_removed_by_the_next_run(start: Start, stubborn: str) -> None:
    service = start("--image", stubborn, "--min-idle", "0", "--stop-timeout", "600", "--on-release", "recycle")
    killed, stopped = (service.assign(project)["containerId"] for project in ("p1", "p2"))
    service.release("p1")
    eventually(lambda: is_stopping(service, killed), "it is on record as stopping")
    service.end(signal.SIGKILL)
    service.start()
    service.release("p2")
    eventually(lambda: is_stopping(service, stopped), "it is on record as stopping")
    begun_at = time.monotonic()
    assert service.end() == 0
    assert time.monotonic() - begun_at < 10, "an orderly stop waits for no worker"
    service.flags = tuple("1" if flag == "600" else flag for flag in service.flags)
    service.start()
    eventually(lambda: not {killed, stopped} & set(service.containers()), "both are removed")


def test_the_service_is_gone_soon_although_its_engine_answers_nothing(tmp_path: Path, example_image: str) -> None:
    """What it would end there runs on: a set-up and a command. Who waits for the set-up hears that it is stopping."""
    with (
        BesideTcpProxy(TcpProxy(engine_socket())) as proxy,
        a_service(tmp_path, "--min-idle", "2", *FLAGS, "--late-timeout", "60", docker_host=proxy.proxy.url) as service,
        ThreadPoolExecutor() as beside,
    ):
        service.await_idle(2)
        configured = beside.submit(put, service, "configured", {"HOOK": "sleep 601"})
        commanded = service.assign("commanded")["containerId"]
        command = {"command": ["sleep", "602"], "timeout_seconds": 600}
        beside.submit(call, service.ports.api, "POST", f"/v1/machines/{commanded}/exec", command)
        found = eventually(lambda: service.machine_of("configured"), "it has a machine")
        assert found is not None
        hooked = found["id"]
        for machine_id, words in ((hooked, "sleep 601"), (commanded, "sleep 602")):
            eventually(lambda it=machine_id, do=words: do in str(processes_of(it)), "it runs")  # type: ignore[misc]
        proxy.behave(How.SILENT)
        begun_at = time.monotonic()
        try:
            assert service.end() == 0
            assert time.monotonic() - begun_at < END_S
        finally:
            proxy.behave(How.WELL)  # its containers are removed through it
        assert configured.result().status == 503
        assert "Traceback" not in service.log
