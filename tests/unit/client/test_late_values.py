"""Values at an assign through the client: what is sent, how files are packed, and how a set-up that failed is raised."""

from __future__ import annotations

import io
import os
import tarfile
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.unit.client.conftest import Connect
from tests.unit.client.scripted import Act, answer, problem, reset, scripted
from tests.unit.client.test_calls import MACHINE, RELEASED

from worker_orchestrator.client import Client
from worker_orchestrator.client.call_steps import Send
from worker_orchestrator.client.late_files import LateFiles, encoded_files
from worker_orchestrator.client.project_calls import ProjectCalls
from worker_orchestrator.errors import ConfiguredOtherwise, InvalidInput, OrchestratorError, SetupFailed
from worker_orchestrator.http.v1.late_archive import checked_archive

CONFIGURED = {**MACHINE, "configured": True, "setup": {"exit_code": 0, "ms": 38, "output": "made it\n"}}
SECRET = "hunter2-hunter2"


def set_up_failed(machine: str = "m-1", **more: Any) -> Act:
    body = {
        "type": "about:blank", "title": "T", "status": 424, "detail": "The hook ended with 3.", "code": "setup_failed",
        "request_id": "r-1", "machine": machine, "setup": {"exit_code": 3, "ms": 15, "output": "no ***\n"}, **more,
    }  # fmt: skip
    return answer(424, body, kind="application/problem+json")


def unpacked(files: LateFiles) -> Mapping[str, bytes | str | None]:
    """Content by path; None for a folder, the target for a link."""
    found: dict[str, bytes | str | None] = {}
    with tarfile.open(fileobj=io.BytesIO(b64decode(encoded_files(files)))) as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.isreg() else None
            found[entry.name] = content.read() if content else entry.linkname or None
    return found


# what is sent


def test_values_are_sent_and_what_came_of_them_is_on_the_machine(connect: Connect) -> None:
    with scripted(answer(200, CONFIGURED)) as server, connect(server.url) as client:
        machine = client.assign("p", env={"A": "1"}, secrets={"K": SECRET}, files={"a/b": b"x"}, replace=True)
    assert (machine.configured, machine.setup.exit_code, machine.setup.ms) == (True, 0, 38)
    assert machine.setup.output == "made it\n"
    sent = server.heard[0].json
    assert sorted(sent) == ["env", "files", "replace", "secrets"]
    assert (sent["env"], sent["secrets"], sent["replace"]) == ({"A": "1"}, {"K": SECRET}, True)
    assert checked_archive(b64decode(sent["files"]))


def test_what_is_not_given_is_not_sent(connect: Connect) -> None:
    """A service of an earlier version refuses a key that it does not know. Its machines say nothing of it."""
    with scripted(answer(200, MACHINE)) as server, connect(server.url) as client:
        machine = client.assign("p")
    assert (machine.configured, machine.setup) == (None, None)
    assert server.heard[0].json == {}


def test_an_assign_with_values_whose_reply_was_lost_is_sent_again_with_them(connect: Connect) -> None:
    """The service knows the same values again, and runs no hook twice."""
    with scripted(reset, answer(200, CONFIGURED)) as server, connect(server.url) as client:
        assert client.assign("p", secrets={"K": SECRET}).configured
    assert [heard.json for heard in server.heard] == [{"secrets": {"K": SECRET}}] * 2


@pytest.mark.parametrize(
    ("values", "takes_s"), [({}, 9.0), ({"env": {}}, 69.0), ({"secrets": {}}, 69.0), ({"files": b""}, 69.0)]
)
def test_a_set_up_may_take_a_minute_more(values: Mapping[str, Any], takes_s: float) -> None:
    step = next(ProjectCalls.assign(Client("http://localhost:1"), "p", wait_seconds=9, **values))
    assert isinstance(step, Send)
    assert step.request.takes_s == takes_s


# what it raises


def test_a_set_up_that_failed_is_an_error_with_all_that_is_told_and_not_tried_again(connect: Connect) -> None:
    with scripted(set_up_failed()) as server, connect(server.url) as client:
        with pytest.raises(SetupFailed) as caught:
            client.assign("p", env={"A": "1"})
        assert len(server.heard) == 1
    error = caught.value
    assert (error.message, error.status, error.request_id) == ("The hook ended with 3.", 424, "r-1")
    assert (error.machine, error.exit_code, error.took_ms, error.output) == ("m-1", 3, 15, "no ***\n")


