"""One computer for all tests of this folder, and the service on it, installed as the units themselves say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.integration.docker_command import clean_up
from tests.integration.inside import a_probe_image
from tests.integration.waiting import PortBlock
from tests.systemd.computer import Computer, a_computer
from tests.systemd.unit import FOLDER, NAME, Unit


@pytest.fixture(scope="session")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    with a_computer(tmp_path_factory.mktemp("computer")) as booted:
        yield booted


@pytest.fixture(scope="session")
def probe(example_image: str) -> Iterator[str]:
    with a_probe_image() as tag:
        yield tag


@pytest.fixture(scope="session")
def unit(computer: Computer, probe: str) -> Iterator[Unit]:
    """As `orchestrator init --systemd` writes it, but for ports, and installed by what stands in its first lines."""
    unit = Unit(computer, PortBlock.claim(), probe)
    computer.shell(f"mkdir {FOLDER}; cd {FOLDER}; orchestrator init --yes --systemd")
    unit.configure()
    computer.shell(f"sed -i 's/:9092$/:{unit.ports.api}/' {FOLDER}/{NAME}.socket")
    if computer.run("test", "-e", "/proc/net/if_inet6", check=False).code:
        computer.shell(f"sed -i '/::1/d' {FOLDER}/{NAME}.socket")
    said = computer.shell(f"sed -n '/^#/!q;p' {FOLDER}/{NAME}.service")
    (commands,) = re.findall(r"^# As root: (.*)(?=^# Who)", said, re.MULTILINE | re.DOTALL)
    try:
        computer.shell(f"cd {FOLDER}\n{re.sub('^# *', '', commands, flags=re.MULTILINE)}")
        yield unit
    finally:
        print(computer.run("journalctl", "--no-pager", "--unit", NAME, "--lines=60", check=False).out)
        owner = unit.owner
        computer.run("systemctl", "stop", f"{NAME}.socket", f"{NAME}.service", check=False)
        clean_up(owner)
        unit.ports.close()
