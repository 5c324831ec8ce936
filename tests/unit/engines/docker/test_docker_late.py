"""Which calls give a container its values, and what it means when one fails. A server answers in the engine's place."""

from __future__ import annotations

import asyncio
import base64
import io
import tarfile
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from worker_orchestrator.core.machine import Holding, Machine, State
from worker_orchestrator.engines.docker import late
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.engine import DockerEngine
from worker_orchestrator.engines.docker.late_feed import Fed, Waiting
from worker_orchestrator.engines.docker.template import DockerOptions, make_template
from worker_orchestrator.engines.extras import LateValues
from worker_orchestrator.engines.late_archive import late_archive
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, InvalidInput, NotRunning, OutcomeUnknown

MACHINE = replace(
    Machine("worker-1700000000000-abcdefghi", "default", "f00d", State.READY, 9093), holding=Holding("p"), generation=1
)
CONTAINER = "c" * 64
PODMAN = Dialect.of({"BuildahVersion": "1.43.2", "Name": "host"})
SLOW = Dialect.of({"ServerVersion": "20.10.24"})
"""One whose archives are slow."""
VALUES = LateValues({"A": "b"}, {"secret": "hunter2"})
PASSWD = b"root:x:0:0::/:\nweb:x:33:34::/:\n"


class Fake:
    """An engine with one container. It notes what it is asked, and what it was sent."""

    def __init__(self, user: str = "") -> None:
        self.labels = {
            "worker-orchestrator.owner": "owner",
            "worker-orchestrator.machine": MACHINE.id,
            "worker-orchestrator.late-dir": "/run/project",
            "worker-orchestrator.late-user": user,
        }
        self.asked: list[str] = []
        self.sent: list[bytes] = []
        self.put: tuple[int, str] | None = (200, "")
        self.there: set[str] = set()
        self.looked = (404, b'{"message": "No such container"}', b"")

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        method, path = head.split()[:2]
        what = path.partition("?path=")[2].replace("%2F", "/") or path.partition("?")[0].rpartition("/")[2]
        self.asked.append(f"{method} {what}")
        if (said := self._said(method, path, what, body)) is not None:
            status, data, more = said
            writer.write(
                b"HTTP/1.1 %d Word\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n"
                % (status, len(data), more)
            )
            writer.write(data if method != "HEAD" else b"")
        writer.close()

    def _said(self, method: str, path: str, what: str, body: bytes) -> tuple[int, bytes, bytes] | None:
        if method == "PUT":
            self.sent.append(body)
            if self.put is None:
                return None
            status, message = self.put
            return status, msgspec.json.encode({"message": message}), b""
        if method == "HEAD":
            stat = base64.b64encode(msgspec.json.encode({"mode": 0o444}))
            return (200, b"", b"X-Docker-Container-Path-Stat: %s\r\n" % stat) if what in self.there else (404, b"", b"")
        if what == "/etc/passwd":
            return 200, packed(PASSWD), b""
        if what == "json" and "/containers/json" in path:
            listed = {"Id": CONTAINER, "ImageID": "i", "Names": [f"/{MACHINE.id}"], "Image": "i", "Labels": self.labels}
            more = {"State": "running", "Status": "Up", "Ports": [], "NetworkSettings": {"Networks": {"n": {}}}}
            return 200, msgspec.json.encode([listed | more]), b""
        return self.looked


def packed(content: bytes) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        entry = tarfile.TarInfo("passwd")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return held.getvalue()