def test_a_set_up_that_failed_without_a_hook_has_no_exit_code(connect: Connect) -> None:
    with (
        scripted(problem(424, "setup_failed")) as server,
        connect(server.url) as client,
        pytest.raises(SetupFailed) as caught,
    ):
        client.assign("p", env={})
    assert (caught.value.machine, caught.value.exit_code, caught.value.output) == ("", None, "")


def test_other_values_are_refused_by_an_error_of_their_own(connect: Connect) -> None:
    with (
        scripted(problem(409, "configured_otherwise")) as server,
        connect(server.url) as client,
        pytest.raises(ConfiguredOtherwise),
    ):
        client.assign("p", env={"A": "2"})


def test_a_block_gets_values_and_is_released_as_ever(connect: Connect) -> None:
    with (
        scripted(answer(201, CONFIGURED), answer(200, RELEASED)) as server,
        connect(server.url) as client,
        client.machine("p", env={"A": "1"}, secrets={}, files={}, replace=True) as machine,
    ):
        assert machine.configured
    assert sorted(server.heard[0].json) == ["env", "files", "replace", "secrets"]
    assert [heard.method for heard in server.heard] == ["PUT", "DELETE"]


def test_a_block_whose_set_up_failed_does_not_begin_and_its_machine_is_released(connect: Connect) -> None:
    with (
        scripted(set_up_failed(), answer(200, MACHINE), answer(200, RELEASED)) as server,
        connect(server.url) as client,
        pytest.raises(SetupFailed),
        client.machine("p", env={"A": "1"}),
    ):
        pytest.fail("the block must not begin")
    assert [(heard.method, heard.target) for heard in server.heard] == [
        ("PUT", "/v1/projects/p/machine"),
        ("GET", "/v1/projects/p/machine"),
        ("DELETE", "/v1/projects/p/machine?generation=3"),
    ]


@pytest.mark.parametrize(
    "reply", [problem(404, "project_has_no_machine"), answer(200, {**MACHINE, "id": "m-2"})], ids=["gone", "another"]
)
def test_nothing_is_released_if_the_machine_went_with_its_set_up(connect: Connect, reply: Act) -> None:
    with (
        scripted(set_up_failed(), reply) as server,
        connect(server.url) as client,
        pytest.raises(SetupFailed) as caught,
        client.machine("p", env={"A": "1"}),
    ):
        pytest.fail("the block must not begin")
    assert [heard.method for heard in server.heard] == ["PUT", "GET"]
    assert not hasattr(caught.value, "__notes__")


FAILED = {**MACHINE, "configured": False, "setup": {"exit_code": None, "ms": 30000, "output": ""}}
AFTER_ALL = [
    (500, "outcome_unknown"),
    (502, "engine_rejected"),
    (503, "engine_unavailable"),
    (409, "not_running"),
    (400, "invalid_request"),
]


@pytest.mark.parametrize(("status", "code"), AFTER_ALL, ids=[code for _, code in AFTER_ALL])
def test_a_machine_is_released_whatever_its_set_up_ended_with(connect: Connect, status: int, code: str) -> None:
    """Else its project keeps it, and nobody uses it."""
    with (
        scripted(problem(status, code), answer(200, FAILED), answer(200, RELEASED)) as server,
        connect(server.url) as client,
        pytest.raises(OrchestratorError) as caught,
        client.machine("p", env={"A": "1"}),
    ):
        pytest.fail("the block must not begin")
    assert caught.value.code == code
    assert [(heard.method, heard.target) for heard in server.heard][1:] == [
        ("GET", "/v1/projects/p/machine"),
        ("DELETE", "/v1/projects/p/machine?generation=3"),
    ]


@pytest.mark.parametrize(
    "machine",
    [CONFIGURED, MACHINE, {**MACHINE, "configured": False}],
    ids=["configured before", "takes no values", "never set up"],
)
def test_a_machine_from_before_is_kept_if_the_request_was_refused(connect: Connect, machine: Mapping[str, Any]) -> None:
    """Somebody may use it."""
    with (
        scripted(problem(400, "invalid_request"), answer(200, machine)) as server,
        connect(server.url) as client,
        pytest.raises(InvalidInput),
        client.machine("p", env={"A": "1"}),
    ):
        pytest.fail("the block must not begin")
    assert [heard.method for heard in server.heard] == ["PUT", "GET"]


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        (problem(409, "configured_otherwise"), {"env": {}}),
        (problem(409, "other_pool"), {"env": {}}),
        (problem(409, "machine_failed"), {"env": {}}),
        (problem(503, "no_machine_available"), {"env": {}}),
        (problem(401, "unauthorized"), {"env": {}}),
        (answer(502), {"env": {}}),
        (problem(500, "internal_error"), {}),
    ],
    ids=["other values", "other pool", "failed", "none", "token", "unreachable", "without values"],
)
def test_nothing_is_released_where_nothing_was_set_up(connect: Connect, reply: Act, values: Mapping[str, Any]) -> None:
    with (
        scripted(reply) as server,
        connect(server.url, retries=0) as client,
        pytest.raises(OrchestratorError),
        client.machine("p", wait_seconds=0, **values),
    ):
        pytest.fail("the block must not begin")
    assert [heard.method for heard in server.heard] == ["PUT"]


