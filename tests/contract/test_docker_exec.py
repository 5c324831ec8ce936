"""Commands in containers: what they get, what they give, and that nothing of them is left, however they end."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.contract.tcp_proxy import How, TcpProxy
from tests.contract.worlds import DockerWorld, soon
from tests.integration.docker_command import a_name, docker

from worker_orchestrator.core.machine import Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.extras import OUTPUT_BYTES, Exec
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, NotRunning

pytestmark = pytest.mark.promise("exec")

NEVER_WAS = "worker-1700000000000-neverwas1"
SLEEPS = ["sleep", "4321"]
SLOW_S = 3.0
"""For which a beginning is held up."""
PROMPT_S = 3.0
"""For ending a command, on a busy computer; Docker alone would wait longer for output that nobody reads."""


def left(world: DockerWorld, machine: Machine) -> list[str]:
    """What runs there beside the worker itself."""
    own = ("docker-init", "/bin/worker", "httpd")
    return [line for line in world.processes(machine) if not any(name in line for name in own)]


async def until_it_runs(world: DockerWorld, machine: Machine, words: str) -> None:
    async def look() -> bool:
        return any(words in line for line in left(world, machine))

    await soon(look, f"{words} runs")


# what it gets and gives


async def test_a_command_gives_its_code_and_both_outputs(docker_world: DockerWorld) -> None:
    """Each for itself, byte by byte."""
    machine = await docker_world.running()
    assert isinstance(docker_world.engine, Exec)
    done = await docker_world.engine.exec(machine.id, ["sh", "-c", r"printf 'out\000\n'; printf err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr, done.truncated) == (3, b"out\0\n", b"err", False)


async def test_a_command_gets_its_input_to_the_end(docker_world: DockerWorld) -> None:
    """And none, which also ends, where there is none."""
    machine = await docker_world.running()
    sent = os.urandom(700_000)
    assert (await docker_world.engine.exec(machine.id, ["cat"], stdin=sent)).stdout == sent
    assert (await docker_world.engine.exec(machine.id, ["cat"])).stdout == b""


async def test_where_a_connection_cannot_be_closed_one_way_the_input_ends_all_the_same(
    docker_world: DockerWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with TLS. The code is the command's."""
    monkeypatch.setattr(type(docker_world.engine), "_can_end_input", False)
    machine = await docker_world.running()
    done = await docker_world.engine.exec(machine.id, ["sh", "-c", 'wc -c; exit "$0"', "5"], stdin=b"x" * 300_000)
    assert (done.exit_code, done.stdout.strip()) == (5, b"300000")


async def test_input_that_nobody_reads_holds_nobody(docker_world: DockerWorld) -> None:
    """The command ends, and so does the call, with all that it wrote."""
    machine = await docker_world.running()
    async with asyncio.timeout(10):
        script = "head -c 1000000 /dev/zero; exit 6"
        done = await docker_world.engine.exec(machine.id, ["sh", "-c", script], stdin=b"x" * 3_000_000)
    assert done.exit_code == 6
    # Podman breaks the connection off as soon as the command has ended, and what is on the way then is lost.
    least = 100_000 if docker_world.dialect.isolates_by_network else 1_000_000
    assert least <= len(done.stdout) <= 1_000_000


async def test_a_command_gets_its_environment_user_and_folder(docker_world: DockerWorld) -> None:
    """Beside what the container has."""
    machine = await docker_world.running()
    script = 'echo "$A $B $(id -u) $(pwd)"'
    done = await docker_world.engine.exec(
        machine.id, ["sh", "-c", script], env={"B": "c d"}, user="1234", workdir="/srv"
    )
    assert done.stdout == b"b c d 1234 /srv\n"


