"""The world outside, as an operator meets it: the `docker` command, and throw-away images, containers and events."""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.waiting import eventually

from worker_orchestrator.engines.docker.dialect import Dialect

__all__ = [
    "EXAMPLE",
    "LABEL",
    "Events",
    "a_name",
    "clean_up",
    "docker",
    "docker_json",
    "engine_command",
    "engine_socket",
    "is_podman",
    "make_image",
    "owned",
    "processes_of",
    "remove_image",
    "takes_feeds",
]

EXAMPLE: Final = "worker-orchestrator-example:latest"
LABEL: Final = "worker-orchestrator"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Ran:
    """How one `docker` command ended."""

    code: int
    out: str
    err: str

    @property
    def failed(self) -> bool:
        return self.code != 0

    @property
    def lines(self) -> list[str]:
        return self.out.split()


def docker(*args: str, host: str = "", check: bool = True, timeout_s: float = 60.0) -> Ran:
    """Run `docker ARGS`, on another engine where `host` names one."""
    command = ["docker", *(("-H", host) if host else ()), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        return Ran(127, "", "the docker command is not installed")
    ran = Ran(done.returncode, done.stdout.strip(), done.stderr.strip())
    assert not (check and ran.failed), f"{' '.join(command)}: {ran.err}"
    return ran


def docker_json(*args: str, host: str = "") -> Any:
    """The first element of what `docker … inspect` prints."""
    return json.loads(docker(*args, host=host).out)[0]


def a_name(kind: str) -> str:
    """A name that no other test uses, in this process or another."""
    return f"wo-test-{kind}-{os.getpid()}-{next(_numbers)}"


def make_image(tag: str, *changes: str, host: str = "") -> str:
    """Give `tag` to the example image with these Dockerfile instructions on top. No builder is needed. Returns the id."""
    source = docker("create", "--name", a_name("source"), EXAMPLE, host=host).out
    try:
        named = [word for change in changes for word in ("--change", change)]
        return docker("commit", *named, source, tag, host=host).out
    finally:
        docker("rm", "-f", source, host=host)


def owned(owner: str, *, host: str = "") -> list[str]:
    """Names of the containers of this owner, in any state."""
    return docker("ps", "-a", "--filter", f"label={LABEL}.owner={owner}", "--format", "{{.Names}}", host=host).lines


@functools.cache
def is_podman() -> bool:
    """Whether the engine that serves Docker's API here is Podman."""
    return "Podman Engine" in docker("version").out


def processes_of(container: str) -> list[str]:
    """The number and the words of each process in it. Where its host has no `ps`, Podman would run the container's own."""
    shown = ("pid,args",) if is_podman() else ("-eo", "pid,args")
    return docker("top", container, *shown).out.splitlines()[1:]


def takes_feeds() -> bool:
    """Whether values get in by a program that waits for them."""
    return not is_podman() and Dialect.of(json.loads(docker("info", "--format", "{{json .}}").out)).takes_feeds


def engine_command() -> str:
    """The command that the service names to people."""
    return "podman" if is_podman() else "docker"


def engine_socket() -> str:
    """The path of the socket of the engine that `docker` uses here."""
    return os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")


def remove_image(tag: str) -> None:
    """Remove it by force, and on Podman its containers as well: while one of them runs, Podman keeps the image."""

    def is_gone() -> bool:
        if is_podman() and (left := docker("ps", "-aq", "--filter", f"ancestor={tag}").lines):
            docker("rm", "-f", *left, check=False)
        docker("rmi", "-f", tag, check=False)
        return docker("image", "inspect", tag, check=False).failed

    eventually(is_gone, f"the image {tag} is removed", within_s=30)


def clean_up(owner: str, *, host: str = "") -> None:
    """Remove every container and network of this owner."""
    by_label = ("--filter", f"label={LABEL}.owner={owner}")
    containers = docker("ps", "-aq", *by_label, host=host).lines
    if containers:
        docker("rm", "-f", "-v", *containers, host=host, check=False)
    networks = docker("network", "ls", "-q", *by_label, host=host).lines
    if networks:
        docker("network", "rm", *networks, host=host, check=False)


class Events:
    """Docker's events while a block runs, as they come: the engine remembers only the last few hundred."""

    def __init__(self, stream: Iterator[str]) -> None:
        self._stream = stream
        self.seen: list[Mapping[str, Any]] = []

    @classmethod
    @contextmanager
    def of(cls, owner: str, *actions: str) -> Iterator[Events]:
        """Those of these actions (`create`, `start`…) on this owner's containers."""
        wanted = (f"label={LABEL}.owner={owner}", *(f"event={action}" for action in actions))
        filters = [part for one in wanted for part in ("--filter", one)]
        command = ["docker", "events", *filters, "--format", "{{json .}}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            events = cls(process.stdout)
            reader = threading.Thread(target=events._read, daemon=True)
            reader.start()
            try:
                yield events
            finally:
                process.kill()
                reader.join()

    def _read(self) -> None:
        for line in self._stream:
            self.seen.append(json.loads(line))

    @property
    def times_s(self) -> list[float]:
        """When each happened, oldest first, in seconds since 1970."""
        return [event["timeNano"] / 1e9 for event in self.seen]
