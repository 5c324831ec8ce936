"""The Python client against the real service on Docker: docs/client.md as it stands, and what it promises."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import pytest
from tests.integration.docker_command import docker, docker_json, is_podman
from tests.integration.running import Running, a_service, environment
from tests.integration.waiting import eventually
from tests.unit.client.either import BOTH, Either, asynchronous, synchronous

from worker_orchestrator.client import AsyncClient, Client
from worker_orchestrator.errors import (
    CallFailed,
    EventsLost,
    GenerationMismatch,
    InvalidInput,
    InvalidProject,
    MachineNotFound,
    NoMachineAvailable,
    NotRunning,
    NotSupported,
    OrchestratorError,
    PathNotFound,
    PathOutOfReach,
    PoolNotFound,
    ProjectHasNoMachine,
    ServiceUnreachable,
    Unauthorized,
)
from worker_orchestrator.wire.v1 import Machine

_T = TypeVar("_T")
Connect = Callable[..., AbstractContextManager[Either]]
PATIENT: Final = 60
"""Retries of a client that outlasts a restart on a busy computer: the usual six bridge ten seconds."""

GUIDE: Final = Path(__file__).parents[2] / "docs" / "client.md"
TEXT: Final = GUIDE.read_text(encoding="utf-8")
BLOCKS: Final = [
    (f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", found[1])
    for page in (GUIDE, GUIDE.with_name("api.md"), GUIDE.with_name("deadlines.md"))
    for text in [page.read_text(encoding="utf-8")]
    for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if "class Receiver" not in found[1]  # it has a test of its own, in test_webhook, and never ends by itself
]
OPERATIONS: Final = sorted(name for name in dir(Client) if not name.startswith("_") and name not in {"close", "url"})
TOKEN: Final = "a-token-of-more-than-16-characters"


def url_of(service: Running) -> str:
    return f"http://localhost:{service.ports.api}"


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=BOTH, ids=lambda make: make.__name__)
def connect(request: pytest.FixtureRequest) -> Connect:
    """Opens a client, of either kind."""
    made: Connect = request.param
    return made


@pytest.fixture
def client(connect: Connect, shared: Running) -> Iterator[Either]:
    """A client of the shared service, which is left as it was found."""
    with connect(url_of(shared)) as client:
        yield client
    for machine in shared.machines():
        if machine["isUsed"]:
            shared.release(machine["id"])


@pytest.fixture
def machine(client: Either) -> Iterator[Machine]:
    with client.machine("inside") as machine:
        yield machine


@pytest.fixture(scope="module")
def only_one(tmp_path_factory: pytest.TempPathFactory, example_image: str) -> Iterator[Running]:
    """A service with one machine, and no more, that is killed and started again."""
    with a_service(tmp_path_factory.mktemp("only-one"), "--min-idle", "1", "--max-machines", "1") as service:
        service.await_idle(1)
        yield service


@pytest.fixture
def restarted(only_one: Running) -> Iterator[Running]:
    """That service, which runs and has its machine free again behind each test."""
    yield only_one
    if only_one.process is None:
        only_one.start()
    for machine in only_one.machines():
        if machine["isUsed"]:
            only_one.release(machine["id"])


def on_a_thread(work: Callable[[], _T]) -> Future[_T]:
    """What goes on while the service is away. Where the test fails, nobody waits for it."""
    done = Future[_T]()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 # told by the test
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


# the guide


@pytest.mark.parametrize(("place", "block"), BLOCKS, ids=[place for place, _ in BLOCKS])
def test_each_block_of_the_guide_runs_as_it_stands(shared: Running, tmp_path: Path, place: str, block: str) -> None:
    """Without a warning, and without keeping a machine."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment({"ORCHESTRATOR_URL": url_of(shared)}),
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{place}\n{done.stderr}"
    assert [found["assignedProject"] for found in shared.machines() if found["isUsed"]] == []


def test_the_guide_names_every_operation() -> None:
    rows = re.findall(r"^\| .*? \| (`.*`) \|$", TEXT.partition("## All operations")[2], re.MULTILINE)
    assert sorted(" ".join(rows).replace("`", "").split()) == OPERATIONS


