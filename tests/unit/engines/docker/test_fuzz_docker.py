"""What Docker, its files and its helpers may say: odd answers give a value or one clear sentence, and keep secrets."""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from worker_orchestrator.core.instance import Instance, Status
from worker_orchestrator.engines.base import EndOf, RecoveryOf
from worker_orchestrator.engines.docker.calls import reading, writing
from worker_orchestrator.engines.docker.connect import Endpoint, candidates
from worker_orchestrator.engines.docker.credentials import (
    _from_answer,
    credentials_for,
    full_reference,
    read_config,
)
from worker_orchestrator.engines.docker.dialect import DOCKER, Dialect
from worker_orchestrator.engines.docker.image_config import worker_port
from worker_orchestrator.engines.docker.listed import Listed, containers_in
from worker_orchestrator.engines.docker.listing import (
    concerns_us,
    doubtful_machine,
    end_awaited_s,
    instance_of,
    started_container,
)
from worker_orchestrator.engines.docker.template import (
    LABEL,
    DockerOptions,
    make_template,
)
from worker_orchestrator.errors import EngineRejected, EngineUnavailable, InvalidSetting, OutcomeUnknown

SECRET = "hunter2-of-the-registry"
TEXT = st.text(st.characters(exclude_categories=[]), max_size=30)
UTF_8 = st.text(max_size=30)
"""What a Docker engine can send: it writes its JSON in Go, in UTF-8."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
PORTS = st.one_of(
    st.integers(0, 70_000).map(str),
    st.sampled_from(["", "http", "8000-8010", "\u0661", "0", "-1", "1e3", "80 ", "99999999999999999999"]),
)
EXPOSED: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.builds(
        lambda port, protocol: port + protocol, PORTS, st.sampled_from(["/tcp", "", "/udp", "/sctp", "/", "/tcp/tcp"])
    ),
    st.just({}),
    max_size=4,
)


def one_sentence(said: str) -> None:
    assert said.endswith((".", "`docker context ls`.", "?"))
    assert said.isprintable()


# images


@given(EXPOSED)
@example({"http/tcp": {}})
@example({"8000-8010/tcp": {}})
def test_any_exposed_ports_are_one_port_or_a_sentence(exposed: dict[str, Any]) -> None:
    try:
        assert 1 <= worker_port("image", {"Config": {"ExposedPorts": exposed}}) <= 99_999
    except EngineRejected as refused:
        said = refused.message
        one_sentence(said)
        assert "--worker-port" in said


@given(
    config=st.none() | st.fixed_dictionaries({}, optional={"ExposedPorts": st.none() | EXPOSED, "Labels": st.none()})
)
def test_an_image_with_missing_or_empty_parts_makes_a_template(config: Any) -> None:
    for image in ({"Id": "sha256:1"}, {"Id": "sha256:1", "Config": config}):
        template = make_template(DockerOptions("image", worker_port=80), image, "network", DOCKER)
        assert (template.port, template.body["Image"]) == (80, "sha256:1")


# listings and events


ELEMENT = st.fixed_dictionaries(
    {
        "Id": st.text("0123456789abcdef", min_size=64, max_size=64),
        "Names": st.none() | st.sampled_from([[], ["/m"], ["/copy"], ["/linked/alias", "/m"]]),
        "Labels": st.dictionaries(UTF_8, UTF_8, max_size=2).map(lambda labels: {**labels, f"{LABEL}.machine": "m"})
        | st.builds(
            lambda named: {f"{LABEL}.machine": "m", f"{LABEL}.ports": named},
            UTF_8 | st.sampled_from(["a=1 b=2", "a=1 a=2", "a=1 b=1", "a=x", "="]),
        ),
        "State": st.sampled_from(["created", "running", "paused", "exited", "dead", "removing", "new-word", ""]),
        "Status": st.sampled_from(
            ["", "Up 1 second", "Exited (137) 1 second ago", "Exited ()", "Exited (x)", "Exited (-1)"]
        ),
        "NetworkSettings": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "Networks": st.none()
                | st.dictionaries(
                    UTF_8, st.none() | st.fixed_dictionaries({}, optional={"IPAddress": st.none() | UTF_8}), max_size=3
                )
            },
        ),
        "HostConfig": st.fixed_dictionaries({"NetworkMode": UTF_8}),
        "Ports": st.none()
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "PublicPort": st.integers(0, 65535),
                    "PrivatePort": st.integers(1, 3) | UTF_8,
                    "IP": UTF_8,
                },
            ),
            max_size=3,
        ),
    }
)


@given(ELEMENT)
def test_any_element_of_a_listing_is_an_instance(element: dict[str, Any]) -> None:
    instance = instance_of(listed(element))
    assert isinstance(instance, Instance)
    assert len(set(dict(instance.ports).values())) == len(instance.ports)
    assert instance.id == "m", "its label says who it is"
    assert instance.renamed == ("copy" if element["Names"] == ["/copy"] else "")
    assert instance.native_id == element["Id"]
    assert not instance.killed or instance.status is Status.EXITED


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "Type": st.sampled_from(["container", "image", "network", ""]),
            "Action": st.sampled_from(["die", "kill", "start", "destroy", "pull", "exec_start: /bin/sh", ""]) | TEXT,
            "Actor": st.none()
            | st.fixed_dictionaries(
                {},
                optional={
                    "ID": TEXT,
                    "Attributes": st.none()
                    | st.dictionaries(TEXT | st.sampled_from(["container", f"{LABEL}.machine"]), TEXT),
                },
            ),
        },
    ),
    st.dictionaries(TEXT, TEXT),
)
def test_any_event_concerns_us_or_not(event: Mapping[str, Any], machines: Mapping[str, str]) -> None:
    assert concerns_us(event, machines) in {True, False}
    started = started_container(event, machines, {"owner"})
    assert started is None or event["Action"] == "start"
    if concerns_us(event, machines) and event.get("Type") != "image":
        assert isinstance(doubtful_machine(event, machines), str | None)
        assert end_awaited_s(event) >= 0


@pytest.mark.parametrize("action", ["die", "kill", "pause"])
def test_doubt_is_cast_on_the_machine_whose_container_it_is(action: str) -> None:
    """What a copy of a container does says nothing of the machine whose labels it bears; a new name is no other machine."""

    def told(container_id: str, name: str, machine_id: str = "w1", action: str = action) -> str | None:
        attributes = {"name": name, f"{LABEL}.machine": machine_id}
        event = {"Type": "container", "Action": action, "Actor": {"ID": container_id, "Attributes": attributes}}
        assert concerns_us(event, {"c1": "w1"}) == (action != "start")
        named = doubtful_machine(event, {"c1": "w1"})
        assert isinstance(named, EndOf) == (named is not None and action == "die")
        return named

    assert told("c1", "w1") == told("c1", "renamed") == "w1"
    assert told("c2", "w2", machine_id="w2") == "w2", "no listing has shown it yet"
    assert told("c2", "copy") is None
    assert told("c1", "w1", action="start") is None


def a_container_event(action: str, container_id: str = "c1", **attributes: str) -> dict[str, Any]:
    said = {"name": "w1", f"{LABEL}.machine": "w1", f"{LABEL}.owner": "owner", **attributes}
    return {"Type": "container", "Action": action, "Actor": {"ID": container_id, "Attributes": said}}


@pytest.mark.parametrize(("signal", "awaited_s"), [("9", 2.0), ("15", 0.5), ("2", 0.5), ("3", 0.5), ("37", 0.5)])
def test_a_signal_that_ends_a_worker_casts_doubt_before_docker_reports_the_end(signal: str, awaited_s: float) -> None:
    """SIGKILL ends it for sure; SIGTERM, SIGINT, SIGQUIT and what systemd wants may take their time."""
    event = a_container_event("kill", signal=signal)
    assert concerns_us(event, {})
    assert doubtful_machine(event, {}) == "w1"
    assert end_awaited_s(event) == awaited_s


def test_a_signal_that_is_not_named_casts_doubt() -> None:
    """Podman does not name it."""
    event = a_container_event("kill")
    assert concerns_us(event, {})
    assert (doubtful_machine(event, {}), end_awaited_s(event)) == ("w1", 0.5)


@pytest.mark.parametrize("signal", ["1", "10", "12", "17", "18", "23", "28"])
def test_a_signal_by_which_workers_reload_casts_no_doubt(signal: str) -> None:
    """SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD, SIGCONT, SIGURG, SIGWINCH."""
    assert not concerns_us(a_container_event("kill", signal=signal), {"c1": "w1"})


@pytest.mark.parametrize("action", ["die", "pause", "unpause"])
def test_what_docker_reports_as_it_is_lets_no_other_end_be_expected(action: str) -> None:
    assert end_awaited_s(a_container_event(action)) == 0


def test_the_start_of_a_container_of_ours_is_recognised() -> None:
    """Under whatever name, and not that of another owner, of a copy, or of something else."""
    known, owners = {"c1": "w1"}, {"owner"}
    assert started_container(a_container_event("start", name="renamed"), known, owners) == ("c1", "w1")
    assert started_container(a_container_event("start", "c2"), known, owners) == ("c2", "w1")
    assert started_container(a_container_event("start", "c2", name="copy"), known, owners) is None
    assert started_container(a_container_event("start"), known, {"somebody else"}) is None
    assert started_container(a_container_event("die"), known, owners) is None
    assert started_container({**a_container_event("start"), "Type": "plugin"}, known, owners) is None


def test_doubt_is_cast_on_a_machine_that_was_taken_off_its_network() -> None:
    """An event of a network names the container by its id alone."""

    def event(action: str, container_id: str) -> dict[str, Any]:
        return {"Type": "network", "Action": action, "Actor": {"ID": "n", "Attributes": {"container": container_id}}}

    assert concerns_us(event("disconnect", "c1"), {"c1": "w1"})
    assert doubtful_machine(event("disconnect", "c1"), {"c1": "w1"}) == "w1"
    assert concerns_us(event("connect", "c1"), {"c1": "w1"}), "it may serve again"
    again = doubtful_machine(event("connect", "c1"), {"c1": "w1"})
    assert again == "w1"
    assert isinstance(again, RecoveryOf), "of a container that starts this may come after its worker has answered"
    assert not concerns_us(event("disconnect", "c2"), {"c1": "w1"})
    assert not concerns_us(event("create", "c1"), {"c1": "w1"})


def listed(element: Mapping[str, Any]) -> Listed:
    """As it is read from Docker's reply."""
    return containers_in(msgspec.json.encode([element]))[0]


