"""Lines that Docker keeps in pieces are whole again."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import aclosing

import pytest
from tests.contract.test_logs_contract import has_logs, until, whole
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import docker

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.logs import EVIDENCE_BYTES

PIECE_BYTES = 16 * 1024
SECRET = "a secret of many letters"
OUT, ERR = 1, 2


async def write(world: DockerWorld, machine: Machine, *lines: str, stream: int = OUT) -> None:
    """Its worker writes these lines, and Docker has them."""
    script = f"cat >/proc/1/fd/{stream}"
    for line in lines:
        words = ["docker", "exec", "-i", machine.id, "sh", "-c", script]
        await asyncio.to_thread(subprocess.run, words, input=f"{line}\n", text=True, check=True, capture_output=True)

    async def look() -> bool:
        said = docker("logs", machine.id)
        return lines[-1] in (said.out, said.err)[stream - 1]

    await soon(look, "it is written")


def long_line(letter: str, pieces: float) -> str:
    return f"<{letter * int(pieces * PIECE_BYTES)}>"


@pytest.mark.parametrize("follow", [False, True])
@pytest.mark.parametrize("timestamps", [False, True])
async def test_a_tail_counts_lines_however_long_they_are(
    docker_world: DockerWorld, *, follow: bool, timestamps: bool
) -> None:
    """In one piece, in two or in many: as the last, as the first that is asked for, and before it."""
    machine = await docker_world.running()
    written = ["a", long_line("b", 1.5), "c", "d", long_line("e", 20), long_line("f", 1), "g", long_line("h", 3)]
    await write(docker_world, machine, *written)
    for count in range(1, len(written) + 1):
        logs = has_logs(docker_world).logs(machine.id, tail=count, follow=follow, timestamps=timestamps)
        async with aclosing(logs):  # type: ignore[type-var]
            lines = (await (until("h>\n", logs) if follow else whole(logs))).splitlines()
        said = [line.split(" ", 1)[1] if timestamps else line for line in lines]
        assert [len(line) for line in said] == [len(line) for line in written[-count:]]
        assert said == written[-count:]


async def test_a_tail_goes_by_lines_of_both_outputs(docker_world: DockerWorld) -> None:
    """Also where one of them was written long ago."""
    machine = await docker_world.running()
    await write(docker_world, machine, "first", long_line("x", 2.5), stream=ERR)
    await write(docker_world, machine, *[f"line {number}" for number in range(6)], long_line("y", 2.5))
    await write(docker_world, machine, "last", stream=ERR)
    every = ["first", long_line("x", 2.5), *[f"line {number}" for number in range(6)], long_line("y", 2.5), "last"]
    for count in range(1, len(every) + 1):
        assert (await whole(has_logs(docker_world).logs(machine.id, tail=count))).splitlines() == every[-count:]


async def test_time_stamps_stand_before_lines_alone(docker_world: DockerWorld) -> None:
    """Without a tail, too, and for what comes while it is followed."""
    machine = await docker_world.running()
    await write(docker_world, machine, long_line("a", 3))
    logs = has_logs(docker_world).logs(machine.id, follow=True, timestamps=True)
    async with aclosing(logs):  # type: ignore[type-var]
        assert long_line("a", 3) in await until("a>\n", logs)
        reading = asyncio.create_task(until("b>\n", logs))
        await write(docker_world, machine, long_line("b", 3))
        assert long_line("b", 3) in await reading


async def test_last_words_are_cut_at_their_beginning_and_say_so(docker_world: DockerWorld) -> None:
    """As many lines as were asked for; and no half of a secret is told, wherever Docker's pieces end."""
    engine = docker_world.engine = await docker_world.open_engine(env={"KEY": SECRET})
    machine = await docker_world.running()
    border = f"{'s' * (PIECE_BYTES - 10)}{SECRET} end"
    await write(docker_world, machine, "before", border)
    told = await engine.last_lines(machine.id, 1)
    assert told == f"…{border.replace(SECRET, '$KEY')[1 - EVIDENCE_BYTES :]}"
    await write(docker_world, machine, "short")
    assert await engine.last_lines(machine.id, 1) == "short"


async def test_last_lines_of_both_outputs_are_in_the_order_in_which_they_were_written(
    docker_world: DockerWorld,
) -> None:
    machine = await docker_world.running()
    for number in range(4):
        await write(docker_world, machine, f"line {number}", stream=(OUT, ERR)[number % 2])
    assert (await has_logs(docker_world).last_lines(machine.id, 3)).splitlines() == ["line 1", "line 2", "line 3"]


@pytest.mark.parametrize("asked", ["_last_by_time", "_has_terminal"])
async def test_a_container_that_is_removed_while_its_last_lines_are_read_has_none(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """As by `docker rm -f`, whose listing shows it dead for a moment. It is no error, which would end the service."""
    machine = await docker_world.running()
    await write(docker_world, machine, "a line")
    docker_world.kill(machine)
    assert "a line" in await docker_world.engine.last_lines(machine.id, 10)
    reading = getattr(docker_world.engine, asked)

    async def removed_first(*arguments: object) -> object:
        docker_world.remove(machine)
        return await reading(*arguments)

    monkeypatch.setattr(docker_world.engine, asked, removed_first)
    assert await docker_world.engine.last_lines(machine.id, 10) == ""