def test_the_guide_names_every_error_that_a_client_meets_with_its_code() -> None:
    """But for those of the state directory, which only the service sees, and of host ports, which it deals with."""
    told = dict(re.findall(r"^\| (?:⤷ )?`(\w+)` \| `(\w+)` \|", TEXT, re.MULTILINE))
    unmet = {"StoreError", "StoreLocked", "StoreRefused", "PortTaken", "PortInUse"}
    assert told == {cls.__name__: cls.code for cls in all_errors(OrchestratorError) if cls.__name__ not in unmet}


def all_errors(top: type[OrchestratorError]) -> Iterator[type[OrchestratorError]]:
    yield top
    for cls in top.__subclasses__():
        yield from all_errors(cls)


# both clients


def packed(name: str, content: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


CALLS: Final[dict[str, Callable[[Either, Machine], Any]]] = {
    "assign": lambda c, m: c.assign(m.project, metadata={"a": "ü"}),
    "machine_of": lambda c, m: c.machine_of(m.project),
    "keep": lambda c, m: c.keep(m.project, generation=m.generation),
    "release": lambda c, m: c.release(c.assign("released").project),
    "sleep": lambda c, m: [c.sleep(m.project, generation=m.generation).state, c.wake(m.project).id],
    "wake": lambda c, m: c.wake(m.project, generation=m.generation, wait_seconds=20).id,
    "why": lambda c, m: c.why(m.project),
    "machines": lambda c, m: c.machines(states=["assigned"], project=m.project, pool="default"),
    "get": lambda c, m: [c.get(m.id), c.get(m.container_id)],
    "destroy": lambda c, m: c.destroy(c.assign("destroyed").id),
    "logs": lambda c, m: b"".join(c.logs(m.id, tail=5, timestamps=True)),
    "stats": lambda c, m: c.stats(m.id).memory_limit_bytes,
    "environment": lambda c, m: c.environment(m.id),
    "exec": lambda c, m: c.exec(m.id, ["sh", "-c", "cat; pwd; echo $A >&2; exit 3"], stdin="é", env={"A": "b"}, workdir="/"),
    "exec_stream": lambda c, m: gathered(c.exec_stream(m.id, ["sh", "-c", "cat; pwd >&2; exit 3"], stdin="é", workdir="/")),
    "write_file": lambda c, m: [c.write_file(m.id, "/tmp/same", b"same"), c.read_file(m.id, "/tmp/same")],
    "read_file": lambda c, m: c.read_file(m.id, "/srv/index.html"),
    "write_tar": lambda c, m: [c.write_tar(m.id, "/tmp", packed("packed", b"x" * 999)), c.read_file(m.id, "/tmp/packed")],
    "read_tar": lambda c, m: b"".join(c.read_tar(m.id, "/srv")),
    "pools": lambda c, m: c.pools(),
    "pool": lambda c, m: c.pool(),
    "restart": lambda c, m: [c.restart(m.id).project, c.assign(m.project).id],
    "scale": lambda c, m: [c.scale(min_idle=1, max_idle=3, limit=4), c.scale(min_idle=None, max_idle=None, limit=None)],
    "link": lambda c, m: c.link(m.project, seconds=60).url,
    "route": lambda c, m: c.route(f"{m.project}.localhost").target,
    "plan": lambda c, m: [c.plan(days=1).target, c.plan(target=0.9).pool],
    "pause": lambda c, m: c.pause(),
    "resume": lambda c, m: c.resume("default"),
    "reload": lambda c, m: c.reload(dry_run=True),
    "events": lambda c, m: list(c.events(follow=False, machine=m.id)),
    "health": lambda c, m: c.health().status,
    "history": lambda c, m: c.history(60).step_seconds,
    "machine": lambda c, m: within(c),
    "create_key": lambda c, m: [c.create_key("both", pools=["default"], may=["read"]).note, c.revoke_key("both").may],
    "revoke_key": lambda c, m: [c.create_key("both", max_machines=3).value[:9], c.revoke_key("both").max_machines],
    "keys": lambda c, m: c.keys(),
}  # fmt: skip
"""One call of each operation, whose result is the same each time."""


def gathered(parts: Any) -> list[Any]:
    """All of each stream, and the end: into which pieces it falls is up to chance."""
    *pieces, end = parts
    return [*("".join(one.text for one in pieces if one.stream == name) for name in ("stdout", "stderr")), end]


def within(client: Either) -> list[str | None]:
    with client.machine("within") as machine:
        return [machine.project, machine.state, client.machine_of("within").id == machine.id]


def test_there_is_a_call_of_each_operation() -> None:
    assert sorted(CALLS) == OPERATIONS


@pytest.fixture(scope="module")
def pair(shared: Running) -> Iterator[tuple[Either, Either, Machine]]:
    with synchronous(url_of(shared)) as one, asynchronous(url_of(shared)) as other, one.machine("same") as machine:
        yield one, other, machine


@pytest.mark.parametrize("operation", CALLS)
def test_both_clients_give_the_same(pair: tuple[Either, Either, Machine], operation: str) -> None:
    one, other, machine = pair
    call = CALLS[operation]
    results = [call(one, machine), call(other, machine)]
    if operation in {"release", "destroy"}:  # each has an assignment of its own
        results = [msgspec.structs.replace(found, machine="", generation=0) for found in results]
    assert results[0] == results[1]
    assert type(results[0]) is type(results[1])


def test_what_is_called_on_the_two_are_the_two() -> None:
    """The test above compares no client with itself."""
    with synchronous() as one, asynchronous() as other:
        assert isinstance(one, Client)
        assert isinstance(other._client, AsyncClient)


# projects and machines


def test_a_project_has_one_machine_until_it_is_released(shared: Running, client: Either) -> None:
    machine = client.assign("one", metadata={"branch": "main"})
    assert client.assign("one") == client.machine_of("one") == client.get(machine.id) == machine
    assert (machine.project, machine.state, machine.metadata) == ("one", "assigned", {"branch": "main"})
    assert docker_json("inspect", machine.id)["Id"].startswith(machine.container_id)
    told = client.why("one")
    assert (told.machine, told.generation) == (machine.id, machine.generation)
    assert told.how in {"warm", "cold"}
    assert told.stages.total_ms > 0
    assert "assigned" in [event.cause for event in told.events]
    released = client.release("one", generation=machine.generation)
    assert (released.project, released.machine, released.generation) == ("one", machine.id, machine.generation)
    with pytest.raises(ProjectHasNoMachine):
        client.machine_of("one")
    newer = client.assign("one")
    assert newer.generation > machine.generation
    client.destroy(newer.id, generation=newer.generation)
    assert docker("container", "inspect", newer.id, check=False).failed


def test_a_list_is_all_pages_of_it(client: Either, monkeypatch: pytest.MonkeyPatch) -> None:
    """However short they are."""
    assigned = [client.assign(f"page-{number}") for number in range(3)]
    whole = [machine.id for machine in client.machines(states=["assigned"])]
    monkeypatch.setattr("worker_orchestrator.client.machine_calls._PAGE", 1)
    paged = client.machines(states=["assigned"])
    assert [machine.id for machine in paged] == whole == sorted(machine.id for machine in assigned)
    assert client.machines(states=["assigned", "idle"], project="page-1") == [assigned[1]]
    assert client.machines(project="nobody") == []
    assert client.machines(pool="none") == []


def test_a_machine_is_released_at_the_end_of_its_block(shared: Running, client: Either) -> None:
    with client.machine("block") as machine:
        assert shared.machine_of("block")["id"] == machine.id  # type: ignore[index] # it has one
    assert shared.machine_of("block") is None
    assert machine.id in shared.idle()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_machine_is_released_when_its_block_fails(
    shared: Running, client: Either, error: type[BaseException]
) -> None:
    """However it does, and the error goes on."""
    with pytest.raises(error, match="mine") as told, client.machine("failing"):
        raise error("mine")
    assert shared.machine_of("failing") is None
    assert not hasattr(told.value, "__notes__")


def test_the_end_of_a_block_leaves_alone_what_somebody_else_has_by_then(shared: Running, client: Either) -> None:
    with client.machine("shared") as machine:
        client.release("shared")
        newer = client.assign("shared")
        assert newer.generation > machine.generation
    assert client.machine_of("shared") == newer


def test_threads_share_a_client_and_a_project_its_machine(shared: Running) -> None:
    with Client(url_of(shared)) as client, ThreadPoolExecutor(8) as threads:
        projects = [f"thread-{number % 4}" for number in range(32)]
        machines = list(threads.map(client.assign, projects))
        assert len({machine.id for machine in machines}) == 4
        assert Counter(machine.project for machine in machines) == Counter(projects)
        list(threads.map(client.release, set(projects)))
    assert [one["assignedProject"] for one in shared.machines() if one["isUsed"]] == []


# errors


REFUSED: Final[dict[str, tuple[type[OrchestratorError], int | None, Callable[[Either, Machine], object]]]] = {
    "a bad project": (InvalidProject, 400, lambda c, m: c.assign(".hidden")),
    "metadata that is too much": (InvalidInput, 400, lambda c, m: c.assign("p", metadata={"k": "x" * 2000})),
    "a size that cannot be": (InvalidInput, 400, lambda c, m: c.scale(limit=0)),
    "a path that is not absolute": (InvalidInput, 400, lambda c, m: c.read_file(m.id, "notes.txt")),
    "a folder instead of a file": (InvalidInput, 400, lambda c, m: c.read_file(m.id, "/srv")),
    "a file where a folder is": (InvalidInput, 400, lambda c, m: c.write_file(m.id, "/srv", b"")),
    "no archive": (InvalidInput, 400, lambda c, m: c.write_tar(m.id, "/srv", b"x" * 1000)),
    "a file of the kernel": (PathOutOfReach, 400, lambda c, m: c.read_file(m.id, "/proc/version")),
    "an unknown machine": (MachineNotFound, 404, lambda c, m: c.get("worker-1-nobody00")),
    "the logs of an unknown machine": (MachineNotFound, 404, lambda c, m: list(c.logs("worker-1-nobody00"))),
    "a project without a machine": (ProjectHasNoMachine, 404, lambda c, m: c.release("nobody")),
    "an unknown pool": (PoolNotFound, 404, lambda c, m: c.pool("none")),
    "no such file": (PathNotFound, 404, lambda c, m: c.read_file(m.id, "/srv/none")),
    "no such folder to unpack into": (PathNotFound, 404, lambda c, m: c.write_tar(m.id, "/none", packed("a", b""))),
    "an archive of what is not there": (PathNotFound, 404, lambda c, m: list(c.read_tar(m.id, "/none"))),
    "events that never were": (EventsLost, None, lambda c, m: list(c.events(after=10**9, follow=False))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_error_of_the_service_is_raised_here(client: Either, machine: Machine, what: str) -> None:
    cls, status, provoke = REFUSED[what]
    with pytest.raises(cls) as told:
        provoke(client, machine)
    assert (type(told.value), told.value.status) == (cls, status)
    assert told.value.request_id or status is None
    assert client.machine_of("inside") == machine


def test_a_body_that_is_too_large_is_refused_in_the_words_of_the_service(client: Either, machine: Machine) -> None:
    with pytest.raises(
        CallFailed, match=r"^Request body too large\. The body may have at most 1048576 bytes\.$"
    ) as told:
        client.exec(machine.id, ["cat"], stdin="x" * 2**21)
    assert told.value.status == 413


@pytest.mark.parametrize("call", ["release", "destroy"])
def test_who_comes_too_late_is_refused_and_told_which_generation_holds(
    client: Either, machine: Machine, call: str
) -> None:
    of = "inside" if call == "release" else machine.id
    with pytest.raises(GenerationMismatch, match=f"has generation {machine.generation}") as told:
        getattr(client, call)(of, generation=machine.generation - 1)
    assert (told.value.status, told.value.generation) == (412, machine.generation)
    assert client.machine_of("inside") == machine


def test_what_does_not_run_is_told_from_what_is_not_there(client: Either, machine: Machine) -> None:
    docker("pause", machine.id)
    try:
        with pytest.raises(NotRunning) as told:
            client.exec(machine.id, ["true"])
    finally:
        docker("unpause", machine.id)
    assert told.value.status == 409
    assert f"it is paused. `{'podman' if is_podman() else 'docker'} unpause " in told.value.message


def test_a_pool_at_its_limit_is_told_at_once_where_nobody_wants_to_wait(connect: Connect, restarted: Running) -> None:
    with connect(url_of(restarted)) as client, client.machine("holder"):
        with pytest.raises(
            NoMachineAvailable, match=r"All 1 machines \(max_machines\) are held by projects\. Held longest: "
        ) as told:
            client.assign("late", wait_seconds=0)
        assert (told.value.status, told.value.code) == (503, "no_machine_available")
        assert told.value.retry_after_s >= 1


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that wants a token, and whose engine runs no commands."""
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(TOKEN)
    with a_service(folder, "--engine", "memory", "--token-file", str(folder / "token"), start=False) as service:
        service.start(await_answer=False)
        with Client(url_of(service), token=TOKEN, retries=50) as client:
            client.health()
        yield service


def test_nothing_is_done_without_the_token(connect: Connect, guarded: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for token, said in (("wrong", "refused this token"), (None, "requires a token")):
        with connect(url_of(guarded), token=token) as client, pytest.raises(Unauthorized, match=said) as told:
            client.assign("p")
        assert told.value.status == 401
    monkeypatch.setenv("ORCHESTRATOR_TOKEN_FILE", str(guarded.folder / "token"))
    with connect(url_of(guarded)) as client:
        assert client.health().engine.kind == "memory"


def test_what_an_engine_cannot_do_is_told(connect: Connect, guarded: Running) -> None:
    with connect(url_of(guarded), token=TOKEN) as client, client.machine("p") as machine:
        with pytest.raises(NotSupported) as told:
            client.exec(machine.id, ["true"])
        assert told.value.status == 501


# over a restart


def waiting(service: Running) -> bool:
    with Client(url_of(service)) as client:
        return client.pool().waiting == 1


def same(machine: Machine) -> tuple[object, ...]:
    """What a restart changes nothing of; when it was last looked at may be another time."""
    return machine.id, machine.generation, machine.url, machine.project


def test_an_assign_goes_on_over_a_kill_of_the_service(connect: Connect, restarted: Running) -> None:
    """It waits in line, loses its service, comes back, and waits in line again: whoever called sees a machine."""
    with Client(url_of(restarted)) as other:
        held = other.assign("holder")

        def assign() -> Machine:
            with connect(url_of(restarted), retries=PATIENT) as client:
                machine: Machine = client.assign("patient", wait_seconds=60)
                return machine

        assigning = on_a_thread(assign)
        eventually(lambda: waiting(restarted), "it waits in line")
        restarted.end(signal.SIGKILL)
        restarted.start()
        assert same(other.machine_of("holder")) == same(held)
        eventually(lambda: waiting(restarted), "it waits in line again", within_s=40)
        assert not assigning.done()
        other.release("holder", generation=held.generation)
        machine = assigning.result(timeout=20)
        assert same(other.machine_of("patient")) == same(machine)


def test_an_assign_finds_its_service_that_is_not_there_yet(connect: Connect, restarted: Running) -> None:
    """What it had before, it has again."""
    with connect(url_of(restarted), retries=PATIENT) as client, client.machine("steady") as machine:
        restarted.end(signal.SIGKILL)
        starting = on_a_thread(restarted.start)
        try:
            assert same(client.assign("steady")) == same(machine)
        finally:
            starting.result(timeout=40)


def test_a_service_that_does_not_come_back_is_told_as_such(connect: Connect, restarted: Running) -> None:
    """With what to do, and after all tries."""
    restarted.end(signal.SIGKILL)
    says = rf"{url_of(restarted)} does not answer: connection refused\. Check that it runs"
    with connect(url_of(restarted), retries=1) as client, pytest.raises(ServiceUnreachable, match=says) as told:
        client.assign("nobody")
    assert told.value.status is None


def test_a_command_is_never_run_twice(connect: Connect, restarted: Running) -> None:
    """Where its service was killed meanwhile, nobody knows how far it came: that is what is told."""
    with connect(url_of(restarted)) as client, client.machine("once") as machine:
        command = ["sh", "-c", "echo ran >>/tmp/runs; sleep 600"]

        def run() -> object:
            with connect(url_of(restarted)) as one:
                return one.exec(machine.id, command, timeout_seconds=300)

        def runs() -> str:
            return docker("exec", machine.id, "cat", "/tmp/runs", check=False).out

        running = on_a_thread(run)
        eventually(lambda: runs() == "ran", "it runs")
        restarted.end(signal.SIGKILL)
        restarted.start()
        assert isinstance(running.exception(timeout=20), ServiceUnreachable)
        assert client.exec(machine.id, ["cat", "/tmp/runs"]).stdout == "ran\n"
        client.exec(machine.id, ["rm", "/tmp/runs"])


def test_events_go_on_over_a_kill_of_the_service(connect: Connect, restarted: Running) -> None:
    """Each one once and in order, as the table has them."""
    begin = restarted.rows("SELECT max(seq) FROM event")[0][0]
    seen: list[int] = []
    begun = threading.Event()

    def follow() -> None:
        with connect(url_of(restarted), retries=PATIENT) as client, closing(client.events(after=begin)) as events:
            for event in events:
                seen.append(event.id)
                begun.set()
                if event.project == "last" and event.cause == "assigned":
                    return

    following = on_a_thread(follow)
    with Client(url_of(restarted)) as other:
        change(other, "first")
        assert begun.wait(10)
        restarted.end(signal.SIGKILL)
        restarted.start()
        for name in ("second", "third", "last"):
            change(other, name)
        following.result(timeout=20)
    stored = restarted.rows(f"SELECT seq FROM event WHERE seq BETWEEN {begin + 1} AND {seen[-1]} ORDER BY seq")
    assert seen == [row[0] for row in stored]
    assert len(seen) >= 7


def change(client: Client, project: str) -> None:
    with client.machine(project):
        pass


# inside a container


def test_a_command_runs_in_the_container(client: Either, machine: Machine) -> None:
    done = client.exec(machine.id, ["hostname"])
    assert (done.exit_code, done.stderr, done.truncated) == (0, "", False)
    assert docker("exec", machine.id, "hostname").out == done.stdout.strip()
    assert client.exec(machine.id, ["id", "-u"], user="1000").stdout == "1000\n"
    large = client.exec(machine.id, ["sh", "-c", "yes | head -c 3000000"])
    assert (len(large.stdout), large.truncated) == (2**20, True)
    assert client.exec(machine.id, ["sleep", "600"], timeout_seconds=0.2).exit_code is None
    assert "sleep 600" not in docker("exec", machine.id, "ps").out


def test_files_go_in_and_come_out_as_they_are(client: Either, machine: Machine, tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_000
    client.write_file(machine.id, "/tmp/a b&c%", content)
    assert client.read_file(machine.id, "/tmp/a b&c%") == content
    assert docker("exec", machine.id, "wc", "-c", "/tmp/a b&c%").out.split()[0] == str(len(content))
    docker("exec", machine.id, "rm", "/tmp/a b&c%")
    for number, path in enumerate((tmp_path / "in.tar", tmp_path / "skipped.tar")):
        path.write_bytes(b"skipped" * number + packed(f"from-{number}", content))
        with path.open("rb") as file:
            file.seek(7 * number)
            client.write_tar(machine.id, "/tmp", file)
    archive = tmp_path / "out.tar"
    with archive.open("wb") as file:
        file.writelines(client.read_tar(machine.id, "/tmp"))
    with tarfile.open(archive) as tar:
        for name in ("tmp/from-0", "tmp/from-1"):
            assert (found := tar.extractfile(name)) is not None
            assert found.read() == content


def test_logs_are_what_the_worker_wrote(client: Either, machine: Machine) -> None:
    line = f"{docker('exec', machine.id, 'hostname').out} listens on 0.0.0.0:9092\n".encode()
    assert line in b"".join(client.logs(machine.id))
    assert b"".join(client.logs(machine.id, tail=0)) == b""
    stamped = b"".join(client.logs(machine.id, timestamps=True))
    assert re.search(rb"^20\d\d-\d\d-\d\dT[\d:.]+Z " + re.escape(line), stamped, re.MULTILINE)


def test_logs_that_are_followed_come_as_they_are_written(connect: Connect, shared: Running, machine: Machine) -> None:
    seen = bytearray()
    words = [f"{connect.__name__}-{number}".encode() for number in range(3)]

    def follow() -> None:
        with connect(url_of(shared)) as client, closing(client.logs(machine.id, follow=True)) as pieces:
            while words[-1] not in seen:
                seen.extend(next(pieces))

    following = on_a_thread(follow)
    for word in words:
        docker("exec", machine.id, "sh", "-c", f"echo {word.decode()} >/proc/1/fd/1")
        eventually(lambda word=word: word in seen, "it is there")  # type: ignore[misc] # bound for this round
    following.result(timeout=20)


def test_what_a_container_uses_and_was_given(client: Either, machine: Machine) -> None:
    assert client.stats(machine.id).memory_bytes > 0
    given = {variable.name: variable for variable in client.environment(machine.id).variables}
    assert given["DATABASE_URL"].hidden
    assert (given["PATH"].value, given["PATH"].hidden) == ("/bin", False)


# the pool


def test_sizes_are_changed_and_given_back(client: Either) -> None:
    before = client.pool()
    changed = client.scale(min_idle=1, limit=5)
    assert (changed.min_idle, changed.limit, changed.configured) == (1, 5, before.configured)
    assert client.pause().paused
    assert not client.resume().paused
    client.scale(min_idle=None, limit=None)
    after = client.pools()[0]
    assert (after.min_idle, after.limit) == (before.min_idle, before.limit)