def an_element(**fields: Any) -> Listed:
    labels = {f"{LABEL}.machine": "w1", f"{LABEL}.owner": "owner"}
    made = {
        "Id": "c1", "Names": ["/w1"], "Labels": labels, "State": "running", "Status": "Up 1 second",
        "NetworkSettings": {"Networks": {"n": {"IPAddress": "172.17.0.2"}}}, "Ports": [{"PublicPort": 9093}],
        "HostConfig": {"NetworkMode": "our-network"},
    }  # fmt: skip
    return listed({**made, **fields})


def test_what_was_done_to_a_container_is_told_with_what_to_do() -> None:
    """Under the name that it bears now, since that is what the command needs."""
    assert instance_of(an_element()).ailment == ""
    paused = instance_of(an_element(State="paused", Names=["/renamed"]))
    assert paused.ailment == (
        "The container is paused, so nothing in it answers. Run `docker unpause renamed` to continue it."
    )
    cut_off = instance_of(an_element(NetworkSettings={"Networks": {}}, Ports=[]))
    assert cut_off.ailment == (
        "The container was disconnected from its network, so it cannot be reached. "
        "Run `docker network connect our-network w1` to reconnect it."
    )
    assert instance_of(an_element(State="restarting")).ailment == "The container is not running yet."