async def test_more_output_than_is_kept_is_read_and_dropped(docker_world: DockerWorld) -> None:
    """Of each the beginning stays, and the command is not held up."""
    machine = await docker_world.running()
    script = f"yes | head -c {OUTPUT_BYTES + 1}; head -c {OUTPUT_BYTES} /dev/zero >&2; exit 4"
    done = await docker_world.engine.exec(machine.id, ["sh", "-c", script])
    assert (len(done.stdout), len(done.stderr), done.truncated, done.exit_code) == (OUTPUT_BYTES,) * 2 + (True, 4)
    exactly = await docker_world.engine.exec(machine.id, ["head", "-c", str(OUTPUT_BYTES), "/dev/zero"])
    assert (len(exactly.stdout), exactly.truncated) == (OUTPUT_BYTES, False)


@pytest.mark.parametrize(
    ("words", "options", "code", "said"),
    [
        (["no-such"], {}, 127, 'no program "no-such" in its PATH'),
        (["/nope"], {}, 127, 'no file "/nope"'),
        (["/tmp"], {}, 126, '"/tmp" is not executable'),
        (["/srv/bad"], {}, 126, '"/srv/bad" is no program'),
        (["/srv/lost"], {}, 127, '"/srv/lost" cannot be run'),
        (["ls"], {"workdir": "/nope"}, 126, 'no folder "/nope"'),
        (["ls"], {"user": "nobodyx"}, 126, 'no user "nobodyx"'),
    ],
)
async def test_what_cannot_be_started_is_told_as_a_shell_would(
    docker_world: DockerWorld, words: list[str], options: dict[str, str], code: int, said: str
) -> None:
    """On the error output, with the code by which a shell tells what is missing from what cannot be run."""
    machine = await docker_world.running()
    script = "printf '#!/nope\\n' >/srv/lost; printf '\\1\\2' >/srv/bad; chmod +x /srv/lost /srv/bad"
    assert (await docker_world.engine.exec(machine.id, ["sh", "-c", script])).exit_code == 0
    done = await docker_world.engine.exec(machine.id, words, **options)  # type: ignore[arg-type]
    assert (done.exit_code, done.stdout) == (code, b""), done
    assert said in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


async def test_a_command_that_says_what_docker_would_say_is_believed(docker_world: DockerWorld) -> None:
    """Its first words come late, but they come: with what follows, at the end, or when its time is over."""
    machine = await docker_world.running()
    words = "OCI runtime exec failed: so it says"
    for script, code in ((f"echo '{words}\r'; exit 5", 5), (f"echo '{words}\r'; sleep 4321", None)):
        done = await docker_world.engine.exec(machine.id, ["sh", "-c", script], timeout_s=1)
        assert (done.exit_code, done.stdout.decode().strip()) == (code, words)


# while it runs


class Slow:
    """A reader of output, which takes the next piece when it is told to."""

    def __init__(self) -> None:
        self.has_started = False
        self.pieces: list[tuple[str, bytes]] = []
        self.kept = 0
        self.may_go_on = asyncio.Event()

    def started(self) -> None:
        self.has_started = True

    async def take(self, stream: str, data: bytes) -> None:
        self.pieces.append((stream, data))
        await self.may_go_on.wait()

    def keep(self, stream: str, data: bytes) -> None:
        self.kept += len(data)


async def test_output_comes_before_the_command_ends(docker_world: DockerWorld) -> None:
    machine = await docker_world.running()
    reader = Slow()
    reader.may_go_on.set()
    running = asyncio.create_task(
        docker_world.engine.exec_into(machine.id, ["sh", "-c", "echo out; echo err >&2; read _; exit 4"], reader)
    )
    sleeping = asyncio.create_task(
        docker_world.engine.exec_into(machine.id, ["sh", "-c", "echo begun; sleep 4321"], slept := Slow())
    )

    async def is_there() -> bool:
        return slept.pieces == [("stdout", b"begun\n")] and not sleeping.done()

    await soon(is_there, "its output comes while it runs")
    assert slept.has_started
    sleeping.cancel()
    await asyncio.wait({sleeping})
    assert await running == 4
    assert sorted(reader.pieces) == [("stderr", b"err\n"), ("stdout", b"out\n")]
    assert left(docker_world, machine) == []