def test_a_release_that_fails_then_is_a_note_on_the_error(connect: Connect) -> None:
    replies = (set_up_failed(), answer(200, MACHINE), problem(500, "internal_error", "broken"))
    with (
        scripted(*replies) as server,
        connect(server.url) as client,
        pytest.raises(SetupFailed) as caught,
        client.machine("p", env={"A": "1"}),
    ):
        pytest.fail("the block must not begin")
    assert caught.value.__notes__ == ["Its machine was not released: broken"]


# how files are packed


def test_the_content_of_a_folder_is_packed_with_its_links_and_rights(tmp_path: Path) -> None:
    (tmp_path / "sub" / "empty").mkdir(parents=True)
    (tmp_path / "sub" / "run").write_bytes(b"#!/bin/sh\n")
    (tmp_path / "sub" / "run").chmod(0o750)
    (tmp_path / "link").symlink_to("sub/run")
    os.link(tmp_path / "sub" / "run", tmp_path / "same")
    assert unpacked(tmp_path) == unpacked(str(tmp_path)) == {
        "link": "sub/run", "same": b"#!/bin/sh\n", "sub": None, "sub/empty": None, "sub/run": b"#!/bin/sh\n",
    }  # fmt: skip
    checked = checked_archive(b64decode(encoded_files(tmp_path)))
    with tarfile.open(fileobj=io.BytesIO(checked)) as archive:
        assert archive.getmember("sub/run").mode == 0o750


def test_an_archive_goes_as_it_is_and_a_mapping_is_packed() -> None:
    assert b64decode(encoded_files(b"whatever")) == b"whatever"
    assert unpacked({"a": b"1", "b/c": b""}) == {"a": b"1", "b/c": b""}
    assert encoded_files({"a": b"1"}) == encoded_files({"a": b"1"})


def test_an_equal_folder_makes_an_equal_archive(tmp_path: Path) -> None:
    for name, age_s in (("one", 0), ("other", 1_000_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_bytes(b"1")
        os.utime(tmp_path / name / "a", (age_s, age_s))
    assert encoded_files(tmp_path / "one") == encoded_files(tmp_path / "other")


def test_what_cannot_be_sent_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    def said(files: LateFiles) -> str:
        with pytest.raises(InvalidInput) as caught:
            encoded_files(files)
        return caught.value.message

    assert said(tmp_path / "none").startswith(f"There is no folder {tmp_path / 'none'}.")
    os.mkfifo(tmp_path / "pipe")
    assert said(tmp_path) == f"{tmp_path / 'pipe'} is neither a file, a folder nor a link, so it cannot be sent."
    (tmp_path / "pipe").unlink()
    (tmp_path / "large").write_bytes(bytes(1024 * 1024 + 1))
    afterwards = "Assign with fewer of them, and write the others afterwards (`write_tar`, `orchestrator cp`)."
    assert said(tmp_path) == f"{tmp_path / 'large'} is larger than 1048576 bytes. {afterwards}"
    assert said({"a": bytes(700_000), "b": bytes(700_000)}) == f"The files are larger than 1048576 bytes. {afterwards}"
    assert (
        said(bytes(1024 * 1024 + 1)) == f"The files are 1048577 bytes as an archive, but may be 1048576. {afterwards}"
    )


@pytest.mark.parametrize(
    "values", [{"secrets": {"K": b"hunter2-hunter2"}}, {"env": ["K=5"]}, {"files": {"a": SECRET}}, {"files": {1: b"x"}}]
)
def test_what_is_no_text_or_no_bytes_is_refused_before_it_is_sent(values: Any) -> None:
    """Bytes would come to the worker as base64."""
    with scripted() as server, Client(server.url) as client:
        with pytest.raises(InvalidInput, match=r"^(env|secrets|files) ") as refused:
            client.assign("p", **values)
        assert server.heard == []
    assert SECRET not in refused.value.message
