"""Containers of other people on the same engine: whatever they look like, the service goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.conftest import Start
from tests.integration.docker_command import EXAMPLE, LABEL, a_name, docker, docker_json
from tests.integration.running import orchestrator
from tests.integration.waiting import eventually


@pytest.fixture
def stranger() -> Iterator[str]:
    """A name for a container of somebody else."""
    name = a_name("stranger")
    yield name
    docker("rm", "-f", name, check=False)


def test_an_event_that_is_too_long_to_read_costs_a_new_stream_and_nothing_else(start: Start, stranger: str) -> None:
    """Docker puts all labels into each event, and aiohttp reads half a megabyte in one line."""
    service = start("--min-idle", "1", "--max-machines", "2")
    service.await_idle(1)
    labels = [word for number in range(8) for word in ("--label", f"long-{number}={'x' * 100_000}")]
    docker("run", "--detach", "--name", stranger, *labels, EXAMPLE)
    eventually(lambda: "cannot be read" in service.log, "the service meets the event")
    assert service.process is not None
    assert service.process.poll() is None
    service.release(service.assign("afterwards")["containerId"])
    assert "Traceback" not in service.log


def test_a_container_with_our_labels_and_no_machine_id_is_left_alone(start: Start, stranger: str) -> None:
    """Somebody copied them by hand."""
    service = start("--min-idle", "1", "--max-machines", "2")
    [machine] = service.await_idle(1)
    labels = docker_json("inspect", machine)["Config"]["Labels"]
    odd = [f"{LABEL}.machine=", f"{LABEL}.owner={labels[f'{LABEL}.owner']}"]
    docker("run", "--detach", "--name", stranger, *(word for label in odd for word in ("--label", label)), EXAMPLE)
    assert service.get("/health").status == 200
    service.release(service.assign("beside")["containerId"])
    assert docker("inspect", stranger, check=False).code == 0
    assert "Traceback" not in service.log


def test_a_copy_of_a_worker_is_nobodys_machine(start: Start, stranger: str) -> None:
    """`docker commit` copies our labels into the image: what runs from it is no machine of ours, and never touched."""
    service = start("--min-idle", "1", "--max-machines", "2", "--refresh-interval", "1")
    mine = service.assign("original")["containerId"]
    image = docker("commit", mine).out
    try:
        docker("run", "--detach", "--name", stranger, image)
        docker("kill", mine)
        eventually(lambda: "restarted" in service.log, "the copy hides no death")
        eventually(lambda: service.machine_of("original"), "the original runs again")
        service.destroy(mine)
        eventually(lambda: mine not in service.containers(), "the original is gone")
        service.await_idle(1)
        assert docker_json("inspect", stranger)["State"]["Running"]
        shown = orchestrator("recover", *service.command_flags, cwd=service.folder)
        assert stranger not in shown.stdout
        assert service.get("/v1/health").json["problems"] == []
    finally:
        docker("rm", "-f", stranger, check=False)
        docker("rmi", "-f", image, check=False)
