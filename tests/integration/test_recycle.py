"""With `--on-release recycle` nothing of one project is left for the next: no file, process, volume, socket, port.

Takes about 20 seconds.
"""

from __future__ import annotations

import contextlib
import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.integration.docker_command import docker, docker_json
from tests.integration.inside import a_probe_image, inside
from tests.integration.running import Running
from tests.integration.waiting import eventually

Start = Callable[..., Running]
# Where a worker can write: its own file system, what Docker mounts in memory, and a volume of the image.
PLACES = ("/", "/bin", "/dev/shm", "/etc", "/run", "/srv", "/srv/files", "/tmp", "/data", "/dev/mqueue")
ROUNDS = 8
SOCKET_PORT = 7321


@pytest.fixture
def image(example_image: str) -> Iterator[str]:
    with a_probe_image("VOLUME /data") as tag:
        yield tag


def test_nothing_of_one_project_is_left_for_the_next(start: Start, image: str) -> None:
    """Many projects later, in every machine, on the engine, and on the host."""
    mark = f"mark{uuid.uuid4().hex}"
    others = set(volumes_of_nobody())
    service = start("--image", image, "--min-idle", "2", "--on-release", "recycle", "--max-machines", "5")
    service.await_idle(2)
    first = service.assign("first")
    native = docker_json("inspect", first["containerId"])["Id"]
    (volume,) = [mount["Name"] for mount in docker_json("inspect", native)["Mounts"]]
    leave_traces(first, mark)
    assert traces_inside(first, mark) >= {"files", "processes", "port"}, "else the rest of the test proves nothing"
    assert on_host(mark)
    processes = processes_of(native)
    assert len(processes) > 5

    service.release("first")
    eventually(lambda: first["containerId"] not in service.containers(), "the container is gone")
    assert docker("volume", "inspect", volume, check=False).failed
    assert not on_host(mark)
    # Ports, abstract sockets and shared memory live in namespaces, which end with the last process.
    assert [process for process in processes if process.is_running()] == []

    seen = []
    for number in range(ROUNDS):
        worker = service.assign(f"project-{number}")
        seen.append((docker_json("inspect", worker["containerId"])["Id"], worker["port"]))
        assert traces_inside(worker, mark) == set()
        service.release(f"project-{number}")
    assert native not in [container for container, _ in seen]
    assert len({container for container, _ in seen}) == ROUNDS
    assert first["port"] not in [port for _, port in seen], "a freed port is given again last"

    service.await_idle(2)
    eventually(lambda: len(service.containers()) == 2, "only the idle ones are left")
    eventually(lambda: set(volumes_of_nobody()) <= others, "no volume is left behind")


def processes_of(native: str) -> list[psutil.Process]:
    """The container's processes as the host knows them: those in its namespace. One that ends meanwhile is left out."""
    main = docker_json("inspect", native)["State"]["Pid"]
    space, found = Path(f"/proc/{main}/ns/pid").readlink(), []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if Path(f"/proc/{process.pid}/ns/pid").readlink() == space:
                found.append(process)
    return found


def volumes_of_nobody() -> list[str]:
    return docker("volume", "ls", "-q", "--filter", "dangling=true").lines


def leave_traces(worker: Any, mark: str) -> None:
    """Files everywhere (in shared memory too), processes that go on, a socket that listens."""
    script = f"""
        for place in {" ".join(PLACES)}; do echo {mark} >$place/{mark}; done
        mkdir -p /srv/files/{mark}.d && echo {mark} >>/srv/index.html
        for i in 1 2 3; do busybox setsid sh -c 'while true; do sleep 60; done; : {mark}' >/dev/null 2>&1 & done
        busybox setsid nc -l -p {SOCKET_PORT} >/dev/null 2>&1 &
        dd if=/dev/zero of=/dev/shm/{mark}.memory bs=1M count=8 2>/dev/null
    """
    assert inside(worker, script).code == 0


def traces_inside(worker: Any, mark: str) -> set[str]:
    """What kinds of the marked things a worker finds in its machine."""
    looks = {
        "files": f"find / \\( -path /proc -o -path /sys \\) -prune -o -name '*{mark}*' -print; "
        f"grep -rl {mark} {' '.join(sorted(set(PLACES) - {'/', '/bin'}))}",
        "processes": f"ps | grep {mark} | grep -v grep | grep -v find",
        "port": f"netstat -ltn | grep :{SOCKET_PORT}",
    }
    return {kind for kind, look in looks.items() if re.search(r"\S", inside(worker, f"{{ {look}; }} 2>/dev/null").out)}


def on_host(mark: str) -> list[str]:
    """The host's processes that bear the mark."""
    return [" ".join(found) for process in psutil.process_iter() if mark in " ".join(found := command_of(process))]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