async def test_a_reader_that_takes_nothing_stops_the_command_and_not_its_time_limit(docker_world: DockerWorld) -> None:
    """What it has written until then lies in pipes and sockets, and is no more than these hold."""
    machine = await docker_world.running()
    script = "i=0; while :; do head -c 65536 /dev/zero; i=$((i + 1)); echo $i >/srv/count; done"
    reader = Slow()
    begun = time.monotonic()
    running = asyncio.create_task(docker_world.engine.exec_into(machine.id, ["sh", "-c", script], reader, timeout_s=4))
    counts = [""]

    async def stands_still() -> bool:
        await asyncio.sleep(0.5)
        counts.append(docker("exec", machine.id, "cat", "/srv/count", check=False).out)
        return counts[-1] == counts[-2] != ""

    await soon(stands_still, "it writes no more")
    assert time.monotonic() - begun < 4
    assert int(counts[-1]) < 256, "of 64 KiB each: a TCP connection to the engine may hold 6 MiB in the kernel"
    assert await running is None
    assert time.monotonic() - begun < 4 + PROMPT_S
    assert len(reader.pieces) == 1
    assert left(docker_world, machine) == []


# how it ends

FORKS = """
(sleep 4321 & setsid sleep 4322 & env -i sleep 4323 &) &
trap '' TERM HUP INT
setsid sleep 4324 &
env -i setsid sleep 4325 &
sleep 4326
"""


@pytest.mark.parametrize("user", ["", "1234"])
async def test_a_command_that_takes_too_long_is_killed_with_all_that_it_started(
    docker_world: DockerWorld, user: str
) -> None:
    """What it wrote until then is kept."""
    machine = await docker_world.running()
    done = await docker_world.engine.exec(machine.id, ["sh", "-c", f"echo begun; {FORKS}"], user=user, timeout_s=0.7)
    assert (done.exit_code, done.stdout) == (None, b"begun\n")
    assert left(docker_world, machine) == []
    await docker_world.serves(machine)


async def test_a_command_that_ended_leaves_nothing_in_the_background(docker_world: DockerWorld) -> None:
    """Not even what closed its output and began a session of its own."""
    machine = await docker_world.running()
    script = "(setsid sleep 4321 >/dev/null 2>&1 </dev/null &); echo ended"
    done = await docker_world.engine.exec(machine.id, ["sh", "-c", script])
    assert (done.exit_code, done.stdout) == (0, b"ended\n")
    assert left(docker_world, machine) == []


async def test_what_somebody_else_started_is_left_alone(docker_world: DockerWorld) -> None:
    """Another command at the same time, or one from outside."""
    machine = await docker_world.running()
    docker("exec", "-d", machine.id, *SLEEPS)
    other = asyncio.create_task(docker_world.engine.exec(machine.id, ["sleep", "4322"]))
    await until_it_runs(docker_world, machine, "sleep 4322")
    assert (await docker_world.engine.exec(machine.id, ["true"])).exit_code == 0
    assert len(left(docker_world, machine)) == 2
    other.cancel()
    await asyncio.wait({other})
    assert len(left(docker_world, machine)) == 1


@pytest.mark.promise("hang-up")
@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.03, 0.1, 0.4])
async def test_a_command_whose_caller_goes_is_killed(docker_world: DockerWorld, after_s: float) -> None:
    """Whenever that is: before it runs, while it starts, while it runs."""
    machine = await docker_world.running()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(after_s):
            await docker_world.engine.exec(machine.id, ["sh", "-c", FORKS])
    assert left(docker_world, machine) == []