def test_a_network_that_docker_lost_is_told_and_only_a_restart_helps() -> None:
    lost: dict[str, Any] = {"NetworkSettings": {"Networks": {"n": {"NetworkID": "n1", "IPAddress": ""}}}, "Ports": []}
    found = instance_of(an_element(**lost))
    assert found.needs_restart
    assert not found.is_cut_off
    assert found.ailment == (
        "The container runs without the network that it should be on, as after Docker was killed, so it cannot be reached. "
        "Run `docker restart w1`."
    )
    others: list[dict[str, Any]] = [{"NetworkSettings": {"Networks": {}}}, {"NetworkSettings": {"Networks": None}}]
    others += [{"NetworkSettings": None}, {"Ports": [{"PublicPort": 9093}]}, {"State": "exited"}]
    for other in others:
        assert not instance_of(an_element(**{**lost, **other})).needs_restart
    assert not instance_of(an_element(**lost), Dialect(name="Podman")).needs_restart


def test_with_podman_what_is_paused_is_connected_again_before_it_goes_on() -> None:
    """Else its host port leads nowhere until the host is restarted."""
    made_up = {"bridge": {"IPAddress": "", "NetworkID": "bridge"}}
    paused = an_element(State="paused", NetworkSettings={"Networks": made_up})
    assert instance_of(paused, Dialect(name="Podman")).ailment == (
        "The container is paused and was disconnected from its network, so it cannot be reached. "
        "Run `podman network connect our-network w1`, and only then `podman unpause w1`."
    )


