"""What `doctor` says of the images of several pools: each once, and in the words of that pool's settings."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import aiodocker

from worker_orchestrator.cli.doctor.finding import ok, wrong
from worker_orchestrator.cli.doctor.image_checks import check_images, of_pool
from worker_orchestrator.engines.docker.template import DockerOptions

INFO = {"Architecture": "x86_64"}


class Inspecting:
    """An engine that has every image, with one port or, where its name says so, two."""

    def __init__(self) -> None:
        self.images, self.inspected = self, list[str]()

    async def inspect(self, name: str) -> dict[str, Any]:
        self.inspected.append(name)
        ports: dict[str, dict[str, str]] = {"80/tcp": {}, "81/tcp": {}} if "two" in name else {"80/tcp": {}}
        return {"Id": "sha256:1", "Architecture": "amd64", "Config": {"Cmd": ["serve"], "ExposedPorts": ports}}


def test_an_image_is_looked_at_once_and_what_is_wrong_names_its_pool() -> None:
    engine = Inspecting()
    pools = {
        "default": DockerOptions("plain"),
        "same": DockerOptions("plain", env={"A": "b"}),
        "two": DockerOptions("two-ports"),
    }
    findings = asyncio.run(check_images(cast("aiodocker.Docker", engine), pools, INFO))
    assert engine.inspected == ["plain", "two-ports"]
    said = {(finding.verdict, finding.says) for finding in findings}
    assert ("ok", "plain is there, for amd64.") in said
    several = (
        "The image two-ports exposes several ports (80, 81): say which with worker_port, "
        "or name those that are to be reached with ports."
    )
    assert [finding.says for finding in findings if finding.verdict == "wrong"] == [f"In pool two: {several}"]


def test_the_flags_of_serve_are_those_of_the_default_pool() -> None:
    finding = wrong("worker's port", "It exposes no port.", "add --worker-port N to `serve`")
    assert of_pool("default", finding) is finding
    assert of_pool("gpu", finding).fix == "add worker_port N to `[pools.gpu]` in orchestrator.toml"
    assert of_pool("gpu", ok("image", "It is there.")).says == "In pool gpu: It is there."