@asynccontextmanager
async def an_engine(fake: Fake, dialect: Dialect = DOCKER) -> AsyncIterator[DockerEngine]:
    """One that has listed the container already."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="wo-") as folder:  # short: a socket's path has 104 bytes
        path = Path(folder, "s")
        async with await asyncio.start_unix_server(fake.answer, path):
            endpoint = Endpoint(f"unix://{path}", "test")
            client = open_client(endpoint)
            client.api_version = "v1.41"
            engine = DockerEngine(endpoint, client, "owner", {"default": DockerOptions("image")}, dialect=dialect)
            engine._copied["i"] = ""
            try:
                async with asyncio.timeout(20):
                    await engine.list()
                    fake.asked.clear()
                    yield engine
            finally:
                await engine.aclose()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_a_machine_that_was_listed_takes_one_call_and_a_look() -> None:
    async def story() -> None:
        fake = Fake("1000:1000")
        async with an_engine(fake) as engine:
            fake.there = {"/run/project/ready"}
            await engine.configure(MACHINE, VALUES)
            assert fake.asked == ["PUT /run/project", "HEAD /run/project/ready"]
            with tarfile.open(fileobj=io.BytesIO(fake.sent[0])) as archive:
                assert {(entry.uid, entry.gid) for entry in archive} == {(1000, 1000)}
            assert await engine.is_configured(MACHINE.id)

    run(story)


@pytest.mark.parametrize(("files", "is_here"), [(0, True), (960, False)], ids=["small", "large"])
def test_many_files_are_packed_while_others_are_served(
    monkeypatch: pytest.MonkeyPatch, files: int, *, is_here: bool
) -> None:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for number in range(files):
            archive.addfile(tarfile.TarInfo(f"{number}"))
    threads: list[int] = []

    def noted(*arguments: Any, **more: Any) -> bytes:
        threads.append(threading.get_ident())
        return late_archive(*arguments, **more)

    monkeypatch.setattr(late, "late_archive", noted)

    async def story() -> None:
        fake = Fake("1000:1000")
        async with an_engine(fake) as engine:
            fake.there = {"/run/project/ready"}
            await engine.configure(MACHINE, LateValues({}, {}, held.getvalue() if files else b""))
            with tarfile.open(fileobj=io.BytesIO(fake.sent[0])) as sent:
                assert len([one for one in sent.getnames() if one.startswith("files/")]) == files

    run(story)
    assert [thread == threading.get_ident() for thread in threads] == [is_here]


def test_a_user_by_name_is_looked_up_once() -> None:
    async def story() -> None:
        fake = Fake("web")
        async with an_engine(fake) as engine:
            fake.there = {"/run/project/ready"}
            await engine.configure(MACHINE, VALUES)
            await engine.configure(MACHINE, VALUES, anew=True)
            assert fake.asked.count("GET /etc/passwd") == 1
            with tarfile.open(fileobj=io.BytesIO(fake.sent[1])) as archive:
                assert {(entry.uid, entry.gid) for entry in archive} == {(33, 34)}

    run(story)


def test_a_user_that_is_in_no_list_is_named_and_nothing_is_written() -> None:
    async def story() -> None:
        fake = Fake("nobody")
        async with an_engine(fake) as engine:
            with pytest.raises(
                EngineRejected, match=r"^The number of the user nobody is not in the container's /etc/passwd"
            ):
                await engine.configure(MACHINE, VALUES)
            assert fake.sent == []

    run(story)


def test_what_was_written_into_a_container_that_had_stopped_is_no_success() -> None:
    """Docker loses it; Podman may have it on the disk."""

    async def story() -> None:
        for dialect, error in ((DOCKER, NotRunning), (PODMAN, OutcomeUnknown)):
            fake = Fake()
            async with an_engine(fake, dialect) as engine:
                with pytest.raises(error, match="stopped while it was given its values"):
                    await engine.configure(MACHINE, VALUES)
                assert not await engine.is_configured(MACHINE.id)

    run(story)


def test_where_the_archive_shows_the_disk_as_well_it_is_asked_whether_the_container_runs() -> None:
    async def story() -> None:
        fake = Fake()
        async with an_engine(fake, PODMAN) as engine:
            fake.there = {"/run/project/ready"}  # as it is if it was written to the disk
            with pytest.raises(OutcomeUnknown, match=r"They may be on its disk\.$"):
                await engine.configure(MACHINE, VALUES)
            fake.looked = (500, b"mangled", b"")
            with pytest.raises(OutcomeUnknown, match=f"^Whether {MACHINE.id} has its values is not known"):
                await engine.configure(MACHINE, VALUES)

    run(story)


@pytest.mark.parametrize(
    ("put", "error", "said"),
    [
        (None, OutcomeUnknown, "The connection to Docker broke"),
        ((503, "busy"), OutcomeUnknown, "busy"),
        (
            (404, f"No such container: {CONTAINER}"),
            EngineRejected,
            "There is no container of worker-1700000000000-abcdefghi",
        ),
        (
            (500, "write /files/x: no space left on device"),
            EngineRejected,
            "/run/project of worker-1700000000000-abcdefghi is full",
        ),
        ((500, "mkdir /files/x: file name too long"), InvalidInput, "/run/project"),
        ((500, "surprise"), EngineRejected, "surprise"),
    ],
)
def test_what_a_refused_archive_means(put: tuple[int, str] | None, error: type[Exception], said: str) -> None:
    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            fake.put = put
            with pytest.raises(error) as raised:
                await engine.configure(MACHINE, VALUES)
            assert said in str(raised.value)
            assert "hunter2" not in str(raised.value)

    run(story)


@pytest.mark.parametrize(
    ("fed", "kinds"),
    [(Fed.DONE, []), (Fed.UNTOUCHED, [[tarfile.REGTYPE]]), (Fed.BROKEN, [[tarfile.SYMTYPE, tarfile.REGTYPE]])],
)
def test_what_a_program_did_not_take_goes_as_an_archive(
    monkeypatch: pytest.MonkeyPatch, fed: Fed, kinds: list[list[bytes]]
) -> None:
    """What it left half done is removed first."""
    given: list[bytes] = []

    async def give(container_id: str, template: str, archive: bytes) -> Fed:
        assert (container_id, template) == (CONTAINER, MACHINE.template)
        given.append(archive)
        return fed

    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            monkeypatch.setattr(engine._feeds, "give", give)
            fake.there = {"/run/project/ready"}
            await engine.configure(MACHINE, VALUES)
            assert len(given) == 1
            assert [kinds_of_ready(archive) for archive in fake.sent] == kinds
            await engine.configure(MACHINE, VALUES, anew=True)
            assert len(given) == 1, "something may be there"

    run(story)


def kinds_of_ready(archive: bytes) -> list[bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [entry.type for entry in opened if entry.name == "ready"]


def test_what_a_program_may_be_taking_yet_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    async def give(*_: Any) -> Fed:
        raise OutcomeUnknown("It runs.")

    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            monkeypatch.setattr(engine._feeds, "give", give)
            with pytest.raises(
                OutcomeUnknown, match=rf"^Whether {MACHINE.id} has its values is not known\. It runs\.$"
            ):
                await engine.configure(MACHINE, VALUES)
            assert fake.sent == []

    run(story)


def test_before_a_container_is_cleaned_no_program_is_awaited_there_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is about to be started would begin when another project has it."""
    dropped: list[str] = []

    async def story() -> None:
        fake = Fake()
        async with an_engine(fake) as engine:
            monkeypatch.setattr(engine._feeds, "drop", lambda name: dropped.append(f"{name} after {fake.asked[-1:]}"))
            with pytest.raises(EngineRejected):
                await engine.clean(MACHINE.id)
            assert fake.asked[-1] == "POST stop"
        assert dropped == [f"{CONTAINER} after ['GET json']"]

    run(story)


