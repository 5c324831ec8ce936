"""Values for a container that runs already: they come in order, are its user's, are in memory only, and go with the run."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import tarfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace
from tests.contract.worlds import DockerWorld, listening_on, soon
from tests.integration.docker_command import EXAMPLE, LABEL, docker, docker_json, is_podman, make_image

from worker_orchestrator.core.machine import Holding, Machine
from worker_orchestrator.core.spec import DEFAULT_POOL
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.extras import Configurable, LateValues
from worker_orchestrator.errors import EngineRejected, InvalidInput, NotRunning, OutcomeUnknown, PortTaken, SetupFailed

pytestmark = pytest.mark.promise("late")

FOLDER: Final = "/run/project"
PLANTED: Final = "pl4nted-and-nowhere-else"
STRICT: Final[dict[str, Any]] = {"user": "1234:1234", "read_only": True, "cap_drop": ("ALL",)}
WATCHES: Final = f"""cd {FOLDER}; while [ ! -f ready ]; do :; done
ls -A; cat env.json secrets/* files/conf/app; . ./env; echo " $GREETING"; stat -c '%n %a %u:%g' * secrets/a files/conf/app"""
ANSWERS: Final = (
    'printf \'HTTP/1.1 %s\\r\\nConnection: close\\r\\n\\r\\nIt was %s\\r\\n\' "$0" "$1"; timeout 1 cat >>/tmp/asked'
)


def files(name: str = "conf/app", content: bytes = b"x") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(content), 0o640
        archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


VALUES: Final = LateValues({"GREETING": f"it's {PLANTED}"}, {"a": PLANTED, "b": "2"}, files())
OTHERS: Final = LateValues({"GREETING": "other"}, {"c": "3"})


async def running(world: DockerWorld, engine: DockerEngine) -> Machine:
    """A machine of this engine that serves and that a project has, as the last listing showed it."""
    machine = await world.machine(engine=engine)
    await engine.create(machine)
    await serves(engine, machine)
    return replace(machine, holding=Holding("p"), generation=7)


async def serves(engine: DockerEngine, machine: Machine) -> None:
    async def look() -> bool:
        return await engine.probe(machine, (await engine.list()).instances.get(machine.id)) is None

    await soon(look, f"{machine.id} serves")


async def said(engine: DockerEngine, machine: Machine, command: str, user: str = "") -> str:
    done = await engine.exec(machine.id, ["sh", "-c", command], user=user)
    return (done.stdout + done.stderr).decode()


def volumes_of(owner: str) -> Sequence[str]:
    return docker("volume", "ls", "-q", "--filter", f"label={LABEL}.owner={owner}").lines


async def test_a_worker_that_waits_for_ready_has_all_of_it_and_a_restart_takes_it_away(
    docker_world: DockerWorld,
) -> None:
    """Also with a read-only file system, a user of its own and no capability; and nothing shows the values."""
    engine, begun = await docker_world.open_engine(late_dir=FOLDER, **STRICT), int(time.time())
    assert isinstance(engine, Configurable)
    machine = await running(docker_world, engine)
    assert not await engine.is_configured(machine.id)
    watching = asyncio.create_task(said(engine, machine, WATCHES))
    await asyncio.sleep(0)
    await engine.configure(machine, VALUES)
    assert await watching == (
        f'env\nenv.json\nfiles\nready\nsecrets\n{{"GREETING":"it\'s {PLANTED}"}}{PLANTED}2x it\'s {PLANTED}\n'
        "env 400 1234:1234\nenv.json 400 1234:1234\nfiles 755 1234:1234\nready 444 1234:1234\nsecrets 700 1234:1234\n"
        "secrets/a 400 1234:1234\nfiles/conf/app 640 1234:1234\n"
    )
    assert await engine.is_configured(machine.id)
    assert " rw" in (mount := await said(engine, machine, f"grep ' {FOLDER} ' /proc/mounts"))
    assert mount.startswith("tmpfs "), "in memory"

    await engine.configure(machine, OTHERS, anew=True)
    found = await said(engine, machine, f"cd {FOLDER}; find . | sort; cat env env.json secrets/c")
    assert found == (
        ".\n./env\n./env.json\n./files\n./ready\n./secrets\n./secrets/c\nGREETING=other\n" + '{"GREETING":"other"}3'
    )

    told = docker("inspect", machine.id).out + docker("image", "inspect", docker_world.image).out
    told += docker("events", "--since", str(begun), "--until", str(int(time.time()) + 1)).out
    told += docker("diff", machine.id).out + docker("logs", machine.id).out
    assert machine.id in told
    assert PLANTED not in told

    docker("restart", "-t", "1", machine.id)
    await serves(engine, machine)
    assert not await engine.is_configured(machine.id)
    assert await said(engine, machine, f"ls -A {FOLDER}") == ""
    await engine.configure(machine, OTHERS)
    assert await engine.is_configured(machine.id)
    await engine.destroy(machine.id)
    assert not volumes_of(docker_world.owner)
    assert not await engine.is_configured(machine.id)
    with pytest.raises(EngineRejected, match=f"^There is no container of {machine.id}"):
        await engine.configure(machine, OTHERS)


async def test_cleaning_ends_all_that_has_read_the_values_and_leaves_none(docker_world: DockerWorld) -> None:
    engine = await docker_world.open_engine(late_dir=FOLDER)
    machine = await running(docker_world, engine)
    await engine.configure(machine, VALUES)
    docker("exec", "-d", machine.id, "sh", "-c", f"exec 3<{FOLDER}/secrets/a; trap '' TERM HUP; sleep 1000; :")
    await said(engine, machine, f"mkdir {FOLDER}/more; cp {FOLDER}/env {FOLDER}/more; ln -s /etc {FOLDER}/files/etc")

    await engine.clean(machine.id)
    await serves(engine, machine)
    assert not any("sleep 1000" in process for process in docker_world.processes(machine))
    assert await said(engine, machine, f"ls -A {FOLDER}") == ""
    assert not await engine.is_configured(machine.id)
    await engine.clean(machine.id)  # safe to repeat

    docker("stop", "-t", "1", machine.id)
    if is_podman():
        # What is written now is on the disk of the container, so nobody else gets it.
        with pytest.raises(OutcomeUnknown, match=r"They may be on its disk\.$"):
            await engine.configure(machine, VALUES)
        with pytest.raises(EngineRejected, match=f"is in its {FOLDER} all the same"):
            await engine.clean(machine.id)
        docker("start", machine.id)
        assert await said(engine, machine, f"ls -A {FOLDER}") == "", "it is not seen in any case"
        return
    with pytest.raises(NotRunning, match=r"stopped while it was given its values\. They are lost\.$"):
        await engine.configure(machine, VALUES)
    assert machine.port is not None
    with listening_on(machine.port), pytest.raises(PortTaken):
        await engine.clean(machine.id)
    await engine.clean(machine.id)
    await serves(engine, machine)
    assert await said(engine, machine, f"ls -A {FOLDER}") == ""

    docker_world.remove(machine)
    assert not volumes_of(docker_world.owner)
    with pytest.raises(EngineRejected, match=f"^{machine.id} has no container with a folder in memory"):
        await engine.clean(machine.id)


async def test_a_worker_without_any_program_but_its_own_takes_values_also_anew(
    docker_world: DockerWorld, tmp_path: Path
) -> None:
    """And somebody who removes its container without its volume leaves an empty one, which `down` takes away."""
    image = an_image_without_a_shell(f"{docker_world.image}-bare")
    try:
        engine = await docker_world.open_engine(image, late_dir=FOLDER, worker_port=9092, read_only=True)
        machine = await running(docker_world, engine)
        await engine.configure(machine, VALUES)
        await engine.configure(machine, OTHERS, anew=True)
        done = await engine.exec(machine.id, ["/busybox", "find", FOLDER])
        assert sorted(done.stdout.decode().split()) == [
            FOLDER, *(f"{FOLDER}/{name}" for name in ("env", "env.json", "files", "ready", "secrets", "secrets/c")),
        ]  # fmt: skip
        with pytest.raises(InvalidInput):
            await engine.configure(machine, LateValues({}, {}, files("n" * 300)))
        full = LateValues({}, {str(n): "x" * 65_536 for n in range(64)})
        fill = ["/busybox", "dd", "if=/dev/zero", f"of={FOLDER}/more", "bs=1M", "count=15"]
        if (await engine.exec(machine.id, fill)).exit_code:  # with userns-remap the folder itself is the host's
            (tmp_path / "more").write_bytes(bytes(15 << 20))
            docker("cp", f"{tmp_path}/more", f"{machine.id}:{FOLDER}/more")
        with pytest.raises(EngineRejected, match=f"^{FOLDER} of {machine.id} is full: it has 16 MiB of memory"):
            await engine.configure(machine, full, anew=True)
        assert not await engine.is_configured(machine.id)

        docker("rm", "-f", machine.id)
        await engine.remove_network()
        assert not volumes_of(docker_world.owner)
    finally:
        docker("rmi", "-f", image)


def an_image_without_a_shell(tag: str) -> str:
    """One program, which has no other name, and nothing else."""
    source = docker("create", EXAMPLE).out
    try:
        copied = subprocess.run(["docker", "cp", f"{source}:/bin/busybox", "-"], capture_output=True, check=True).stdout
    finally:
        docker("rm", source)
    changes = ['ENTRYPOINT ["/busybox","httpd","-f","-p","9092","-h","/"]', "EXPOSE 9092"]
    words = [word for change in changes for word in ("--change", change)]
    subprocess.run(["docker", "import", *words, "-", tag], input=copied, capture_output=True, check=True)
    return tag


async def test_the_values_are_those_of_the_user_that_the_image_names(docker_world: DockerWorld) -> None:
    """By its own list of users, also for one who comes after a restart of the service; and by no list there is none."""
    an_image_with_a_user(docker_world.image)
    engine = await docker_world.open_engine(late_dir=FOLDER)
    machine = await running(docker_world, engine)
    await engine.configure(machine, OTHERS)
    shown = f"stat -c '%u:%g' {FOLDER}/secrets/c; cat {FOLDER}/secrets/c"
    assert await said(engine, machine, shown) == "4321:100\n3"
    later = await docker_world.open_engine(late_dir="/other")
    await later.configure(machine, VALUES, anew=True)
    assert (
        await said(engine, machine, f"stat -c '%u:%g' {FOLDER}/secrets/a; cat {FOLDER}/secrets/a")
        == f"4321:100\n{PLANTED}"
    )


def an_image_with_a_user(tag: str) -> None:
    """The example, whose USER is a name."""
    held, lines = io.BytesIO(), b"root:x:0:0::/:/bin/sh\nweb:x:4321:100::/:/bin/sh\n"
    with tarfile.open(fileobj=held, mode="w") as archive:
        folder, passwd = tarfile.TarInfo("etc"), tarfile.TarInfo("etc/passwd")
        folder.type, folder.mode, passwd.size = tarfile.DIRTYPE, 0o755, len(lines)
        archive.addfile(folder)
        archive.addfile(passwd, io.BytesIO(lines))
    source = docker("create", EXAMPLE).out
    try:
        subprocess.run(["docker", "cp", "-", f"{source}:/"], input=held.getvalue(), check=True)
        docker("commit", "--change", "USER web", source, tag)
    finally:
        docker("rm", source)


async def test_what_is_posted_comes_with_the_token_of_the_worker(docker_world: DockerWorld) -> None:
    make_image(docker_world.image, that_answers("200 OK"))
    engine = await docker_world.open_engine(late_post="/configure", ready="tcp")
    machine = await running(docker_world, engine)
    await engine.configure(machine, VALUES)

    async def asked() -> str:
        return found if (found := await said(engine, machine, "cat /tmp/asked")).endswith("}") else ""

    request = await soon(asked, "the worker was asked")
    token = variable_of(machine, "ORCHESTRATOR_TOKEN")
    assert len(token) == 64
    assert request.startswith("POST /configure HTTP/1.1\r\n")
    assert f"\r\nAuthorization: Bearer {token}\r\n" in request
    assert f'"project":"p","generation":7,"env":{{"GREETING":"it\'s {PLANTED}"}},"secrets":{{"a":"{PLANTED}"' in request
    assert await engine.is_configured(machine.id), "as far as is known"
    assert "ORCHESTRATOR_TOKEN" not in await engine.environment(machine.id)
    again = await docker_world.open_engine(late_post="/configure")
    again.late_key = engine.late_key
    assert again._token_of(machine.id) == token, "it is the same after a restart of the service"
    assert await again.template(DEFAULT_POOL) == machine.template
    assert again._token_of("worker-1700000000000-another00") != token
    with pytest.raises(EngineRejected, match="has no container with a folder in memory"):
        await engine.clean(machine.id)

    make_image(docker_world.image, that_answers("422 No", PLANTED))
    refusing = await running(docker_world, engine)
    with pytest.raises(SetupFailed, match=rf"^{refusing.id} answered POST /configure with 422\.$") as failed:
        await engine.configure(refusing, VALUES)
    assert failed.value.output == "It was ***"
    docker_world.kill(refusing)
    with pytest.raises(Exception, match=refusing.id):
        await engine.configure(refusing, VALUES)


def that_answers(status: str, body: str = "") -> str:
    """For an image whose worker gives each caller this answer, and notes what it was asked."""
    words = ["nc", "-ll", "-p", "9092", "-e", "sh", "-c", ANSWERS, status, body]
    return f"ENTRYPOINT {json.dumps(words)}"


def variable_of(machine: Machine, name: str) -> str:
    variables: Any = docker_json("inspect", machine.id)["Config"]["Env"]
    return str(next(value for key, _, value in (variable.partition("=") for variable in variables) if key == name))


async def test_a_worker_that_was_made_without_takes_no_values(docker_world: DockerWorld) -> None:
    machine = replace(await docker_world.running(), holding=Holding("p"))
    engine = await docker_world.open_engine(late_dir=FOLDER)
    with pytest.raises(
        EngineRejected, match=rf"^{machine.id} was made when the workers of its pool took no values yet\."
    ):
        await engine.configure(machine, VALUES)
    assert await engine.template(DEFAULT_POOL) != machine.template, "it is replaced in time"
