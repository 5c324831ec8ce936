"""Whose end is told: that of a process which is visible and belongs to its container. Real processes, no engine."""

from __future__ import annotations

import asyncio
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker_orchestrator.engines.docker.main_process import MainProcesses

NOT_A_GROUP = "f" * 64


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs until it is killed."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.fixture
def group(child: subprocess.Popen[bytes]) -> str:
    """What stands in its list of control groups, in place of the id of a container."""
    return Path(f"/proc/{child.pid}/cgroup").read_text(encoding="utf-8")


def descriptors() -> int:
    """How many descriptors of processes this one has open."""
    links = list(Path("/proc/self/fd").iterdir())  # the folder's own descriptor is closed again
    return sum("pidfd" in str(link.readlink()) for link in links if link.is_symlink())


def test_its_end_is_told_once_and_known_from_then_on(child: subprocess.Popen[bytes], group: str) -> None:
    async def story() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        processes = MainProcesses(told.put_nowait)
        assert processes.follow(group, child.pid)
        assert group in processes
        assert (list(processes.ended), processes.has_ended(group, child.pid)) == ([], False)
        child.kill()
        async with asyncio.timeout(10):
            assert await told.get() == group
        assert group not in processes
        assert list(processes.ended) == [group]
        assert processes.has_ended(group, child.pid)
        assert not processes.has_ended(group, child.pid + 1), "another run of the same container"
        await asyncio.sleep(0.01)
        assert told.empty()
        processes.forget_all_but([group])
        assert list(processes.ended) == [group]
        processes.forget_all_but([])
        assert list(processes.ended) == []

    asyncio.run(story())
    assert descriptors() == 0


def test_a_new_main_process_takes_the_place_of_the_former_one(child: subprocess.Popen[bytes], group: str) -> None:
    """The container was started again: what became of the former process is over."""

    async def story() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        processes = MainProcesses(told.put_nowait)
        former = await asyncio.create_subprocess_exec("sleep", "1000")
        assert processes.follow(group, former.pid)
        former.kill()
        await former.wait()
        async with asyncio.timeout(10):
            await told.get()
        assert processes.follow(group, child.pid)
        assert list(processes.ended) == []
        assert processes.follow(group, child.pid), "asked twice, followed once"
        assert descriptors() == 1
        processes.close()
        assert group not in processes
        child.kill()
        await asyncio.sleep(0.05)
        assert told.empty()

    asyncio.run(story())
    assert descriptors() == 0


def test_an_end_that_was_not_read_yet_is_told_when_it_is_looked_up_again(
    child: subprocess.Popen[bytes], group: str
) -> None:
    """Of the same process nothing changes; where the engine names another one that is not there, this one has ended."""

    async def story() -> None:
        told: list[str] = []
        processes = MainProcesses(told.append)
        assert processes.follow(group, child.pid)
        assert processes.follow(group, child.pid)
        assert (group in processes, told) == (True, [])
        child.kill()
        child.wait()
        assert not processes.follow(group, 2**22 + 1)
        assert (group in processes, told) == (False, [group])
        assert processes.has_ended(group, child.pid)

    asyncio.run(story())
    assert descriptors() == 0


def test_a_process_of_something_else_is_not_followed(child: subprocess.Popen[bytes]) -> None:
    """The engine's numbers may mean other processes here: it runs in another process namespace, or on another computer."""

    async def story() -> None:
        processes = MainProcesses(lambda _: pytest.fail("nothing is told"))
        for container_id, pid in [(NOT_A_GROUP, child.pid), ("", child.pid), (NOT_A_GROUP, 0), (NOT_A_GROUP, 2**70)]:
            assert not processes.follow(container_id, pid)
            assert container_id not in processes

    asyncio.run(story())
    assert descriptors() == 0


def test_one_that_has_ended_is_not_followed(child: subprocess.Popen[bytes], group: str) -> None:
    child.kill()
    child.wait()

    async def story() -> None:
        assert not MainProcesses(lambda _: pytest.fail("nothing is told")).follow(group, child.pid)

    asyncio.run(story())


def test_descriptors_are_left_for_everything_else(child: subprocess.Popen[bytes], group: str) -> None:
    """A quarter of them at most: callers need some, and so does the engine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def story() -> None:
        processes = MainProcesses(lambda _: None)
        parts = {group[begin:end] for begin in range(5) for end in range(begin + 1, 6)}  # in place of ids
        followed = [processes.follow(part, child.pid) for part in parts]
        assert followed == [True] * 12 + [False] * (len(parts) - 12)
        processes.close()

    resource.setrlimit(resource.RLIMIT_NOFILE, (48, hard))
    try:
        asyncio.run(story())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