@pytest.mark.parametrize(
    ("dialect", "is_owned", "waits"), [(SLOW, True, True), (SLOW, False, False), (DOCKER, True, False)]
)
def test_programs_wait_where_archives_are_slow_and_the_folder_is_its_users(
    monkeypatch: pytest.MonkeyPatch, dialect: Dialect, *, is_owned: bool, waits: bool
) -> None:
    wanted: dict[str, Waiting] = {}

    async def story() -> None:
        fake = Fake()
        if is_owned:
            fake.labels["worker-orchestrator.late-owned"] = "true"
        async with an_engine(fake, dialect) as engine:
            monkeypatch.setattr(engine._feeds, "want", lambda those, *, more: None if more else wanted.update(those))
            engine.foresee([MACHINE, replace(MACHINE, id="worker-1700000000000-unlisted0")])
            assert wanted == ({CONTAINER: Waiting("/run/project", MACHINE.template)} if waits else {})

    run(story)


@pytest.mark.parametrize(
    ("dialect", "user", "is_of"),
    [
        (SLOW, "", "uid=0,gid=0"),
        (SLOW, "1000:1001", "uid=1000,gid=1001"),
        (SLOW, "web", ""),
        (DOCKER, "1000:1001", ""),
        (Dialect.of({"ServerVersion": "20.10.24", "SecurityOptions": ["name=userns"]}), "1000:1001", ""),
    ],
)
def test_the_folder_is_its_users_where_that_is_of_use_and_known(dialect: Dialect, user: str, is_of: str) -> None:
    async def story() -> None:
        async with an_engine(Fake(), dialect) as engine:
            image = {"Id": "i", "Config": {"ExposedPorts": {"80/tcp": {}}}}
            made = make_template(DockerOptions("image", late_dir="/run/project", user=user), image, "net", dialect)
            for known in ("", "uid=33,gid=34") if user == "web" and dialect is SLOW else (is_of,):
                if known and not is_of:
                    engine._late_owners[made.fingerprint] = (33, 34)
                body = engine._body_of(MACHINE, made)
                options = body["HostConfig"]["Mounts"][0]["VolumeOptions"]["DriverConfig"]["Options"]["o"]
                assert options.partition("nosuid,nodev")[2].lstrip(",") == known
                assert body["Labels"].get("worker-orchestrator.late-owned", "") == ("true" if known else "")
            assert "uid=" not in str(made.body), "it is the same template"
            without = make_template(DockerOptions("image", user=user), image, "net", dialect)
            assert "Mounts" not in engine._body_of(MACHINE, without)["HostConfig"]

    run(story)


def test_an_engine_that_is_not_there_has_written_nothing() -> None:
    async def story() -> None:
        async with an_engine(Fake()) as engine:
            hide(engine)
            with pytest.raises(EngineUnavailable):
                await engine.configure(MACHINE, VALUES)

    run(story)


def test_a_container_whose_token_its_project_knows_is_not_cleaned() -> None:
    """It would serve the next one under the same token. The settings may have lost `post` since it was made."""

    async def story() -> None:
        fake = Fake()
        fake.labels["worker-orchestrator.late-post"] = "/configure"
        async with an_engine(fake) as engine:
            with pytest.raises(
                EngineRejected, match=r"^worker-\S+ takes values at its port, by a token that its last "
            ):
                await engine.clean(MACHINE.id)
            assert [what for what in fake.asked if not what.startswith("GET")] == [], "it was not even stopped"

    run(story)


def hide(engine: DockerEngine) -> None:
    """As it is while the engine does not run."""
    Path(engine._endpoint.url.removeprefix("unix://")).unlink()