async def test_a_fork_bomb_is_killed(docker_world: DockerWorld) -> None:
    """Up to the limit of processes, where nothing can be started any more."""
    engine = await docker_world.open_engine(pids_limit=60)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    await docker_world.serves(machine)
    done = await engine.exec(machine.id, ["sh", "-c", "while :; do sleep 4321 & done"], timeout_s=1.0)
    assert done.exit_code != 0
    assert left(docker_world, machine) == []


async def test_a_command_of_a_container_that_ends_is_told_so(docker_world: DockerWorld) -> None:
    """It did not take too long: it has no code, or the one of who was killed."""
    machine = await docker_world.running()
    running = asyncio.create_task(docker_world.engine.exec(machine.id, SLEEPS))
    await until_it_runs(docker_world, machine, "sleep 4321")
    docker_world.kill(machine)
    done = None
    async with asyncio.timeout(10):
        with contextlib.suppress(NotRunning):
            done = await running
    assert done is None or done.exit_code == 137


@pytest.fixture
def without_shell(docker_world: DockerWorld) -> Iterator[str]:
    """An image with nothing but a program that sleeps."""
    tag = f"{a_name('image')}:latest"
    source = docker("create", docker_world.image).out
    try:
        copied = subprocess.run(["docker", "cp", f"{source}:/bin/busybox", "-"], capture_output=True, check=True).stdout
    finally:
        docker("rm", "-f", source)
    with tarfile.open(fileobj=io.BytesIO(copied)) as archive:
        busybox = archive.extractfile("busybox")
        assert busybox is not None
        program = busybox.read()
    image = io.BytesIO()
    with tarfile.open(fileobj=image, mode="w") as archive:
        entry = tarfile.TarInfo("bin/sleep")
        entry.size, entry.mode = len(program), 0o755
        archive.addfile(entry, io.BytesIO(program))
    changes = ["--change", 'ENTRYPOINT ["/bin/sleep","1000"]', "--change", "ENV PATH=/bin"]
    subprocess.run(
        ["docker", "import", *changes, "-", tag], input=image.getvalue(), check=True, stdout=subprocess.DEVNULL
    )
    yield tag
    docker("rm", "-f", *docker("ps", "-aq", "--filter", f"ancestor={tag}").lines)
    docker("rmi", "-f", tag)


async def test_without_a_shell_a_command_is_killed_from_outside(docker_world: DockerWorld, without_shell: str) -> None:
    """Where we may; else the caller hears that it runs on."""
    engine = await docker_world.open_engine(without_shell)
    machine = replace(await docker_world.machine(), template=await engine.template(DEFAULT_POOL))
    await engine.create(machine)
    if os.geteuid() == 0:
        assert (await engine.exec(machine.id, SLEEPS, timeout_s=0.5)).exit_code is None
        assert not [line for line in docker_world.processes(machine) if "sleep 4321" in line]
    else:
        with pytest.raises(EngineRejected, match="could not be killed"):
            await engine.exec(machine.id, SLEEPS, timeout_s=0.5)
    assert (await engine.exec(machine.id, ["sleep", "0"])).exit_code == 0


# where none can be run


async def test_a_command_needs_a_container_that_runs_and_is_ours(docker_world: DockerWorld) -> None:
    """Whatever stands under its name."""
    dead, paused, theirs, unmarked = [await docker_world.machine() for _ in range(4)]
    for machine in (dead, paused):
        await docker_world.engine.create(machine)
    docker_world.kill(dead)
    docker("pause", paused.id)
    docker_world.put_running(theirs, docker_world.somebody_else)
    native = docker("run", "-d", "--name", unmarked.id, docker_world.image).out
    try:
        for machine_id in (NEVER_WAS, dead.id, paused.id, theirs.id, unmarked.id):
            with pytest.raises(NotRunning, match=machine_id):
                await docker_world.engine.exec(machine_id, ["touch", "/srv/files/touched"])
        for machine in (theirs, unmarked):
            assert docker("exec", machine.id, "ls", "/srv/files").out == ""
    finally:
        docker("rm", "-f", native)


