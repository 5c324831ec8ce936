"""Terminals in containers: their size, what is typed and shown, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.contract.test_docker_exec import PROMPT_S, left, until_it_runs
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import docker

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.engines.docker.terminal import DockerTerminals
from worker_orchestrator.engines.extras import Terminal, Terminals
from worker_orchestrator.errors import EngineRejected, NotRunning

pytestmark = pytest.mark.promise("terminal")

NEVER_WAS = "worker-1700000000000-neverwas1"
FORKS = "(sleep 4321 & setsid sleep 4322 &); trap '' HUP TERM; echo begun; sleep 4323"


@asynccontextmanager
async def opened(
    world: DockerWorld, machine: Machine, *words: str, columns: int = 80, rows: int = 24, **more: str
) -> AsyncIterator[Terminal]:
    assert isinstance(world.engine, Terminals)
    options = {"user": more.get("user", ""), "workdir": more.get("workdir", "")}
    terminal = await world.engine.terminal(machine.id, words, columns=columns, rows=rows, env={"B": "c"}, **options)
    try:
        yield terminal
    finally:
        await terminal.aclose()


async def shown(terminal: Terminal, text: str) -> str:
    """What was shown when this text was."""
    seen = ""
    async with asyncio.timeout(10):
        while text not in seen:
            more = await terminal.read()
            assert more, f"it ended, and showed only {seen!r}"
            seen += more.decode(errors="replace")
    return seen


async def to_its_end(terminal: Terminal) -> str:
    seen = b""
    async with asyncio.timeout(10):
        while more := await terminal.read():
            seen += more
    return seen.decode(errors="replace")


async def test_a_command_finds_its_terminal_in_the_right_size(docker_world: DockerWorld) -> None:
    """From its first look on, with nothing before its own output; and when it ends, so does the reading."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "sh", "-c", "stty size", columns=101, rows=33) as terminal:
        assert await to_its_end(terminal) == "33 101\r\n"
        assert await terminal.read() == b""
        assert await terminal.exit_code() == 0


async def test_a_terminal_can_be_resized(docker_world: DockerWorld) -> None:
    """The command hears of it; after its end nobody does, which is no error."""
    machine = await docker_world.running()
    # Podman tells a command of its first size as well.
    resized = 'size=$(stty size); [ "$size" = "20 50" ] && echo $size && exit 9'
    script = f"trap '{resized}' WINCH; echo ready; while :; do sleep 0.05; done"
    async with opened(docker_world, machine, "sh", "-c", script) as terminal:
        await shown(terminal, "ready")
        assert await terminal.exit_code() is None
        await terminal.resize(50, 20)
        assert "20 50" in await to_its_end(terminal)
        assert await terminal.exit_code() == 9
        await terminal.resize(60, 30)
        await terminal.write(b"too late")


async def test_a_full_screen_program_fills_it(docker_world: DockerWorld) -> None:
    """vi draws the status on its last line, before and after it was resized, and ends as it is told."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "vi", "/srv/files/new.txt", columns=60, rows=12) as terminal:
        assert "~" in await shown(terminal, "\x1b[12;1H")
        await terminal.resize(70, 20)
        await shown(terminal, "\x1b[20;1H")
        await terminal.write(b"ihello\x1b")
        await shown(terminal, "[Modified]")
        await terminal.write(b":wq\r")
        await to_its_end(terminal)
        assert await terminal.exit_code() == 0
    assert docker("exec", machine.id, "cat", "/srv/files/new.txt").out == "hello"


async def test_a_terminal_has_environment_user_and_folder(docker_world: DockerWorld) -> None:
    """As a command has."""
    machine = await docker_world.running()
    words = ("sh", "-c", 'echo "$A $B $(id -u) $(pwd) $(tty)"')
    async with opened(docker_world, machine, *words, user="1234", workdir="/srv") as terminal:
        assert (await to_its_end(terminal)).startswith("b c 1234 /srv /dev/pts/")


async def test_what_docker_cannot_start_is_told_at_once(docker_world: DockerWorld) -> None:
    """Before its size was taken or after: Docker has both. Newer engines refuse it."""
    machine = await docker_world.running()
    for _ in range(8):
        said = ""
        async with asyncio.timeout(4):  # for the size alone of what never began Docker takes ten
            try:
                async with opened(docker_world, machine, "sh", user="nobodyx") as terminal:
                    said = await to_its_end(terminal)
            except EngineRejected as error:
                said = error.message
        assert "nobodyx" in said


async def test_every_key_reaches_the_program(docker_world: DockerWorld) -> None:
    """Also those that Docker takes for `detach`, ^P ^Q: neither held back nor the end of it."""
    machine = await docker_world.running()
    script = "stty raw -echo; echo ready; dd bs=1 count=5 2>/dev/null | od -An -tx1"
    async with opened(docker_world, machine, "sh", "-c", script) as terminal:
        await shown(terminal, "ready")
        await terminal.write(b"\x10\x11\x00\xff\x10")
        assert "10 11 00 ff 10" in await to_its_end(terminal)


@pytest.mark.parametrize("user", ["", "1234"])
async def test_a_closed_terminal_leaves_no_process(docker_world: DockerWorld, user: str) -> None:
    """Whatever it ignores and wherever it went. Closing can be repeated."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "sh", "-c", FORKS, user=user) as terminal:
        await shown(terminal, "begun")
        for words in ("sleep 4321", "sleep 4322", "sleep 4323"):
            await until_it_runs(docker_world, machine, words)
        await terminal.aclose()
        assert left(docker_world, machine) == []
        assert await terminal.read() == b""
        assert await terminal.exit_code() is None
    await docker_world.serves(machine)


