"""Credentials are looked up as the docker CLI looks them up, and their secrets show up nowhere but in the pull."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import pprint
import select
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from worker_orchestrator.engines.docker import credentials
from worker_orchestrator.engines.docker.connect import Endpoint, open_client
from worker_orchestrator.engines.docker.credentials import (
    DOCKER_HUB,
    Credentials,
    RegistryAuth,
    credentials_for,
    full_reference,
    home_folder,
    registry_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the fake helpers are shell scripts")

SECRET = "hunter2"
ANSWER = json.dumps({"ServerURL": "https://ghcr.io", "Username": "me", "Secret": SECRET})


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="home-", dir="/tmp") as folder:  # short: a socket's path has 104 bytes
        yield Path(folder)


def write_config(home: Path, config: Any) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    (home / ".docker" / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))


def write_helper(home: Path, name: str, script: str) -> None:
    """A docker-credential-`name` on the PATH; what it is asked goes to the file `name`.asked."""
    program = home / "bin" / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\n{{ echo "$1"; cat; }} > "{home}/{name}.asked"\n{script}\n')
    program.chmod(0o755)


def asked(home: Path, name: str) -> str:
    return (home / f"{name}.asked").read_text()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def look_up(home: Path, image: str = "ghcr.io/me/worker:1") -> Credentials:
    return asyncio.run(credentials_for(image, {"PATH": f"{home}/bin:{os.environ['PATH']}"}, home))


def fields(credentials: Credentials) -> dict[str, str]:
    assert credentials.auth is not None
    assert credentials.note is None
    return dict(credentials.auth)


def why_not(credentials: Credentials) -> str:
    assert credentials.auth is None
    assert credentials.note is not None
    assert SECRET not in credentials.note
    return credentials.note


def password_for(registry: str) -> dict[str, str]:
    return {"username": "me", "password": SECRET, "identitytoken": "", "serveraddress": registry}


# Image references


@pytest.mark.parametrize(
    ("image", "registry", "reference"),
    [
        ("redis", DOCKER_HUB, "docker.io/library/redis"),
        ("redis:7", DOCKER_HUB, "docker.io/library/redis:7"),
        ("me/worker@sha256:00", DOCKER_HUB, "docker.io/me/worker@sha256:00"),
        ("docker.io/redis", DOCKER_HUB, "docker.io/library/redis"),
        ("index.docker.io/me/worker", DOCKER_HUB, "docker.io/me/worker"),
        ("ghcr.io/me/worker:1", "ghcr.io", "ghcr.io/me/worker:1"),
        ("localhost/worker", "localhost", "localhost/worker"),
        ("registry:5000/worker", "registry:5000", "registry:5000/worker"),
        ("Registry/worker", "Registry", "Registry/worker"),
    ],
)
def test_an_image_belongs_to_the_registry_that_docker_takes_it_from(image: str, registry: str, reference: str) -> None:
    assert (registry_of(image), full_reference(image)) == (registry, reference)


# config.json


def test_without_a_config_json_the_pull_is_anonymous(home: Path) -> None:
    assert why_not(look_up(home)) == f"There are no credentials for ghcr.io in {home}/.docker/config.json."


def test_a_password_is_read_from_the_auths_of_that_registry(home: Path) -> None:
    other = {"auth": encoded("other:wrong")}
    write_config(home, {"auths": {"quay.io": other, "ghcr.io": {"auth": encoded(f"me:{SECRET}")}}})
    assert fields(look_up(home)) == password_for("ghcr.io")


def test_a_password_may_contain_colons_and_end_in_the_zero_bytes_old_clients_wrote(home: Path) -> None:
    write_config(home, {"auths": {"ghcr.io": {"auth": encoded("me:a:b\0\0")}}})
    assert fields(look_up(home))["password"] == "a:b"


@pytest.mark.parametrize("filed_under", ["https://ghcr.io", "https://ghcr.io/v2/", "http://ghcr.io"])
def test_a_registry_filed_under_its_url_is_found(home: Path, filed_under: str) -> None:
    write_config(home, {"auths": {filed_under: {"auth": encoded(f"me:{SECRET}")}}})
    assert fields(look_up(home)) == password_for("ghcr.io")


@pytest.mark.parametrize("filed_under", ["https://index.docker.io/v1/", "index.docker.io", "docker.io"])
def test_docker_hub_is_found_under_each_of_its_names(home: Path, filed_under: str) -> None:
    write_config(home, {"auths": {filed_under: {"auth": encoded(f"me:{SECRET}")}}})
    assert fields(look_up(home, "me/worker")) == password_for(DOCKER_HUB)


def test_an_identity_token_goes_before_a_password(home: Path) -> None:
    write_config(home, {"auths": {"ghcr.io": {"auth": encoded("0000:"), "identitytoken": SECRET}}})
    assert fields(look_up(home)) == {"identitytoken": SECRET, "serveraddress": "ghcr.io"}


def test_docker_config_says_where_config_json_is(home: Path) -> None:
    write_config(home, {"auths": {"ghcr.io": {"auth": encoded(f"me:{SECRET}")}}})
    environ = {"DOCKER_CONFIG": str(home / ".docker")}
    credentials = asyncio.run(credentials_for("ghcr.io/me/worker", environ, home / "elsewhere"))
    assert fields(credentials) == password_for("ghcr.io")


@pytest.mark.parametrize("auth", [encoded(SECRET), f"me:{SECRET}", "=", 7, [SECRET]])
def test_an_entry_that_holds_no_user_and_password_is_named_and_not_repeated(home: Path, auth: object) -> None:
    write_config(home, {"auths": {"ghcr.io": {"auth": auth}}})
    assert "The entry for ghcr.io" in why_not(look_up(home))


@pytest.mark.parametrize(
    "config",
    [
        f'{{"auths": "{SECRET}',
        json.dumps([SECRET]),
        {"auths": [SECRET]},
        {"credHelpers": SECRET},
        {"credsStore": [SECRET]},
        {"credHelpers": {"ghcr.io": {"a": SECRET}}},
    ],
)
def test_a_broken_config_json_is_named_and_not_repeated(home: Path, config: object) -> None:
    write_config(home, config)
    assert f"{home}/.docker/config.json" in why_not(look_up(home))


def test_an_entry_that_is_no_object_is_named_and_not_repeated(home: Path) -> None:
    write_config(home, {"auths": {"ghcr.io": SECRET}})
    assert "The entry for ghcr.io" in why_not(look_up(home))


# Helpers


def test_the_helper_of_the_registry_goes_before_the_store_and_is_asked_for_that_registry(home: Path) -> None:
    write_config(home, {"credHelpers": {"ghcr.io": "mine"}, "credsStore": "other"})
    write_helper(home, "mine", f"echo '{ANSWER}'")
    write_helper(home, "other", "exit 1")
    assert fields(look_up(home)) == password_for("ghcr.io")
    assert asked(home, "mine") == "get\nghcr.io"
    assert not (home / "other.asked").exists()


def test_the_store_is_asked_for_all_other_registries_and_goes_before_the_auths(home: Path) -> None:
    auths = {DOCKER_HUB: {"auth": encoded("other:wrong")}}
    write_config(home, {"credHelpers": {"ghcr.io": "mine"}, "credsStore": "store", "auths": auths})
    write_helper(home, "store", f"echo '{ANSWER}'")
    assert fields(look_up(home, "redis")) == password_for(DOCKER_HUB)
    assert asked(home, "store") == f"get\n{DOCKER_HUB}"


def test_an_empty_helper_for_a_registry_means_the_file_in_spite_of_the_store(home: Path) -> None:
    auths = {"ghcr.io": {"auth": encoded(f"me:{SECRET}")}}
    write_config(home, {"credHelpers": {"ghcr.io": ""}, "credsStore": "store", "auths": auths})
    write_helper(home, "store", "exit 1")
    assert fields(look_up(home)) == password_for("ghcr.io")
    assert not (home / "store.asked").exists()


def test_the_user_token_of_a_helper_means_an_identity_token(home: Path) -> None:
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", f"echo '{json.dumps({'Username': '<token>', 'Secret': SECRET})}'")
    assert fields(look_up(home)) == {"identitytoken": SECRET, "serveraddress": "ghcr.io"}


def test_a_missing_helper_is_named_with_the_registry(home: Path) -> None:
    write_config(home, {"credsStore": "absent"})
    note = why_not(look_up(home))
    assert note == "docker-credential-absent, which Docker's config.json names for ghcr.io, is not on the PATH."


def test_what_the_file_holds_serves_where_the_helper_does_not_work(home: Path) -> None:
    write_config(home, {"credsStore": "absent", "auths": {"ghcr.io": {"auth": encoded(f"me:{SECRET}")}}})
    assert fields(look_up(home)) == password_for("ghcr.io")


@pytest.mark.parametrize(
    ("script", "note"),
    [
        ("echo 'credentials not found in native keychain'; exit 1", "has no credentials for ghcr.io"),
        ("""echo '{"Username": "", "Secret": ""}'""", "has no credentials for ghcr.io"),
        (f"echo {SECRET}; echo {SECRET} >&2; exit 3", "failed with exit status 3 for ghcr.io"),
        (f"echo {SECRET}", "did not answer for ghcr.io in the form of a credential helper"),
        (f"""echo '["{SECRET}"]'""", "did not answer for ghcr.io in the form of a credential helper"),
        (f"""echo '{{"Username": 1, "Secret": "{SECRET}"}}'""", "did not answer for ghcr.io in the form"),
        ("printf '\\377'", "did not answer for ghcr.io in the form"),
    ],
)
def test_a_helper_without_an_answer_is_named_and_its_words_not_repeated(home: Path, script: str, note: str) -> None:
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", script)
    assert f"docker-credential-store {note}" in why_not(look_up(home))


def test_a_helper_that_cannot_be_run_is_named(home: Path) -> None:
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", "")
    (home / "bin" / "docker-credential-store").write_text("#!/no/such/shell\n")
    assert why_not(look_up(home)).startswith("docker-credential-store cannot be run: No such file")


def test_a_helper_that_does_not_read_its_question_still_answers(home: Path) -> None:
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", "")
    (home / "bin" / "docker-credential-store").write_text(f"#!/bin/sh\nexec 0<&-\necho '{ANSWER}'\n")
    assert fields(look_up(home)) == password_for("ghcr.io")


@pytest.fixture
def lifeline(home: Path) -> Iterator[int]:
    """The reading end of a pipe `alive` in `home`; it ends when no process is left that holds it open for writing."""
    os.mkfifo(home / "alive")
    reading_end = os.open(home / "alive", os.O_RDONLY | os.O_NONBLOCK)
    yield reading_end
    os.close(reading_end)


def next_from(lifeline: int) -> bytes:
    """What is written next, b"" once nobody is left to write; fails after 10 s."""
    assert select.select([lifeline], [], [], 10)[0]
    return os.read(lifeline, 100)


def test_a_helper_that_hangs_is_ended_with_all_it_started(
    home: Path, lifeline: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "HELPER_LIMIT_S", 0.5)
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", f'exec 3> "{home}/alive"; tail -f /dev/null & wait')
    assert why_not(look_up(home)) == "docker-credential-store did not answer for ghcr.io within 0.5 s."
    assert next_from(lifeline) == b""


def test_a_lookup_that_is_cancelled_ends_its_helper(home: Path, lifeline: int) -> None:
    write_config(home, {"credsStore": "store"})
    write_helper(home, "store", f'exec 3> "{home}/alive"; echo started >&3; exec tail -f /dev/null')

    async def scenario() -> None:
        environ = {"PATH": f"{home}/bin:{os.environ['PATH']}"}
        lookup = asyncio.ensure_future(credentials_for("ghcr.io/me/worker", environ, home))
        assert await asyncio.to_thread(next_from, lifeline) == b"started\n"
        lookup.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lookup
        assert await asyncio.to_thread(next_from, lifeline) == b""

    asyncio.run(scenario())


# Secrets


def test_no_repr_log_line_json_text_or_traceback_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    credentials = Credentials(RegistryAuth("ghcr.io", username="me", password=SECRET), None)
    auth = credentials.auth
    logging.getLogger("test").warning("%s %r %s", credentials, auth, {"auth": auth})
    with pytest.raises(TypeError) as caught:
        json.dumps({"auth": auth})
    shown = [caplog.text, f"{auth} {auth!r} {credentials}", pprint.pformat(auth), json.dumps([auth], default=repr)]
    shown += traceback.TracebackException(caught.type, caught.value, caught.tb, capture_locals=True).format()
    assert "<RegistryAuth for ghcr.io>" in "".join(shown)
    assert SECRET not in "".join(shown)


def pulled_with(home: Path, image: str, auth: RegistryAuth) -> dict[str, Any]:
    """What an engine receives as X-Registry-Auth when aiodocker pulls `image` with `auth`."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"ApiVersion": "1.41"}'
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_unix_server(serve, home / "a.sock"):
            client = open_client(Endpoint(f"unix://{home}/a.sock", "test"))
            await client.images.pull(full_reference(image), auth=auth)
            await client.close()

    asyncio.run(scenario())
    (header,) = [line for line in heads[-1].splitlines() if line.startswith(b"X-Registry-Auth: ")]
    received: dict[str, Any] = json.loads(base64.urlsafe_b64decode(header.partition(b": ")[2]))
    return received


