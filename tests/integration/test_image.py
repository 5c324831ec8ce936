"""The image of the orchestrator: built by the Dockerfile, run as docs/container.md says, asked as the API document does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.integration.calling import call
from tests.integration.docker_command import a_name, clean_up, docker, is_podman, owned
from tests.integration.python_image import a_python_image
from tests.integration.waiting import PortBlock, eventually
from tests.recipes.commands import Block, blocks, commands_of, reason_not_to

ROOT: Final = Path(__file__).parents[2]
TOKEN: Final = "0123456789abcdef" * 4
BLOCKS: Final = [block for block in blocks("docs/container.md") if "docker run" in block.text]
ASKS: Final = (
    "import sys, urllib.request as r; "
    f"print(r.urlopen(r.Request(sys.argv[1], headers={{'Authorization': 'Bearer {TOKEN}'}}), timeout=20).read().decode())"
)
OWNER: Final = (
    "import sqlite3; "
    "print(*next(sqlite3.connect('/var/lib/worker-orchestrator/orchestrator.db')"
    ".execute(\"SELECT value FROM meta WHERE key = 'owner'\")))"
)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Built on the image that CONTAINER_BASE names, else on one of this computer's Python; without a network."""
    if is_podman():
        pytest.skip("Podman was not tried in this way")
    context = tmp_path_factory.mktemp("context")
    wheels = ("wheel", "--quiet", "--wheel-dir", str(context), str(ROOT))
    subprocess.run([sys.executable, "-m", "pip", *wheels], check=True, timeout=300)
    tag = a_name("orchestrator")
    with ExitStack() as made:
        base = os.environ.get("CONTAINER_BASE") or made.enter_context(a_python_image())
        arguments = ("--build-arg", f"BASE={base}", "--build-arg", "PIP_NO_INDEX=1", "--network", "none")
        try:
            for target in (
                ("--target", "build", "--tag", f"{tag}-build"),
                ("--tag", tag),
            ):  # else the first is left behind
                build(context, *target, *arguments)
            yield tag
        finally:
            docker("rmi", "-f", tag, f"{tag}-build", check=False)


def build(context: Path, *words: str) -> None:
    """By the builder that every Docker has, which pulls nothing of its own."""
    command = ["docker", "build", "--quiet", "--force-rm", *words, "--file", str(ROOT / "Dockerfile"), str(context)]
    builder = {**os.environ, "DOCKER_BUILDKIT": "0"}
    done = subprocess.run(command, env=builder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass(frozen=True)
class Page:
    """One block of the page, with names, ports, an image and a token of our own."""

    block: Block
    image: str
    worker: str
    ports: PortBlock
    folder: Path
    name: str
    network: str

    def adapted(self, command: str) -> str:
        ports = f"--port {self.ports.api} --first-port {self.ports.first} --last-port {self.ports.last}"
        command = command.replace("--name orchestrator ", f"--name {self.name} ").replace("callers", self.network)
        command = command.replace("orchestrator-state:", f"{self.name}:").replace("my/worker:1", self.worker)
        command = re.sub(r"\b9092\b", str(self.ports.api), command)
        health = f"--env ORCHESTRATOR_PORT={self.ports.api} {self.image} serve {ports} --min-idle 1"
        return command.replace("worker-orchestrator serve", health)

    def follow(self) -> None:
        for command, _ in commands_of(self.block):
            if reason_not_to(command):
                continue  # it is built already
            eventually(lambda command=command: self._run(command), command, within_s=20)  # type: ignore[misc]

    def _run(self, command: str) -> bool:
        """What asks the service is tried until it answers; all else must succeed at once."""
        done = subprocess.run(
            ["bash", "-c", self.adapted(command)], cwd=self.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0 or command.startswith("curl "), done.stderr
        return done.returncode == 0

    def from_host(self, path: str) -> Any:
        return call(self.ports.api, "GET", path, None, {"Authorization": f"Bearer {TOKEN}"}).json

    def from_neighbour(self, url: str) -> str:
        where = ("--rm", "--network", self.network or "host", "--entrypoint", "python3")
        return docker("run", *where, self.image, "-c", ASKS, url).out

    def remove(self) -> None:
        print(docker("logs", self.name, check=False).err[-4000:])  # pytest shows it where a test fails
        told = docker("exec", self.name, "python3", "-c", OWNER, check=False)
        docker("rm", "-f", "-v", self.name, check=False)
        docker("volume", "rm", "-f", self.name, check=False)
        if not told.failed:
            clean_up(told.out)
            assert owned(told.out) == []
        if self.network:
            docker("network", "rm", self.network, check=False)


@pytest.fixture(params=BLOCKS, ids=str)
def page(request: pytest.FixtureRequest, image: str, example_image: str, tmp_path: Path) -> Iterator[Page]:
    block: Block = request.param
    (tmp_path / "token").write_text(TOKEN)
    network = a_name("callers") if "callers" in block.text else ""
    page = Page(block, image, example_image, PortBlock.claim(), tmp_path, a_name("orchestrator"), network)
    try:
        yield page
    finally:
        page.remove()
        page.ports.close()


def test_the_examples_of_the_api_document_from_the_host_and_from_a_neighbour(page: Page) -> None:
    """Health, an assign whose URL leads to the worker from both, and the list; and its own health check agrees."""
    page.follow()
    eventually(lambda: answers(page), "it answers", within_s=40)
    own = f"http://{page.name if page.network else 'localhost'}:{page.ports.api}"

    def asked(path: str) -> list[Any]:
        return [page.from_host(path), json.loads(page.from_neighbour(own + path))]

    for given in asked("/project-1"):
        assert given.keys() == {"ip", "port", "url", "containerId"}
        assert (
            subprocess.run(["curl", "-sf", "-m", "10", given["url"]], check=False, capture_output=True).returncode == 0
        )
        assert "worker" in page.from_neighbour(given["url"]).lower()
    for health in asked("/health"):
        assert (health["status"], health["docker"]) == ("ok", "connected")
        assert health["machines"]["used"] >= 1
    for listed in asked("/machines/list"):
        (used,) = (one for one in listed["machines"] if one["assignedProject"] == "project-1")
        assert (used["isUsed"], used["url"]) == (True, given["url"])
    probe = "{{json .Config.Healthcheck.Test}}"
    _, *words = json.loads(docker("inspect", "--format", probe, page.name).out)
    docker("exec", page.name, *words)
    assert docker("exec", page.name, "python3", "-c", "import os; print(os.getuid())").out == "10001"


def test_every_block_of_the_page_is_followed() -> None:
    """But for commands that nobody runs, with a reason."""
    left = [block for block in blocks("docs/container.md") if block not in BLOCKS]
    assert [command for block in left for command, _ in commands_of(block) if not reason_not_to(command)] == []


def answers(page: Page) -> bool:
    try:
        return bool(page.from_host("/health"))
    except OSError:
        return False