async def test_an_engine_that_goes_while_a_command_runs_is_unavailable(docker_world: DockerWorld) -> None:
    """Nobody knows how it ended."""
    machine = await docker_world.running()
    async with docker_world.proxied() as (engine, proxy):
        running = asyncio.create_task(engine.exec(machine.id, SLEEPS))
        await until_it_runs(docker_world, machine, "sleep 4321")
        await proxy.close()
        async with asyncio.timeout(15):
            with pytest.raises(EngineUnavailable):
                await running
        with pytest.raises(EngineUnavailable):
            await engine.exec(machine.id, ["true"])


# an engine that says nothing


async def test_a_command_is_answered_for_within_its_time_though_docker_says_nothing(docker_world: DockerWorld) -> None:
    """Whether it was started or not; what may have been started is ended when Docker can be heard again."""
    async with TcpProxy(docker_world.engine._endpoint.url.removeprefix("unix://")) as proxy:
        engine = await docker_world.open_engine(docker_host=proxy.url)
        machine = await docker_world.running()
        begun = asyncio.create_task(engine.exec(machine.id, SLEEPS, timeout_s=3.0))
        await until_it_runs(docker_world, machine, "sleep 4321")
        proxy.behave(How.SILENT)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        with pytest.raises(EngineUnavailable, match="does not answer"):
            await engine.exec(machine.id, ["true"], timeout_s=1.0)
        assert loop.time() - begun_at < 2
        with pytest.raises(EngineUnavailable, match="may run on"):
            await begun
        assert loop.time() - begun_at < 5
        proxy.behave(How.WELL)

        async def is_ended() -> bool:
            return not left(docker_world, machine)

        await soon(is_ended, "no process of it is left")

        async def is_closed() -> bool:
            return proxy.open == 0

        await soon(is_closed, "no connection is left")


async def test_a_caller_who_goes_while_docker_says_nothing_leaves_no_connection(docker_world: DockerWorld) -> None:
    """Of whatever he asked."""
    async with TcpProxy(docker_world.engine._endpoint.url.removeprefix("unix://")) as proxy:
        engine = await docker_world.open_engine(docker_host=proxy.url)
        machine = await docker_world.running()
        proxy.behave(How.SILENT)
        asked = [
            asyncio.ensure_future(call)
            for _ in range(10)
            for call in (
                engine.stats(machine.id),
                engine.environment(machine.id),
                engine.exec(machine.id, ["true"]),
                anext(engine.logs(machine.id)),
                anext(engine.read_files(machine.id, "/etc")),
            )
        ]

        async def is_asked() -> bool:
            return proxy.open == len(asked)

        await soon(is_asked, "all of them have asked")
        for call in asked:
            call.cancel()
        await asyncio.wait(asked)

        async def is_closed() -> bool:
            return proxy.open == 0

        await soon(is_closed, "no connection is left")


# output without an end

ENDLESS = "yes out & yes err >&2"


async def test_endless_output_holds_up_neither_the_time_limit_nor_the_end(docker_world: DockerWorld) -> None:
    """Of each output the beginning comes, soon after the time is over, and nothing is left: each time of twenty."""
    machine = await docker_world.running()
    begun = time.monotonic()
    await docker_world.engine.exec(machine.id, ["true"])
    limit_s = 0.5 + 2 * (time.monotonic() - begun)  # a busy engine needs some of that to begin
    for _ in range(20):
        begun = time.monotonic()
        done = await docker_world.engine.exec(machine.id, ["sh", "-c", ENDLESS], timeout_s=limit_s)
        assert time.monotonic() - begun < limit_s + PROMPT_S
        assert (done.exit_code, done.truncated) == (None, True)
        assert done.stdout == (b"out\n" * OUTPUT_BYTES)[:OUTPUT_BYTES]
        assert done.stderr == (b"err\n" * OUTPUT_BYTES)[:OUTPUT_BYTES]
        assert left(docker_world, machine) == []


