"""A dockerd of one's own, in namespaces of its own (network, mounts, processes), which end with their first process.

It must not meet the machine's: both would rewrite the same firewall rules, and a second dockerd deletes docker0.

DAEMON=podman has Podman's API in its place. DAEMON_TREE names a Linux (a folder, as `debootstrap` makes it) whose dockerd or
Podman that is; else it is the one that is installed here.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from tests.integration.docker_command import EXAMPLE, docker
from tests.integration.tree import Tree
from tests.integration.waiting import eventually

__all__ = ["IS_PODMAN", "Daemon", "a_daemon", "alone"]

_KIND: Final = os.environ.get("DAEMON") or "dockerd"
IS_PODMAN: Final = _KIND == "podman"
_TREE: Final = os.environ.get("DAEMON_TREE", "")
_AS_ROOT: Final = [] if os.geteuid() == 0 else ["sudo", "-n", "--preserve-env=PATH,DAEMON,DAEMON_TREE"]
_NAMESPACES: Final = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
# The shell stays as the first process, since somebody must collect the orphans: a zombie containerd looks alive to dockerd.
_AS_FIRST: Final = ["sh", "-c", 'ip link set lo up && "$@"; exit $?', "sh"]


def alone(*words: str) -> list[str]:
    """The command that runs these words as root, in namespaces of their own."""
    for program in ("unshare", "ip", *(() if _TREE else (_KIND,))):
        if shutil.which(program) is None:
            pytest.fail(f"{program} is not installed: these tests start a {_KIND} of their own.", pytrace=False)
    return [*_AS_ROOT, *_NAMESPACES, *_AS_FIRST, *words]


@dataclass(slots=True)
class Daemon:
    """A dockerd, or Podman's API, with all it has in one folder."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    tree: Tree | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> None:
        words = self._words() if self.tree is None else self.tree.command(self._words())
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        eventually(self._answers, f"the {_KIND} answers", within_s=60)

    def _words(self) -> list[str]:
        if not IS_PODMAN:
            folders = ("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec")
            return ["dockerd", *folders, "--pidfile", f"{self.folder}/pid", "--host", self.host]
        settings = self.folder / "containers.conf"
        settings.write_text(_containers_conf(), encoding="ascii")
        store = ("--root", f"{self.folder}/data", "--runroot", f"{self.folder}/run")
        networks = ("--network-config-dir", f"{self.folder}/net")
        given = (f"CONTAINERS_CONF={settings}", "PODMAN_IGNORE_CGROUPSV1_WARNING=1")
        return ["env", *given, "podman", *store, *networks, "system", "service", "--time=0", self.host]

    def _answers(self) -> bool:
        assert self.process is not None
        code, log = self.process.poll(), (self.folder / "log").read_text(errors="replace")
        assert code is None, f"{_KIND} did not start:\n{log[-2000:]}"
        return not docker("version", host=self.host, check=False).failed

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None, "it does not run"
        self.process.send_signal(number)

    def stop(self) -> None:
        """As `systemctl stop docker`: containers end with it, but for Podman's."""
        if self.process is not None:
            self.send(signal.SIGTERM)
            self.process.wait(60)
            self.process = None

    def kill(self) -> None:
        """It ends without a word; its containers run on until the next one finds them."""
        self.send(signal.SIGKILL)
        assert self.process is not None, "it does not run"
        self.process.wait(60)
        self.process = None


def _containers_conf() -> str:
    """Podman without systemd. It refuses limits that are higher than its own."""
    limits = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    hard = {name: resource.getrlimit(limit)[1] for name, limit in limits.items()}
    ulimits = ", ".join(f'"{name}={most}:{most}"' for name, most in hard.items())
    lines = (
        f'[containers]\ndefault_ulimits = [{ulimits}]\nlog_driver = "k8s-file"',
        '[network]\nfirewall_driver = "nftables"',
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "crun"',
    )
    return "\n".join(lines) + "\n"


@contextmanager
def a_daemon() -> Iterator[Daemon]:
    """A dockerd that runs while the block does, with the example worker's image."""
    assert {name for _, name in socket.if_nameindex()} <= {"lo"}, "run me with `alone`, in a network of my own"
    folder = Path(tempfile.mkdtemp(prefix="wo-dockerd-"))  # a socket's path must be short
    daemon = Daemon(folder)
    try:
        daemon.tree = Tree.enter(Path(_TREE), folder) if _TREE else None
        daemon.start()
        docker("save", "-o", f"{folder}/image.tar", EXAMPLE)
        docker("load", "-i", f"{folder}/image.tar", host=daemon.host)
        yield daemon
    finally:
        daemon.stop()
        if daemon.tree is not None:
            daemon.tree.leave()
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in reversed([mount for mount in mounts if mount.startswith(str(folder))]):
            subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(folder)