def test_a_password_reaches_the_engine_with_the_server_it_is_for(home: Path) -> None:
    auth = RegistryAuth(DOCKER_HUB, username="me", password=SECRET)
    assert pulled_with(home, "redis", auth) == password_for(DOCKER_HUB)


def test_an_identity_token_reaches_the_engine_with_the_server_it_is_for(home: Path) -> None:
    auth = RegistryAuth("ghcr.io", identitytoken=SECRET)
    assert pulled_with(home, "ghcr.io/me/worker", auth) == {"identitytoken": SECRET, "serveraddress": "ghcr.io"}


# whatever others' programs and files do, it is told


def note_under(loop_factory: Any, home: Path) -> str:
    """The note about what a helper does, with an event loop of this kind."""
    environ = {"PATH": f"{home}/bin:{os.environ['PATH']}"}
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        found = runner.run(credentials_for("ghcr.io/me/worker:1", environ, home))
    assert found.auth is None
    return found.note or ""


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_helper_that_ends_at_once_is_named(home: Path, loop_factory: Any) -> None:
    """Nobody takes the question then, which uvloop tells in ways of its own. More than once, for it is a race."""
    write_config(home, {"credsStore": "gone"})
    write_helper(home, "gone", "")
    (home / "bin" / "docker-credential-gone").write_text("#!/bin/sh\nexec 0<&- 1>&-; exit 7\n")
    for _ in range(20):
        assert "docker-credential-gone failed with exit status 7" in note_under(loop_factory, home)


def test_a_helper_that_never_stops_talking_is_ended(home: Path) -> None:
    """Nobody keeps all that it says."""
    write_config(home, {"credsStore": "yes"})
    write_helper(home, "yes", "exec yes")
    assert why_not(look_up(home)) == "docker-credential-yes said more than 65536 bytes for ghcr.io."


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "../bin/sh", "a\x1b[31mb", "x" * 100_000])
def test_a_helper_whose_name_cannot_be_one_is_told_in_a_plain_line(home: Path, name: str) -> None:
    write_config(home, {"credsStore": name})
    note = why_not(look_up(home))
    assert note.startswith("docker-credential-")
    assert note.isprintable()
    assert len(note) < 300


def test_a_config_json_that_is_a_pipe_or_without_an_end_is_named(home: Path) -> None:
    """Nobody waits for whoever would write to it."""
    (home / ".docker").mkdir()
    config = home / ".docker" / "config.json"
    os.mkfifo(config)
    assert "config.json cannot be read" in why_not(look_up(home))
    config.unlink()
    with config.open("wb") as file:
        file.truncate(2**33)
    assert "config.json cannot be read" in why_not(look_up(home))


def test_a_user_without_a_home_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs under a number without a name."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert home_folder() == Path("/")