async def test_closing_ends_a_read(docker_world: DockerWorld) -> None:
    """Whoever waits for what comes next hears that nothing does."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "cat") as terminal:
        reading = asyncio.create_task(terminal.read())
        await asyncio.wait({reading}, timeout=0.2)
        assert not reading.done()
        await terminal.aclose()
        async with asyncio.timeout(5):
            assert await reading == b""


async def test_a_read_that_was_given_up_has_taken_nothing(docker_world: DockerWorld) -> None:
    """The next one gets it."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "sh", "-c", "read -r _; echo later") as terminal:
        for _ in range(3):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await terminal.read()
        await terminal.write(b"\n")
        assert "later" in await to_its_end(terminal)


async def test_what_nobody_reads_is_held_back(docker_world: DockerWorld) -> None:
    """The program waits, and nothing piles up here."""
    machine = await docker_world.running()
    script = "n=0; while :; do echo 0123456789012345678901234567890123456789; done"
    async with opened(docker_world, machine, "sh", "-c", script) as terminal:
        queue = terminal.attached._wire._queue  # type: ignore[attr-defined]

        async def is_held() -> bool:
            return bool(queue._protocol._reading_paused)

        await soon(is_held, "reading pauses")
        assert queue._flow_size < 1_000_000
        for _ in range(200):
            assert await terminal.read()
        await soon(is_held, "reading pauses again")


async def test_input_that_nobody_reads_does_not_hide_the_end(docker_world: DockerWorld) -> None:
    """As when much is pasted into what then ends."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "sh", "-c", "stty raw -echo; echo ready; sleep 0.5") as terminal:
        await shown(terminal, "ready")
        # More than a terminal holds would block Podman's own process, and the container with it.
        much = 2_000 if docker_world.dialect.isolates_by_network else 3_000_000
        pasting = asyncio.create_task(terminal.write(b"x" * much))
        await to_its_end(terminal)
        assert await terminal.exit_code() == 0
        async with asyncio.timeout(5):
            await pasting


@pytest.mark.promise("hang-up")
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.06, 0.12])
async def test_a_terminal_whose_caller_goes_while_it_opens_is_ended(docker_world: DockerWorld, after_s: float) -> None:
    """Nobody else could close it."""
    machine = await docker_world.running()
    terminal = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            terminal = await docker_world.engine.terminal(machine.id, ["sleep", "4321"])
    if terminal is not None:
        await terminal.aclose()
    assert left(docker_world, machine) == []


async def test_a_terminal_ends_with_its_container(docker_world: DockerWorld) -> None:
    """And can be closed then."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "cat") as terminal:
        await until_it_runs(docker_world, machine, "cat")  # killed before, it has the code 126 on Docker 26 and newer
        docker_world.kill(machine)
        await to_its_end(terminal)
        assert await terminal.exit_code() in {None, 137}


async def test_a_command_that_is_not_there_ends_at_once(docker_world: DockerWorld) -> None:
    """With the code that shells give, and a word of why."""
    machine = await docker_world.running()
    async with opened(docker_world, machine, "no-such") as terminal:
        assert "no-such" in await to_its_end(terminal)
        assert await terminal.exit_code() in {126, 127}


async def test_without_a_shell_a_terminal_opens_all_the_same(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its size comes a moment late on older engines."""
    monkeypatch.setattr("worker_orchestrator.engines.docker.terminal._ON_ENTER", ("no-such-shell",))
    machine = await docker_world.running()
    async with opened(docker_world, machine, "cat", columns=50) as terminal:
        await terminal.write(b"typed\n")
        await shown(terminal, "typed")


async def test_an_engine_that_takes_the_size_at_the_start_needs_no_shell(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What older ones do not know, they leave out."""
    monkeypatch.setattr(DockerTerminals, "_takes_size_at_start", True)
    machine = await docker_world.running()
    async with opened(docker_world, machine, "sh", "-c", "echo shown; exit 4") as terminal:
        assert await to_its_end(terminal) == "shown\r\n"
        assert await terminal.exit_code() == 4


async def test_a_terminal_needs_a_container_that_runs_and_is_ours(docker_world: DockerWorld) -> None:
    """Whatever stands under its name."""
    dead, theirs = await docker_world.running(), await docker_world.machine()
    docker_world.kill(dead)
    docker_world.put_running(theirs, docker_world.somebody_else)
    for machine_id in (NEVER_WAS, dead.id, theirs.id):
        with pytest.raises(NotRunning, match=machine_id):
            await docker_world.engine.terminal(machine_id, ["sh"])


async def test_a_terminal_full_of_endless_output_is_closed_promptly(docker_world: DockerWorld) -> None:
    """Whether somebody read it until then or nobody did, and nothing of it is left."""
    machine = await docker_world.running()
    for reads in (0, 50) * 3:
        async with opened(docker_world, machine, "yes") as terminal:
            await until_it_runs(docker_world, machine, "yes")
            for _ in range(reads):
                assert await terminal.read()
            begun = time.monotonic()
        assert time.monotonic() - begun < PROMPT_S
        assert left(docker_world, machine) == []