def test_podman_shows_a_made_up_network_of_what_was_disconnected_while_it_was_paused() -> None:
    """It is none, also when the container goes on. A real one may have the same name, or no address."""
    podman = Dialect(name="Podman")
    made_up = {"IPAddress": "", "NetworkID": "bridge"}
    for networks in (None, {}, {"bridge": made_up}):
        for state in ("paused", "running"):
            assert instance_of(an_element(State=state, NetworkSettings={"Networks": networks}), podman).is_cut_off
    for real in (
        {"bridge": {**made_up, "NetworkID": "2f259bab93aa"}},
        {"own": made_up},
        {"bridge": made_up, "own": {}},
    ):
        assert not instance_of(an_element(NetworkSettings={"Networks": real}), podman).is_cut_off
    assert not instance_of(an_element(NetworkSettings={"Networks": {"bridge": made_up}})).is_cut_off


@pytest.mark.parametrize("unknown", [{"NetworkSettings": None, "Ports": []}, {"NetworkSettings": {}, "Ports": None}])
def test_what_an_engine_does_not_tell_is_no_trouble(unknown: dict[str, Any]) -> None:
    assert instance_of(an_element(**unknown)).ailment == ""


@pytest.mark.parametrize("read", [lambda: json.loads("{"), lambda: msgspec.json.decode(b"{"), b"\xff".decode])
def test_an_answer_that_is_cut_off_or_mangled_is_an_engine_that_does_not_answer(read: Any) -> None:
    """And after a write, one that may have happened. It is no defect of ours."""
    with pytest.raises(EngineUnavailable, match=r"^What Docker says cannot be read \(\w+\)\.$"), reading():
        read()
    with pytest.raises(OutcomeUnknown), writing():
        read()


# files


