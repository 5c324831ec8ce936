"""A look from inside: an image whose worker runs what it is sent, as its own child, and says how that ended."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.integration.calling import call
from tests.integration.docker_command import EXAMPLE, a_name, docker
from tests.integration.waiting import eventually

__all__ = ["Done", "a_fetch", "a_host_outside", "a_probe_image", "inside"]

_RUN: Final = b"""#!/bin/sh
printf 'Content-Type: text/plain\\r\\n\\r\\n'
sh -c "$(cat)" </dev/null 2>&1
printf '\\n%s' "$?"
"""
_USERS: Final = b"root::0:0:root:/:/bin/sh\nweb:x:1000:1000:web:/:/bin/sh\n"
_AS_ROOT: Final = () if os.geteuid() == 0 else ("sudo", "-n")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command in a worker ended."""

    code: int
    out: str


def inside(worker: Any, script: str, *, timeout_s: float = 30.0) -> Done:
    """Run a shell script in a worker of the probe image: `worker` is the reply to its assign."""
    answer = call(worker["port"], "POST", "/cgi-bin/run", script.encode(), timeout_s=timeout_s)
    assert answer.status == 200, f"{answer.status} {answer.text}"
    out, _, code = answer.text.rpartition("\n")
    return Done(int(code), out.strip())


def a_fetch(url: str) -> str:
    """A script that prints what a URL answers, and ends with an error where nothing does for two seconds."""
    return f"busybox timeout 2 wget -q -O - {url}"


@contextmanager
def a_probe_image(*changes: str) -> Iterator[str]:
    """The example image with such a worker, two users, a setuid busybox, and these Dockerfile instructions on top."""
    source, tag = a_name("source"), f"{a_name('image')}:latest"
    docker("create", "--name", source, EXAMPLE)
    try:
        busybox = _read(source, "/bin/busybox")
        files = {
            "srv/cgi-bin/run": (_RUN, 0o755),
            "etc/passwd": (_USERS, 0o644),
            "etc/group": (b"root:x:0:\nweb:x:1000:\n", 0o644),
            "bin/su": (busybox, 0o4755),
        }
        subprocess.run(["docker", "cp", "-", f"{source}:/"], input=_packed(files), capture_output=True, check=True)
        docker("commit", *[word for change in changes for word in ("--change", change)], source, tag)
    finally:
        docker("rm", "-f", source)
    try:
        yield tag
    finally:
        docker("rmi", "-f", tag, check=False)  # Podman keeps an image whose containers run


def _read(container: str, path: str) -> bytes:
    copied = subprocess.run(["docker", "cp", f"{container}:{path}", "-"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(copied.stdout)) as archive:
        file = archive.extractfile(path.rpartition("/")[2])
        assert file is not None
        return file.read()


def _packed(files: dict[str, tuple[bytes, int]]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path, (content, mode) in files.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@contextmanager
def a_host_outside() -> Iterator[str]:
    """The URL of a host beyond this one: a network namespace on a wire of its own, that knows no way back to containers."""
    name, number = f"wo{os.getpid()}", os.getpid() % 60 * 4
    here, there = f"198.51.100.{number + 1}", f"198.51.100.{number + 2}"
    wire = f"{name}a"
    server = [sys.executable, "-m", "http.server", "8000", "--bind", there, "--directory", "/var/empty"]
    _ip("netns", "add", name)
    try:
        _ip("link", "add", wire, "type", "veth", "peer", "name", f"{name}b", "netns", name)
        _ip("addr", "add", f"{here}/30", "dev", wire)
        _ip("link", "set", wire, "up")
        _ip("-n", name, "addr", "add", f"{there}/30", "dev", f"{name}b")
        _ip("-n", name, "link", "set", f"{name}b", "up")
        words = [*_AS_ROOT, "ip", "netns", "exec", name, *server]
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                eventually(lambda: _answers(there), "the host outside answers")
                yield f"http://{there}:8000/"
            finally:
                process.terminate()
    finally:
        _ip("netns", "del", name)
        subprocess.run([*_AS_ROOT, "ip", "link", "del", wire], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run([*_AS_ROOT, "ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr} (this needs root, or sudo without a password)"


def _answers(host: str) -> bool:
    try:
        return call(8000, "GET", "/", host=host, timeout_s=2).status > 0
    except OSError:
        return False