@pytest.mark.promise("hang-up")
async def test_endless_output_whose_caller_goes_is_ended(docker_world: DockerWorld) -> None:
    """As soon as it was heard of."""
    machine = await docker_world.running()
    for _ in range(5):
        running = asyncio.create_task(docker_world.engine.exec(machine.id, ["sh", "-c", ENDLESS]))
        await until_it_runs(docker_world, machine, "yes err")
        begun = time.monotonic()
        running.cancel()
        await asyncio.wait({running})
        assert time.monotonic() - begun < PROMPT_S
        assert running.cancelled()
        assert left(docker_world, machine) == []


async def test_a_command_without_any_time_is_one_whose_time_is_up(docker_world: DockerWorld) -> None:
    """That Docker needs longer to begin it does not mean that Docker is silent."""
    machine = await docker_world.running()
    done = await docker_world.engine.exec(machine.id, ["true"], timeout_s=0.0001)
    assert (done.exit_code, done.stdout, done.stderr) == (None, b"", b"")
    assert left(docker_world, machine) == []


# callers who hang up while it opens


async def opening_s(world: DockerWorld, machine: Machine) -> float:
    """How long a command takes at the moment until its process is there."""
    begun = time.monotonic()
    assert (await world.engine.exec(machine.id, ["true"])).exit_code == 0
    return time.monotonic() - begun


async def open_and_close(world: DockerWorld, machine: Machine, kind: str) -> None:
    """A caller of `SLEEPS`: the program in a terminal ends when the caller closes it."""
    if kind == "exec":
        await world.engine.exec(machine.id, SLEEPS)
    await (await world.engine.terminal(machine.id, SLEEPS)).aclose()


async def stays_empty(world: DockerWorld, machine: Machine) -> None:
    """Nothing is there, and nothing comes: Docker may begin a process after its caller was told that all is over."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        assert left(world, machine) == []
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", ["exec", "terminal"])
async def test_whenever_a_caller_hangs_up_while_it_opens_nothing_is_left(docker_world: DockerWorld, kind: str) -> None:
    """Engines since Docker 26 answer a start before the process is there, and run a search for it meanwhile."""
    machine = await docker_world.running()
    chance = random.Random(26)
    whole_s = await opening_s(docker_world, machine)

    async def hang_up(after_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(after_s):
                await open_and_close(docker_world, machine, kind)

    for at_once in (1,) * 12 + (4,) * 4:
        async with asyncio.TaskGroup() as callers:
            for _ in range(at_once):
                callers.create_task(hang_up(chance.uniform(0, 1.5 * whole_s)))
    await stays_empty(docker_world, machine)


def inside(native_id: str) -> set[int]:
    """The processes of a container, as this computer sees them."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if native_id in (folder / "cgroup").read_text():
                found.add(int(folder.name))
    return found


@pytest.mark.parametrize("kind", ["exec", "terminal"])
async def test_what_docker_is_slow_to_begin_is_ended_all_the_same(docker_world: DockerWorld, kind: str) -> None:
    """A process is there before it has become the command: whoever looks for the command finds nothing."""
    if os.geteuid() != 0:
        pytest.fail("Only root may stop what Docker is about to start: run this test as root.", pytrace=False)
    machine = await docker_world.running()
    native_id = docker_world.inspect(machine)["Id"]
    before = inside(native_id)
    opening = asyncio.create_task(open_and_close(docker_world, machine, kind))

    async def look() -> set[int]:
        return inside(native_id) - before

    begun = await soon(look, "it is about to begin")
    for pid in begun:
        os.kill(pid, signal.SIGSTOP)
    opening.cancel()
    await asyncio.wait({opening}, timeout=SLOW_S)
    for pid in begun:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    await asyncio.wait({opening})
    await stays_empty(docker_world, machine)