def credentials(content: bytes, image: str = "ghcr.io/a/b") -> str:
    """The note about these credentials; empty where there are some."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(content)
        found = asyncio.run(credentials_for(image, {"DOCKER_CONFIG": folder, "PATH": ""}, Path(folder)))
    assert (found.auth is None) == (found.note is not None)
    if found.note is not None:
        assert found.note.endswith(".")
        assert SECRET not in found.note
    assert SECRET not in repr(found)
    return found.note or ""


AUTHS = st.dictionaries(
    st.sampled_from(["ghcr.io", "https://ghcr.io/v1/", "index.docker.io"]) | TEXT,
    st.one_of(
        JSON,
        st.fixed_dictionaries(
            {"auth": st.just(SECRET) | st.binary(max_size=20).map(lambda b: base64.b64encode(b).decode()) | JSON}
        ),
        st.fixed_dictionaries({"identitytoken": st.just(SECRET) | JSON}),
    ),
    max_size=3,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "auths": AUTHS | JSON,
            "credsStore": JSON | st.sampled_from(["../../x", "a\0b", "a b", ""]),
            "credHelpers": st.dictionaries(st.just("ghcr.io") | TEXT, JSON, max_size=2) | JSON,
        },
    )
)
def test_any_config_gives_credentials_or_a_sentence_without_secrets(config: Any) -> None:
    credentials(json.dumps(config).encode())


@given(st.binary(max_size=100))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"a":' + b"9" * 5000 + b"}")
@example(b"\xff")
@example(b"")
def test_any_bytes_may_be_dockers_config(content: bytes) -> None:
    credentials(content)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_bytes(content)
        try:
            assert isinstance(read_config(Path(folder)), dict)
        except InvalidSetting as refused:
            said = refused.message
            assert said.endswith("repair it or remove it.")


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(json.dumps({"Username": "<token>", "Secret": SECRET}).encode())
@example(json.dumps({"Username": 1, "Secret": SECRET}).encode())
def test_any_answer_of_a_credential_helper_is_read_or_named(output: bytes) -> None:
    found = _from_answer("docker-credential-x", "ghcr.io", output)
    assert (found.auth is None) == (found.note is not None)
    assert SECRET not in repr(found)


@given(TEXT)
def test_any_image_name_has_a_registry(image: str) -> None:
    assert full_reference(image).endswith(image.removeprefix("docker.io/").removeprefix("index.docker.io/"))


# engines


URLS = st.one_of(
    TEXT,
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["tcp://", "unix://", "ssh://", "npipe://", "http://", "https://", "", "TCP://"]),
        st.sampled_from(["", "user@", f"user:{SECRET}@"]),
        st.sampled_from(["localhost", "[::1]", "[1]", "[::g]", "/var/run/x", "////./pipe/x", "h\u00f6st", "", "a\nb"]),
        st.sampled_from(["", ":2375", ":0", ":99999", ":\u0662", "/path", "?q", "#f"]),
    ),
)


def located(url: str, environ: Mapping[str, str], home: Path) -> list[Endpoint]:
    """Where it would be looked for; nothing where a sentence says why not."""
    try:
        found = candidates(url or None, environ, home, "linux")
    except InvalidSetting as refused:
        said = refused.message
        assert SECRET not in said
        one_sentence(said)
        return []
    for endpoint in found:
        assert endpoint.is_local in {True, False}
        assert SECRET not in endpoint.url
    return found


@given(URLS)
@example("tcp://[1]:2375")
@example("tcp://h:\u0662\u0663")
def test_any_address_of_an_engine_is_usable_or_refused(url: str) -> None:
    located(url, {}, Path("/nonexistent"))


@given(name=TEXT, meta=JSON | st.fixed_dictionaries({"Endpoints": st.fixed_dictionaries({"docker": JSON})}))
@example(name="\ud800", meta=None)
@example(name="x", meta={"Endpoints": {"docker": {"Host": 1}}})
def test_any_docker_context_is_usable_or_refused(name: str, meta: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / ".docker").mkdir()
        (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": name}))
        located("", {}, home)
        (home / ".docker" / "config.json").write_text(json.dumps({"currentContext": meta}))
        located("", {}, home)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(json.dumps({"Endpoints": {"docker": {"Host": f"tcp://a:{SECRET}@h"}}}).encode())
@example(json.dumps({"Endpoints": {"docker": {"Host": "tcp://h", "SkipTLSVerify": [1]}}}).encode())
def test_any_bytes_may_describe_a_docker_context(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        meta = Path(
            folder, ".docker/contexts/meta/2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881/meta.json"
        )
        meta.parent.mkdir(parents=True)
        meta.write_bytes(content)
        located("", {"DOCKER_CONTEXT": "x"}, Path(folder))


def test_host_ports_are_listed_by_the_names_of_the_label() -> None:
    """In its order, whatever the order of the list, which has each port once for each address."""
    labels = {f"{LABEL}.machine": "w1", f"{LABEL}.ports": "http=3000 hmr=24678"}
    ports = [
        {"IP": "127.0.0.1", "PrivatePort": 24678, "PublicPort": 9094, "Type": "tcp"},
        {"IP": "::1", "PrivatePort": 24678, "PublicPort": 9094, "Type": "tcp"},
        {"PrivatePort": 80, "Type": "tcp"},
        {"IP": "127.0.0.1", "PrivatePort": 3000, "PublicPort": 9093, "Type": "tcp"},
    ]
    instance = instance_of(an_element(Labels=labels, Ports=ports))
    assert (instance.port, instance.ports) == (9093, (("http", 9093), ("hmr", 9094)))
    instance = instance_of(an_element(Labels=labels, Ports=ports[:3]))
    assert (instance.port, instance.ports) == (9094, ()), "one of them is not published now"
    instance = instance_of(an_element(Labels=labels, Ports=[]))
    assert (instance.port, instance.ports) == (None, ())


@pytest.mark.parametrize("label", ["worker-orchestrator.late-dir", "worker-orchestrator.late-post"])
def test_a_container_says_whether_it_may_be_configured(label: str) -> None:
    """Also where its record was lost: then it is not handed on."""
    plain = an_element()
    assert not instance_of(plain).is_configurable
    assert instance_of(an_element(Labels={**plain["Labels"], label: "/x"})).is_configurable
