"""The peers: installed from their registries under build/bench/peers, and driven through pipes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.peers.images import make_images
from bench.subjects import BUILD, ROOT, free_port

__all__ = ["PEERS", "Peer", "PeerStoppedError", "a_peer"]

_HOME: Final = BUILD / "peers"
_DRIVERS: Final = ROOT / "bench" / "peers"


class PeerStoppedError(Exception):
    """A peer cannot be measured here; the text says what stopped it."""


@dataclass(frozen=True, slots=True)
class _Package:
    """What to install and what to run. `has_pool`: it keeps containers warm."""

    requirements: Sequence[str]
    driver: str
    has_pool: bool = False
    ports: int = 0
    proxy: bool = False


PEERS: Final = {
    "opensandbox-server": _Package(("opensandbox-server==1.1.1",), "opensandbox_server.py", ports=1),
    "jupyterhub": _Package(
        ("jupyterhub==6.1.1", "dockerspawner==14.0.0"), "jupyterhub_dockerspawner.py", ports=1, proxy=True
    ),
    "llm-sandbox": _Package(("llm-sandbox[docker]==0.3.46",), "llm_sandbox_pool.py", has_pool=True),
    "container-pool": _Package(
        ("container-pool==0.1.0", "aiodocker==0.27.0"), "container_pool_docker.py", has_pool=True
    ),
}


@dataclass(slots=True)
class Peer:
    """A running driver."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def do(self, deed: str, **wanted: Any) -> Any:
        """Let it measure this. Raises PeerStoppedError."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"do": deed, **wanted}) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise PeerStoppedError(f"{self.name} ended: {self.last_words()}") from None
        return self.reply()

    def reply(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerStoppedError(f"{self.name} ended: {self.last_words()}")
        found = json.loads(line)
        if "error" in found:
            raise PeerStoppedError(f"{self.name}: {found['error']}")
        return found

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "without a word"


@contextmanager
def a_peer(name: str) -> Iterator[Peer]:
    """This peer, installed and running. Raises PeerStoppedError if that is not possible."""
    package = PEERS[name]
    make_images()
    python = _installed(name, package)
    words = [str(python), str(_DRIVERS / package.driver), *(str(free_port()) for _ in range(package.ports))]
    if package.proxy:
        words.append(str(_proxy()))
    log = _HOME / f"{name}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    peer = Peer(name, process, log)
    try:
        peer.reply()
        yield peer
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _installed(name: str, package: _Package) -> Path:
    home = _HOME / name
    python, stamp = home / "bin" / "python", home / "installed"
    wanted = "\n".join(package.requirements)
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"installing {', '.join(package.requirements)}", file=sys.stderr)
    venv.create(home, clear=True, with_pip=True)
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *package.requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeerStoppedError(f"{name} cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    stamp.write_text(wanted)
    return python


def _proxy() -> Path:
    """JupyterHub's own proxy, from npm."""
    home = _HOME / "proxy"
    program = home / "node_modules" / ".bin" / "configurable-http-proxy"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(_DRIVERS / "proxy" / "package.json", home)
        done = subprocess.run(
            ["npm", "install", "--silent", "--no-audit", "--no-fund"],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PeerStoppedError(f"configurable-http-proxy cannot be installed: {done.stderr.strip()[-200:]}")
    return program
